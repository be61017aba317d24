"""Random changes to training images, vectorised over a batch.

A transform is any callable ``(images (N, C, H, W), rngs) -> images`` of the same shape, where ``rngs[i]`` is the
generator of image ``i`` alone, made by `generators` from (seed, epoch, sample index). Each transform draws the same
count of numbers for every image, so a sample's fate does not depend on the batch or the worker it falls into.
Transforms never write into their input.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from minicnn.data.digits import MEAN, STD
from minicnn.data.resize import resize_bilinear, sample_bilinear
from minicnn.errors import DataError

Images = NDArray[np.float32]
Generators = Sequence[np.random.Generator]
Transform = Callable[[Images, Generators], Images]


def generators(seed: int, epoch: int, indices: ArrayLike) -> list[np.random.Generator]:
    """Return one generator a sample, a function of (seed, epoch, sample index) only."""
    # The tag 1 keeps these streams apart from the loader's shuffling: SeedSequence ignores trailing zeros.
    return [np.random.default_rng((seed, epoch, int(i), 1)) for i in np.asarray(indices)]


def uniform(rngs: Generators, count: int) -> NDArray[np.float64]:
    """Draw ``count`` numbers in [0, 1) from each generator: (N, count)."""
    return np.stack([rng.random(count) for rng in rngs]) if rngs else np.empty((0, count))


class Compose:
    """Apply transforms one after the other."""

    def __init__(self, *transforms: Transform) -> None:
        self.transforms = transforms

    def __call__(self, images: Images, rngs: Generators) -> Images:
        for transform in self.transforms:
            images = transform(images, rngs)
        return images

    def __repr__(self) -> str:
        return f"Compose({', '.join(map(repr, self.transforms))})"


class Affine:
    """Rotate, shift, scale and shear each image about its centre, read bilinearly.

    **Math**: angle and both shears are uniform in ``±degrees`` and ``±shear`` (degrees), the shift in
    ``±translate`` (fractions of width and height), the scale log-uniform between ``scale[0]`` and ``scale[1]``; output
    pixel ``p`` (from the centre) reads the input at ``inverse(R S K) (p - shift)``.
    What lies outside is ``fill``: ``"border"`` repeats the nearest edge pixel, a number stands for itself (a
    normalised image's black is ``-mean / std``, not 0).
    """

    def __init__(
        self,
        degrees: float = 0.0,
        translate: float = 0.0,
        scale: tuple[float, float] = (1.0, 1.0),
        shear: float = 0.0,
        fill: float | Literal["border"] = "border",
    ) -> None:
        if degrees < 0 or translate < 0 or not 0 <= shear < 90:
            raise DataError(
                "Affine: degrees and translate must be at least 0 and shear in [0, 90), "
                f"got degrees={degrees}, translate={translate}, shear={shear}"
            )
        if not 0 < scale[0] <= scale[1]:
            raise DataError(f"Affine: scale must be (low, high) with 0 < low <= high, got {scale}")
        self.degrees, self.translate, self.scale, self.shear, self.fill = degrees, translate, scale, shear, fill

    def matrices(self, rngs: Generators, h: int, w: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Draw the inverse matrices (N, 2, 2) and the shifts (N, 2), in pixels, both in (x, y) order."""
        draws = uniform(rngs, 6)
        signed = 2 * draws - 1
        angle = np.deg2rad(self.degrees) * signed[:, 0]
        low, high = np.log(self.scale)
        scale = np.exp(low + (high - low) * draws[:, 1])
        kx, ky = np.tan(np.deg2rad(self.shear) * signed[:, 2:4]).T
        cos, sin = np.cos(angle), np.sin(angle)
        # R(angle) @ [[1, kx], [ky, 1]] * scale
        forward = np.stack([cos - sin * ky, cos * kx - sin, sin + cos * ky, sin * kx + cos], axis=1).reshape(-1, 2, 2)
        shift = self.translate * signed[:, 4:6] * (w, h)
        return np.linalg.inv(forward * scale[:, None, None]), shift

    def __call__(self, images: Images, rngs: Generators) -> Images:
        h, w = images.shape[2:]
        inverse, shift = self.matrices(rngs, h, w)
        inverse, shift = inverse.astype(np.float32), shift.astype(np.float32)
        x = np.arange(w, dtype=np.float32) - (w - 1) / 2 - shift[:, None, None, 0]  # (N, 1, W)
        y = (np.arange(h, dtype=np.float32) - (h - 1) / 2)[:, None] - shift[:, None, None, 1]  # (N, H, 1)
        m = inverse[:, :, :, None, None]  # (N, 2, 2, 1, 1)
        at_x = m[:, 0, 0] * x + m[:, 0, 1] * y + (w - 1) / 2  # (N, H, W)
        at_y = m[:, 1, 0] * x + m[:, 1, 1] * y + (h - 1) / 2
        return sample_bilinear(images, at_y, at_x, self.fill)

    def __repr__(self) -> str:
        return (
            f"Affine(degrees={self.degrees}, translate={self.translate}, scale={self.scale}, shear={self.shear}, "
            f"fill={self.fill!r})"
        )


class Elastic:
    """Bend each image by a smooth random field of displacements (P. Simard et al. 2003, section 3).

    **Math**: displacements on a coarse ``grid x grid`` lattice are Gaussian with standard deviation ``strength``
    (a fraction of the image's side) and interpolated bilinearly to every pixel; the paper smooths white noise with a
    Gaussian kernel instead.
    """

    def __init__(self, strength: float = 0.03, grid: int = 4, fill: float | Literal["border"] = "border") -> None:
        if strength < 0 or grid < 2:
            raise DataError(f"Elastic: strength must be at least 0 and grid at least 2, got {strength} and {grid}")
        self.strength, self.grid, self.fill = strength, grid, fill

    def __call__(self, images: Images, rngs: Generators) -> Images:
        if not rngs:
            return images.copy()
        h, w = images.shape[2:]
        lattice = np.stack([rng.standard_normal((2, self.grid, self.grid)) for rng in rngs]).astype(np.float32)
        field = self.strength * resize_bilinear(lattice, (h, w))  # (N, 2, H, W)
        return sample_bilinear(
            images, np.arange(h)[:, None] + h * field[:, 0], np.arange(w) + w * field[:, 1], self.fill
        )

    def __repr__(self) -> str:
        return f"Elastic(strength={self.strength}, grid={self.grid}, fill={self.fill!r})"


class RandomCrop:
    """Pad by ``padding`` pixels of ``fill`` on every side and cut a random window of the old size (CIFAR's recipe)."""

    def __init__(self, padding: int, fill: float = 0.0) -> None:
        if padding < 0:
            raise DataError(f"RandomCrop: padding must be at least 0, got {padding}")
        self.padding, self.fill = padding, fill

    def __call__(self, images: Images, rngs: Generators) -> Images:
        n, _, h, w = images.shape
        pad = self.padding
        padded = np.pad(images, ((0, 0), (0, 0), (pad, pad), (pad, pad)), constant_values=self.fill)
        windows = np.lib.stride_tricks.sliding_window_view(padded, (h, w), axis=(2, 3))  # (N, C, 2p+1, 2p+1, H, W)
        corner = (uniform(rngs, 2) * (2 * pad + 1)).astype(np.int64)
        return np.ascontiguousarray(windows[np.arange(n), :, corner[:, 0], corner[:, 1]])

    def __repr__(self) -> str:
        return f"RandomCrop(padding={self.padding}, fill={self.fill})"


class RandomFlip:
    """Mirror an image left to right with probability ``p``."""

    def __init__(self, p: float = 0.5) -> None:
        check_probability("RandomFlip", p)
        self.p = p

    def __call__(self, images: Images, rngs: Generators) -> Images:
        flip = uniform(rngs, 1)[:, 0] < self.p
        return np.where(flip[:, None, None, None], images[..., ::-1], images)

    def __repr__(self) -> str:
        return f"RandomFlip(p={self.p})"


class Cutout:
    """Overwrite a square of ``size`` pixels round a random centre with ``fill``, with probability ``p``.

    The square may reach over the edge. **See** T. DeVries and G. Taylor 2017, section 3.
    """

    def __init__(self, size: int, p: float = 1.0, fill: float = 0.0) -> None:
        check_probability("Cutout", p)
        if size < 1:
            raise DataError(f"Cutout: size must be at least 1 pixel, got {size}")
        self.size, self.p, self.fill = size, p, fill

    def __call__(self, images: Images, rngs: Generators) -> Images:
        h, w = images.shape[2:]
        draws = uniform(rngs, 3)
        top = (draws[:, 0] * h).astype(np.int64) - self.size // 2
        left = (draws[:, 1] * w).astype(np.int64) - self.size // 2
        rows = np.arange(h) - top[:, None]  # (N, H): the row inside the square
        columns = np.arange(w) - left[:, None]
        inside_rows = (rows >= 0) & (rows < self.size) & (draws[:, 2] < self.p)[:, None]
        inside = inside_rows[:, :, None] & ((columns >= 0) & (columns < self.size))[:, None, :]
        return np.where(inside[:, None], np.float32(self.fill), images)

    def __repr__(self) -> str:
        return f"Cutout(size={self.size}, p={self.p}, fill={self.fill})"


class Noise:
    """Add Gaussian noise; each image's standard deviation is uniform in [0, ``std``]."""

    def __init__(self, std: float) -> None:
        if std < 0:
            raise DataError(f"Noise: std must be at least 0, got {std}")
        self.std = std

    def __call__(self, images: Images, rngs: Generators) -> Images:
        strength = (self.std * uniform(rngs, 1)).astype(np.float32)  # (N, 1)
        noisy = images.copy()
        for image, rng, sigma in zip(noisy, rngs, strength, strict=True):
            image += sigma * rng.standard_normal(image.shape, dtype=np.float32)
        return noisy

    def __repr__(self) -> str:
        return f"Noise(std={self.std})"


def check_probability(owner: str, p: float) -> None:
    """Raise DataError unless 0 <= p <= 1."""
    if not 0 <= p <= 1:
        raise DataError(f"{owner}: p must be a probability between 0 and 1, got {p}")


def digits_augment() -> Compose:
    """Return the changes that `minicnn train` makes to the digits: `Affine`, then `Elastic`, both filled with paper."""
    paper = -MEAN / STD
    return Compose(
        Affine(degrees=15, translate=0.1, scale=(0.8, 1.2), shear=15, fill=paper),
        Elastic(strength=0.04, grid=4, fill=paper),
    )
