"""RandAugment: a few operations of fourteen, chosen at random for each image, all of one strength."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from minicnn.data.augment.colour import brightness, contrast, saturation
from minicnn.data.augment.transform import Generators, Images, uniform
from minicnn.data.resize import sample_bilinear
from minicnn.errors import DataError

Image = NDArray[np.float32]  # (1, C, H, W), raw pixels in 0..1


class RandAugment:
    """Apply ``count`` operations to each raw image, drawn with replacement from `OPERATIONS`, at one ``magnitude``.

    **Math**: an operation's amount is its largest (`OPERATIONS`) times ``magnitude / levels``; those with two
    directions take one at random. What moves the image is read bilinearly and filled with ``fill``.
    **Shapes**: (N, C, H, W), C of 1 or 3, in 0..1: goes into `OnPixels`.
    **Differs**: ``levels`` is 30 and the ranges are torchvision's; the authors' code divides the magnitude by 10, so
    that their 9 is about 27 here. ``fill`` is the authors' grey; torchvision fills with black, and reads the nearest
    pixel.
    **See** E. Cubuk et al., "RandAugment: practical automated data augmentation with a reduced search space", 2020,
    section 3.
    """

    levels = 30

    def __init__(self, count: int = 2, magnitude: float = 9, fill: float = 0.5) -> None:
        if count < 1:
            raise DataError(f"RandAugment: count must be at least 1, got {count}")
        if not 0 <= magnitude <= self.levels:
            raise DataError(f"RandAugment: magnitude must be 0 to {self.levels}, got {magnitude}")
        self.count, self.magnitude, self.fill = count, magnitude, fill

    def draw(self, rngs: Generators) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Draw which operations (N, count), and their directions (N, count) of -1 and 1."""
        draws = uniform(rngs, 2 * self.count)
        chosen = (draws[:, : self.count] * len(OPERATIONS)).astype(np.int64)
        return chosen, np.where(draws[:, self.count :] < 0.5, -1.0, 1.0)

    def __call__(self, images: Images, rngs: Generators) -> Images:
        operations = tuple(OPERATIONS.values())
        changed = images.copy()
        for i, (chosen, signs) in enumerate(zip(*self.draw(rngs), strict=True)):
            image = changed[i : i + 1]
            for index, sign in zip(chosen, signs, strict=True):
                operation = operations[index]
                amount = operation.most * self.magnitude / self.levels
                image = operation.change(image, amount * sign if operation.signed else amount, self.fill)
            changed[i] = image[0]
        return changed

    def __repr__(self) -> str:
        return f"RandAugment(count={self.count}, magnitude={self.magnitude}, fill={self.fill})"


# ---- the operations: raw image (1, C, H, W), amount, fill -> image


def _warp(image: Image, matrix: tuple[float, float, float, float], shift: tuple[float, float], fill: float) -> Image:
    """Read each pixel (x, y), measured from the top left corner, at ``matrix (x, y) + shift``."""
    h, w = image.shape[2:]
    x, y = np.arange(w) + 0.5, np.arange(h)[:, None] + 0.5
    a, b, c, d = matrix
    return sample_bilinear(image, (c * x + d * y + shift[1] - 0.5)[None], (a * x + b * y + shift[0] - 0.5)[None], fill)


def _shear_x(image: Image, amount: float, fill: float) -> Image:
    return _warp(image, (1, amount, 0, 1), (0, 0), fill)


def _shear_y(image: Image, amount: float, fill: float) -> Image:
    return _warp(image, (1, 0, amount, 1), (0, 0), fill)


def _translate_x(image: Image, amount: float, fill: float) -> Image:
    return _warp(image, (1, 0, 0, 1), (int(amount * image.shape[3]), 0), fill)


def _translate_y(image: Image, amount: float, fill: float) -> Image:
    return _warp(image, (1, 0, 0, 1), (0, int(amount * image.shape[2])), fill)


