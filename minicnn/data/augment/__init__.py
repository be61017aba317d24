"""Random changes to training images, vectorised over a batch.

A transform is any callable ``(images (N, C, H, W), rngs) -> images``, where ``rngs[i]`` is the generator of image ``i``
alone, made by `generators` from (seed, epoch, sample index), so that a sample's fate does not depend on the batch or
the worker it falls into. Transforms never write into their input. Images are normalised; what works on colours wants
raw pixels in 0..1 and goes into `OnPixels`. What changes labels too (`MixUp`, `CutMix`) is a `Mix`.
"""

from minicnn.data.augment.colour import ColourJitter, Noise, OnPixels, PCAColour, RandomGrey
from minicnn.data.augment.crops import CentreCrop, RandomCrop, RandomResizedCrop
from minicnn.data.augment.erase import Cutout, RandomErasing
from minicnn.data.augment.geometry import (
    Affine,
    Elastic,
    RandomFlip,
    RandomVerticalFlip,
    Rotation,
    digits_augment,
)
from minicnn.data.augment.mix import CutMix, Mix, MixUp, OneOf, one_hot
from minicnn.data.augment.parse import parse, parse_mix
from minicnn.data.augment.randaugment import RandAugment
from minicnn.data.augment.transform import (
    Compose,
    Generators,
    Images,
    Shape,
    Transform,
    check_probability,
    generators,
    output_shape,
    uniform,
)

__all__ = [
    "Affine",
    "CentreCrop",
    "ColourJitter",
    "Compose",
    "CutMix",
    "Cutout",
    "Elastic",
    "Generators",
    "Images",
    "Mix",
    "MixUp",
    "Noise",
    "OnPixels",
    "OneOf",
    "PCAColour",
    "RandAugment",
    "RandomCrop",
    "RandomErasing",
    "RandomFlip",
    "RandomGrey",
    "RandomResizedCrop",
    "RandomVerticalFlip",
    "Rotation",
    "Shape",
    "Transform",
    "check_probability",
    "digits_augment",
    "generators",
    "one_hot",
    "output_shape",
    "parse",
    "parse_mix",
    "uniform",
]
