"""A procedural image set: ten shapes and textures, any size, any count, drawn from a seed."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from minicnn.data.dataset import Dataset, Images, Labels
from minicnn.errors import DataError

Array = NDArray[np.float32]
SPLITS = ("train", "val", "test")
MEAN, STD = 0.5, 0.25


class ShapesDataset(Dataset):
    """Images of `shapes`, drawn when asked for; see there."""

    def __init__(self, count: int, size: int, seed: int, channels: int, noise: float, split: str) -> None:
        if split not in SPLITS:
            raise DataError(f"shapes: there is no split {split!r}; expected one of {', '.join(SPLITS)}")
        for argument, value, low in (
            ("count", count, 1),
            ("size", size, 8),
            ("seed", seed, 0),
            ("channels", channels, 1),
        ):
            if value < low:
                raise DataError(f"shapes: {argument} must be at least {low}, got {value}")
        if noise < 0:
            raise DataError(f"shapes: noise must be at least 0, got {noise}")
        super().__init__(f"shapes {split}", tuple(DRAW), (channels, size, size), MEAN, STD)
        self.seed = seed
        self.noise = noise
        self.split = split
        self._labels: Labels = np.arange(count) % len(DRAW)

    def __len__(self) -> int:
        return len(self._labels)

    @property
    def labels(self) -> Labels:
        """All labels, (N,): the classes in turn."""
        return self._labels

    def batch(self, indices: NDArray[np.int64]) -> tuple[Images, Labels]:
        """Draw the samples at ``indices``."""
        c, h, w = self.shape
        images = np.empty((len(indices), c, h, w), dtype=np.float32)
        chunk = max(1, 2**20 // (h * w))  # about 1M pixels at a time: the coordinate planes stay small
        for start in range(0, len(indices), chunk):
            images[start : start + chunk] = self._draw(indices[start : start + chunk])
        return images, self._labels[indices]

    def _draw(self, indices: NDArray[np.int64]) -> Images:
        c, h, _ = self.shape
        rngs = [np.random.default_rng((self.seed, SPLITS.index(self.split), int(i), 3)) for i in indices]
        draws = np.array([rng.random(7 + 2 * c) for rng in rngs], dtype=np.float32)
        planes = draws[:, :7, None, None]  # (N, 7, 1, 1): one number a pixel plane
        ground = draws[:, 7 : 7 + c, None, None]
        # Half a turn of the value circle, give or take: every channel shows the figure.
        figure = (ground + 0.35 + 0.3 * draws[:, 7 + c :, None, None]) % 1
        cover = coverage(self._labels[indices], planes, h)[:, None]  # (N, 1, H, W)
        images = ground + cover * (figure - ground)
        for image, rng, strength in zip(images, rngs, draws[:, 6], strict=True):
            image += self.noise * strength * rng.standard_normal(image.shape, dtype=np.float32)
        return self.normalise(np.clip(images, 0, 1))


def shapes(
    count: int = 1000,
    size: int = 32,
    seed: int = 0,
    channels: int = 3,
    noise: float = 0.1,
    split: str = "train",
) -> ShapesDataset:
    """Return ``count`` images of ten classes of shapes and textures, drawn when asked for.

    **Shapes**: images (N, channels, size, size), normalised by mean 0.5, std 0.25; sample ``i`` is of class ``i % 10``.
    Place, size, angle, both colours and the noise (standard deviation up to ``noise``) are random; sample ``i``
    depends on (seed, split, i) and the arguments only, never on ``count`` or its neighbours.
    """
    return ShapesDataset(count, size, seed, channels, noise, split)


def coverage(labels: Labels, draws: Array, size: int) -> Array:
    """Return how much of each pixel the figure covers, 0..1, (N, size, size), from uniform draws (N, 7, 1, 1)."""
    centre = np.arange(size, dtype=np.float32) * (2 / size) + (1 / size - 1)  # pixel centres in -1..1
    radius = 0.35 + 0.35 * draws[:, 0]  # (N, 1, 1)
    room = 0.95 - radius
    x = centre - room * (2 * draws[:, 1] - 1)
    y = centre[:, None] - room * (2 * draws[:, 2] - 1)
    angle = 2 * np.pi * draws[:, 3]
    u = (np.cos(angle) * x + np.sin(angle) * y) / radius  # (N, H, W): the figure's own axes, its radius is 1
    v = (np.cos(angle) * y - np.sin(angle) * x) / radius
    pixel = np.float32(2 / size) / radius
    cover = np.empty(u.shape, dtype=np.float32)
    for k, draw in enumerate(DRAW.values()):
        of_class = np.flatnonzero(labels == k)
        if of_class.size:
            cover[of_class] = draw(u[of_class], v[of_class], pixel[of_class], draws[of_class, 4])
    return cover


def _fill(distance: NDArray[np.floating], pixel: Array) -> Array:
    """Turn a signed distance to an outline (negative inside) into coverage, one pixel wide at the edge."""
    covered: Array = np.clip(np.float32(0.5) - distance / pixel, 0, 1)
    return covered


def _disc(u: Array, v: Array, pixel: Array, form: Array) -> Array:
    return _fill(np.hypot(u, v) - 0.9, pixel)


def _ring(u: Array, v: Array, pixel: Array, form: Array) -> Array:
    return _fill(np.abs(np.hypot(u, v) - 0.72) - 0.14 - 0.08 * form, pixel)


def _square(u: Array, v: Array, pixel: Array, form: Array) -> Array:
    return _fill(np.maximum(np.abs(u), np.abs(v)) - 0.72, pixel)


def _triangle(u: Array, v: Array, pixel: Array, form: Array) -> Array:
    # Equilateral: three half-planes, with normals (0, 1) and (±sqrt(3)/2, -1/2).
    return _fill(np.maximum(v, 0.8660254 * np.abs(u) - 0.5 * v) - 0.5, pixel)


def _cross(u: Array, v: Array, pixel: Array, form: Array) -> Array:
    long, short = np.maximum(np.abs(u), np.abs(v)), np.minimum(np.abs(u), np.abs(v))
    return _fill(np.maximum(long - 0.95, short - 0.2 - 0.12 * form), pixel)


def _star(u: Array, v: Array, pixel: Array, form: Array) -> Array:
    return _fill(np.hypot(u, v) - 0.68 - 0.26 * np.cos(5 * np.arctan2(v, u)), pixel)


def _stripes(u: Array, v: Array, pixel: Array, form: Array) -> Array:
    frequency = 5 + 4 * form
    return _fill(np.sin(frequency * u) / frequency, pixel)


def _checkerboard(u: Array, v: Array, pixel: Array, form: Array) -> Array:
    frequency = 4 + 3 * form
    return _fill(np.sin(frequency * u) * np.sin(frequency * v) / frequency, pixel)


def _gradient(u: Array, v: Array, pixel: Array, form: Array) -> Array:
    slope: Array = 1 / (1 + np.exp(-(1.5 + form) * u))
    return slope


def _spots(u: Array, v: Array, pixel: Array, form: Array) -> Array:
    frequency = 5 + 4 * form
    return _fill((0.9 - np.cos(frequency * u) - np.cos(frequency * v)) / frequency, pixel)


# Class names in label order, and the function that draws each: (u, v, pixel, form) -> coverage.
DRAW: dict[str, Callable[[Array, Array, Array, Array], Array]] = {
    "disc": _disc,
    "ring": _ring,
    "square": _square,
    "triangle": _triangle,
    "cross": _cross,
    "star": _star,
    "stripes": _stripes,
    "checkerboard": _checkerboard,
    "gradient": _gradient,
    "spots": _spots,
}
