"""Datasets, batches and augmentation: ``load(name, split)``, `DataLoader`, ``minicnn.data.augment``."""

from minicnn.data.byte_images import ByteImages
from minicnn.data.cifar import cifar10, cifar100
from minicnn.data.dataset import ArrayDataset, Dataset, Subset
from minicnn.data.digit_addition import DigitSums, digit_addition, distorted_digits
from minicnn.data.digits import digits
from minicnn.data.folder import ImageFolder
from minicnn.data.idx import fashion_mnist, mnist
from minicnn.data.loader import BatchIterator, DataLoader, LoaderState
from minicnn.data.registry import load, names
from minicnn.data.shapes import ShapesDataset, shapes
from minicnn.data.svhn import svhn

__all__ = [
    "ArrayDataset",
    "BatchIterator",
    "ByteImages",
    "DataLoader",
    "Dataset",
    "DigitSums",
    "ImageFolder",
    "LoaderState",
    "ShapesDataset",
    "Subset",
    "cifar10",
    "cifar100",
    "digit_addition",
    "digits",
    "distorted_digits",
    "fashion_mnist",
    "load",
    "mnist",
    "names",
    "shapes",
    "svhn",
]