def _rotate(image: Image, amount: float, fill: float) -> Image:
    cos, sin = np.cos(np.deg2rad(amount)), np.sin(np.deg2rad(amount))
    x, y = image.shape[3] / 2, image.shape[2] / 2
    return _warp(image, (cos, -sin, sin, cos), (x - cos * x + sin * y, y - sin * x - cos * y), fill)


def _brightness(image: Image, amount: float, _: float) -> Image:
    return brightness(image, np.array([1 + amount], np.float32))


def _contrast(image: Image, amount: float, _: float) -> Image:
    return contrast(image, np.array([1 + amount], np.float32))


def _colour(image: Image, amount: float, _: float) -> Image:
    return saturation(image, np.array([1 + amount], np.float32))


def _sharpness(image: Image, amount: float, _: float) -> Image:
    """Mix with the image smoothed by [[1, 1, 1], [1, 5, 1], [1, 1, 1]] / 13, which leaves the edge as it is."""
    h, w = image.shape[2:]
    smooth = image.copy()
    if min(h, w) > 2:
        inner = 4 * image[:, :, 1:-1, 1:-1]
        for i in range(3):
            for j in range(3):
                inner += image[:, :, i : h - 2 + i, j : w - 2 + j]
        smooth[:, :, 1:-1, 1:-1] = inner / 13
    sharp: Image = np.clip(image + np.float32(amount) * (image - smooth), 0, 1)
    return sharp


def _posterise(image: Image, amount: float, _: float) -> Image:
    """Keep the first 8 - ``amount`` bits of each pixel."""
    lost = np.uint8(round(amount))
    return _of_levels(_levels(image) >> lost << lost)


def _solarise(image: Image, amount: float, _: float) -> Image:
    """Invert the pixels of at least 1 - ``amount``."""
    return np.where(image >= np.float32(1 - amount), 1 - image, image)


def _auto_contrast(image: Image, amount: float, _: float) -> Image:
    """Stretch each channel to reach from 0 to 1."""
    low, high = image.min(axis=(2, 3), keepdims=True), image.max(axis=(2, 3), keepdims=True)
    return np.where(high > low, (image - low) / np.where(high > low, high - low, 1), image)


def _equalise(image: Image, amount: float, _: float) -> Image:
    """Make all 256 levels of each channel about equally frequent, as Pillow does."""
    levels = _levels(image)
    for channel in levels[0]:
        counts = np.bincount(channel.ravel(), minlength=256)
        step = (counts.sum() - counts[counts > 0][-1]) // 255
        if step:
            below = np.concatenate([[0], counts.cumsum()[:-1]])
            channel[:] = np.minimum((below + step // 2) // step, 255).astype(np.uint8)[channel]
    return _of_levels(levels)


def _identity(image: Image, amount: float, _: float) -> Image:
    return image


def _levels(image: Image) -> NDArray[np.uint8]:
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)


def _of_levels(levels: NDArray[np.uint8]) -> Image:
    return levels.astype(np.float32) / np.float32(255)


class Operation(NamedTuple):
    """``change(image, amount, fill)``; ``most`` is the largest amount, taken in either direction where ``signed``."""

    change: Callable[[Image, float, float], Image]
    most: float = 0.0
    signed: bool = False


OPERATIONS = {
    "identity": Operation(_identity),
    "auto contrast": Operation(_auto_contrast),
    "equalise": Operation(_equalise),
    "rotate": Operation(_rotate, 30, True),
    "solarise": Operation(_solarise, 1.0),
    "colour": Operation(_colour, 0.9, True),
    "posterise": Operation(_posterise, 4),
    "contrast": Operation(_contrast, 0.9, True),
    "brightness": Operation(_brightness, 0.9, True),
    "sharpness": Operation(_sharpness, 0.9, True),
    "shear x": Operation(_shear_x, 0.3, True),
    "shear y": Operation(_shear_y, 0.3, True),
    "translate x": Operation(_translate_x, 150 / 331, True),
    "translate y": Operation(_translate_y, 150 / 331, True),
}
