"""Distorted digits, alone or in pairs to be added: what spatial transformers are for.

A picture has a channel a digit; each digit is turned, scaled and shifted by itself, and the label is their sum. The
digits of a part come from the same part of the shipped digits, so that no digit of the test part is ever seen in
training; those of MNIST, or any others, can be given instead.

**See** Jaderberg et al., "Spatial Transformer Networks", 2015, sections 4.1 and A.1, whose digits are MNIST's.
"""

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from minicnn.data.augment import Affine, Transform
from minicnn.data.dataset import Dataset, Images, Labels
from minicnn.data.digits import SPLITS, digits
from minicnn.errors import DataError

# The paper's RTS: rotation, translation, scale. A digit 20 pixels high, 24 when largest, seldom leaves 42.
RTS = Affine(degrees=45, translate=0.2, scale=(0.7, 1.2), fill=0.0)
STD = 0.2  # of the pixels of such pictures, about; the mean is left as it is, so that paper stays 0


class DigitSums(Dataset):
    """Pictures of ``terms`` distorted digits, drawn when asked for; see `digit_addition`."""

    def __init__(
        self,
        name: str,
        terms: int,
        split: str,
        size: int,
        count: int,
        seed: int,
        source: Dataset | None,
        distortion: Transform,
    ) -> None:
        if split not in SPLITS:
            raise DataError(f"{name}: there is no split {split!r}; expected one of {', '.join(SPLITS)}")
        if count < 1 or seed < 0:
            raise DataError(f"{name}: expected count of at least 1 and seed of at least 0, got {count} and {seed}")
        self.source = digits(split, 28, margin=4) if source is None else source  # the frame of MNIST: 20 of 28 pixels
        channels, height, width = self.source.shape
        if channels != 1 or max(height, width) > size:
            raise DataError(
                f"{name}: the digits are {channels}x{height}x{width}, expected one channel and at most {size}x{size} "
                "pixels; use a larger size"
            )
        sums = terms * (len(self.source.classes) - 1) + 1
        super().__init__(f"{name} {split}", tuple(map(str, range(sums))), (terms, size, size), std=STD)
        self.seed, self.part, self.distortion = seed, SPLITS.index(split), distortion
        # (count, terms): the number in `source` of every digit. The tag 4 keeps its stream apart from all others.
        self.chosen = np.random.default_rng((seed, self.part, 4)).integers(len(self.source), size=(count, terms))
        self.chosen.flags.writeable = False

    def __len__(self) -> int:
        return len(self.chosen)

    @cached_property
    def labels(self) -> Labels:
        """All labels, (N,): the sums."""
        sums: Labels = self.source.labels[self.chosen].sum(axis=1)
        return sums

    def batch(self, indices: NDArray[np.int64]) -> tuple[Images, Labels]:
        """Draw the samples at ``indices``."""
        terms, size, _ = self.shape
        plain, _ = self.source.batch(self.chosen[indices].ravel())  # (B * terms, 1, h, w)
        before = [(size - side) // 2 for side in plain.shape[2:]]
        frame = [(low, size - side - low) for low, side in zip(before, plain.shape[2:], strict=True)]
        images = np.pad(self.source.denormalise(plain), [(0, 0), (0, 0), *frame])
        rngs = [
            np.random.default_rng((self.seed, self.part, int(i), term, 4)) for i in indices for term in range(terms)
        ]
        pictures = self.distortion(images, rngs).reshape(-1, terms, size, size)
        return self.normalise(pictures), self.labels[indices]


def digit_addition(
    split: str = "train",
    size: int = 42,
    count: int = 10_000,
    seed: int = 0,
    source: Dataset | None = None,
    distortion: Transform = RTS,
) -> DigitSums:
    """Return ``count`` pictures of two distorted digits, a channel each, labelled with their sum.

    **Shapes**: images (N, 2, size, size), labels 0 to 18. **Math**: ``image = ink / STD``: paper, and what a spatial
    transformer reads outside the picture, is 0.

    Sample ``i`` depends on (seed, split, i) and the arguments only, never on ``count``. ``distortion`` takes each digit
    by itself, already on paper of the full size.
    ``source`` holds other digits, of one channel: ``ArrayDataset(images[:, None] / 255, labels, "0123456789")`` of
    MNIST's arrays; give those of the split that is asked for.
    """
    return DigitSums("digit_addition", 2, split, size, count, seed, source, distortion)


def distorted_digits(
    split: str = "train",
    size: int = 42,
    count: int = 10_000,
    seed: int = 0,
    source: Dataset | None = None,
    distortion: Transform = RTS,
) -> DigitSums:
    """Return ``count`` pictures of one distorted digit, (1, size, size), with its label; see `digit_addition`."""
    return DigitSums("distorted_digits", 1, split, size, count, seed, source, distortion)
