"""Augmentation written as text."""

import numpy as np
import pytest

from minicnn import data
from minicnn.data import augment as A
from minicnn.data.augment.parse import CHOICES, MIXES
from minicnn.errors import ArgumentError

COLOURS = data.ArrayDataset(
    np.random.default_rng(0).random((20, 3, 12, 12)),
    np.arange(20) % 2,
    "ab",
    mean=[0.5, 0.4, 0.6],
    std=[0.2, 0.3, 0.25],
)


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("", "Compose()"),
        ("flip,crop:4,cutout:16", f"Compose({A.RandomFlip()}, {A.RandomCrop(4)}, {A.Cutout(16)})"),
        (" flip:0.3 , crop:padding=2:fill=reflect,", f"Compose({A.RandomFlip(0.3)}, {A.RandomCrop(2, 'reflect')})"),
        ("crop:1:-0.5:size=9", f"Compose({A.RandomCrop(1, -0.5, 9)})"),
        ("resized,resized:0.25:224", f"Compose({A.RandomResizedCrop()}, {A.RandomResizedCrop(224, (0.25, 1.0))})"),
        ("affine:5:zoom=0.2", f"Compose({A.Affine(5.0, 0.1, (0.8, 1.2))})"),
        ("vflip,jitter:0.1:hue=0.2,grey:1,noise:0.1", None),
    ],
)
def test_text_becomes_transforms(text: str, made: str | None) -> None:
    jitter = f"OnPixels({A.ColourJitter(0.1, hue=0.2)}, {A.RandomGrey(1.0)})"  # neighbours share a trip to the pixels
    expected = made or f"Compose({A.RandomVerticalFlip()}, {jitter}, {A.Noise(0.1)})"
    assert repr(A.parse(text, COLOURS)) == expected


@pytest.mark.parametrize("name", CHOICES)
def test_every_example_works(name: str) -> None:
    assert CHOICES[name].example.partition(":")[0] == name
    images, _ = COLOURS.batch(np.arange(4))
    augment = A.parse(CHOICES[name].example.replace("224:256", "8:10"), COLOURS)
    got = augment(images, A.generators(0, 0, range(4)))
    assert got.shape == (4, *augment.output_shape((3, 12, 12))) and got.dtype == np.float32


def test_colours_are_changed_between_the_datasets_own_bounds() -> None:
    images, _ = COLOURS.batch(np.arange(20))
    got = A.parse("jitter:0.9:0.9:0.9", COLOURS)(images, A.generators(0, 0, range(20)))
    raw = COLOURS.denormalise(got)
    assert raw.min() >= -1e-5 and raw.max() <= 1 + 1e-5
    fitted = A.parse("pca:0.2", COLOURS).transforms[0]
    assert repr(A.PCAColour.of(COLOURS.denormalise(COLOURS.images), 0.2)) in repr(fitted)


def test_mixes() -> None:
    assert A.parse_mix("") is None
    assert repr(A.parse_mix("mixup:0.4:0.5")) == repr(A.MixUp(0.4, 0.5))
    assert repr(A.parse_mix("mixup,cutmix:alpha=0.5")) == repr(A.OneOf(A.MixUp(), A.CutMix(0.5)))
    for name, choice in MIXES.items():
        assert A.parse_mix(choice.example) is not None and choice.example.startswith(name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("flip,cutot:16", r"augment: there is no 'cutot'; available: flip, vflip, .*; did you mean 'cutout'\?"),
        ("xyzzy", "augment: there is no 'xyzzy'; available"),
        ("cutout", "augment: 'cutout': missing a required argument: 'size'; an example: cutout:16"),
        ("cutout:big", "augment: 'cutout:big': size must be a whole number, got 'big'; an example: cutout:16"),
        ("flip:often", "augment: 'flip:often': p must be a number, got 'often'"),
        ("crop:4.5", "padding must be a whole number, got '4.5'"),
        ("flip:0.5:2", "'flip:0.5:2' has a value too many, '2'; it takes p: flip"),
        ("flip:q=2", "'flip:q=2' has a value too many, 'q=2'; it takes p: flip"),
        ("crop:4:padding=3", "has a value too many, 'padding=3'; it takes padding, fill, size: crop:4"),
        ("flip:7", "augment: 'flip:7': RandomFlip: p must be a probability between 0 and 1, got 7"),
        (
            "crop:2:fill=mirror",
            "augment: 'crop:2:fill=mirror': RandomCrop: fill must be a number, 'border' or 'reflect'",
        ),
        ("mixup:0.2", "augment: 'mixup' mixes labels too, so it is no augmentation; fix: mix='mixup:0.2'"),
        ("pca", r"augment: 'pca' needs to see the colours of a dataset; fix: parse\(text, dataset\)"),
    ],
)
def test_mistakes_are_explained(text: str, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        A.parse(text)


def test_mistakes_in_a_mix_are_explained() -> None:
    with pytest.raises(
        ArgumentError, match=r"mix: there is no 'cutmx'; available: mixup, cutmix; did you mean 'cutmix'\?"
    ):
        A.parse_mix("cutmx")
    with pytest.raises(ArgumentError, match="mix: 'mixup:0': MixUp: alpha must be positive"):
        A.parse_mix("mixup:0")
