"""Datasets, batches and augmentation: ``load(name, split)``, `DataLoader`, ``minicnn.data.augment``."""

from minicnn.data.dataset import ArrayDataset, Dataset, Subset
from minicnn.data.digit_addition import DigitSums, digit_addition, distorted_digits
from minicnn.data.digits import digits
from minicnn.data.loader import BatchIterator, DataLoader, LoaderState
from minicnn.data.registry import load, names
from minicnn.data.shapes import ShapesDataset, shapes

__all__ = [
    "ArrayDataset",
    "BatchIterator",
    "DataLoader",
    "Dataset",
    "DigitSums",
    "LoaderState",
    "ShapesDataset",
    "Subset",
    "digit_addition",
    "digits",
    "distorted_digits",
    "load",
    "names",
    "shapes",
]
