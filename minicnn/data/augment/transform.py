"""What a transform is, and how each image gets random numbers of its own."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from minicnn.errors import DataError

Images = NDArray[np.float32]
Generators = Sequence[np.random.Generator]
Transform = Callable[[Images, Generators], Images]
Shape = tuple[int, int, int]


def generators(seed: int, epoch: int, indices: ArrayLike) -> list[np.random.Generator]:
    """Return one generator a sample, a function of (seed, epoch, sample index) only."""
    # The tag 1 keeps these streams apart from the loader's shuffling: SeedSequence ignores trailing zeros.
    entropy = [(seed, epoch, int(i), 1) for i in np.asarray(indices)]
    if all(0 <= number < 2**32 for key in entropy for number in key):
        # The same generators, made in two thirds of the time: a word a number, as NumPy would take the tuple apart.
        return [np.random.default_rng(words) for words in np.array(entropy, np.uint32).reshape(-1, 4)]
    return [np.random.default_rng(key) for key in entropy]


def uniform(rngs: Generators, count: int) -> NDArray[np.float64]:
    """Draw ``count`` numbers in [0, 1) from each generator: (N, count)."""
    return np.stack([rng.random(count) for rng in rngs]) if rngs else np.empty((0, count))


def output_shape(transform: Transform | None, shape: Shape) -> Shape:
    """Return what becomes of ``shape`` (C, H, W): a transform that changes it has a method of this name."""
    after: Callable[[Shape], Shape] | None = getattr(transform, "output_shape", None)
    return shape if after is None else after(shape)


class Compose:
    """Apply transforms one after the other."""

    def __init__(self, *transforms: Transform) -> None:
        self.transforms = transforms

    def __call__(self, images: Images, rngs: Generators) -> Images:
        for transform in self.transforms:
            images = transform(images, rngs)
        return images

    def output_shape(self, shape: Shape) -> Shape:
        """Return the shape (C, H, W) after the last of them."""
        for transform in self.transforms:
            shape = output_shape(transform, shape)
        return shape

    def __repr__(self) -> str:
        return f"Compose({', '.join(map(repr, self.transforms))})"


def check_probability(owner: str, p: float) -> None:
    """Raise DataError unless 0 <= p <= 1."""
    if not 0 <= p <= 1:
        raise DataError(f"{owner}: p must be a probability between 0 and 1, got {p}")
