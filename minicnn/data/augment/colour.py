"""The colours of images changed. All but `Noise` want raw pixels in 0..1: give them to `OnPixels`."""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from minicnn.data.augment.transform import Compose, Generators, Images, Shape, Transform, check_probability, uniform
from minicnn.errors import DataError

LUMA = (0.299, 0.587, 0.114)  # how bright red, green and blue are: ITU-R BT.601, as in Pillow


class OnPixels:
    """Apply transforms to raw pixels: undo ``(raw - mean) / std``, apply them in turn, normalise again.

    ``mean`` and ``std`` are the dataset's, a number or one a channel, as in
    ``OnPixels(dataset.mean, dataset.std, ColourJitter())``.
    """

    def __init__(self, mean: ArrayLike, std: ArrayLike, *transforms: Transform) -> None:
        self.mean, self.std = (np.asarray(value, np.float32).reshape(-1, 1, 1) for value in (mean, std))
        self.inner = Compose(*transforms)

    def output_shape(self, shape: Shape) -> Shape:
        """Return the shape after the last transform."""
        return self.inner.output_shape(shape)

    def __call__(self, images: Images, rngs: Generators) -> Images:
        changed: Images = (self.inner(images * self.std + self.mean, rngs) - self.mean) / self.std
        return changed

    def __repr__(self) -> str:
        return f"OnPixels({', '.join(map(repr, self.inner.transforms))})"


class ColourJitter:
    """Change brightness, contrast, saturation and hue of raw images by random factors, in random order.

    **Math**: a factor ``f`` is uniform in ``max(0, 1 - strength) .. 1 + strength`` and mixes the image with another,
    ``f x + (1 - f) y``: y is black for brightness, the image's mean grey for contrast, the image in grey for
    saturation. The hue turns by an angle uniform in ``±hue`` of a full turn. After each the pixels are held in 0..1.
    **Shapes**: (N, C, H, W), C of 1 or 3; grey images have neither saturation nor hue.
    **Differs** from torchvision in rounding: pixels are never rounded to 8 bits.
    **See** A. Howard, "Some improvements on deep convolutional neural network based image classification", 2013,
    section 2.2; the strengths of 0.4 are those of ResNeXt's and ShuffleNet's recipes.
    """

    def __init__(
        self, brightness: float = 0.4, contrast: float = 0.4, saturation: float = 0.4, hue: float = 0.0
    ) -> None:
        strengths = {"brightness": brightness, "contrast": contrast, "saturation": saturation}
        for name, strength in strengths.items():
            if strength < 0:
                raise DataError(f"ColourJitter: {name} must be at least 0, got {strength}")
        if not 0 <= hue <= 0.5:
            raise DataError(f"ColourJitter: hue must be a part of a turn, 0 to 0.5, got {hue}")
        self.strengths = (*strengths.values(), hue)

    def draw(self, rngs: Generators) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Draw the factors and the turn (N, 4), and the order (N, 4) in which the four are applied."""
        draws = uniform(rngs, 8)
        low = np.array([*(max(0.0, 1 - strength) for strength in self.strengths[:3]), -self.strengths[3]])
        high = np.array([*(1 + strength for strength in self.strengths[:3]), self.strengths[3]])
        return (low + (high - low) * draws[:, :4]).astype(np.float32), draws[:, 4:].argsort(axis=1)

    def __call__(self, images: Images, rngs: Generators) -> Images:
        factors, order = self.draw(rngs)
        images = images.copy()
        for turn in range(4):
            for kind, (change, strength) in enumerate(zip(CHANGES, self.strengths, strict=True)):
                chosen = order[:, turn] == kind
                if strength and chosen.any():
                    images[chosen] = change(images[chosen], factors[chosen, kind])
        return images

    def __repr__(self) -> str:
        return "ColourJitter({}, {}, {}, hue={})".format(*self.strengths)


class RandomGrey:
    """Take the colour out of a raw image with probability ``p``: every channel becomes its brightness."""

    def __init__(self, p: float = 0.1) -> None:
        check_probability("RandomGrey", p)
        self.p = p

    def __call__(self, images: Images, rngs: Generators) -> Images:
        chosen = uniform(rngs, 1)[:, 0] < self.p
        return np.where(chosen[:, None, None, None], luma(images), images)

    def __repr__(self) -> str:
        return f"RandomGrey(p={self.p})"


class PCAColour:
    """Shift the colours of a raw image along the principal axes of the colours of the training set.

    **Math**: every pixel gets ``sum_k a_k values_k vectors[:, k]``, ``a_k`` normal with standard deviation ``std``,
    drawn once an image; ``values`` (3,) and ``vectors`` (3, 3) are the eigenvalues and eigenvectors of the covariance
    of the training pixels in 0..1 (`PCAColour.of`). The unit of the pixels matters, since eigenvalues are variances:
    0..1 is that of the torch recipes. The pixels are not held in 0..1.
    **See** A. Krizhevsky et al. 2012, section 4.1. torchvision has no such transform.
    """

    def __init__(self, values: ArrayLike, vectors: ArrayLike, std: float = 0.1) -> None:
        self.values, self.vectors = np.asarray(values, np.float64), np.asarray(vectors, np.float64)
        if self.values.ndim != 1 or self.vectors.shape != (self.values.size, self.values.size):
            raise DataError(
                f"PCAColour: expected values (C,) and vectors (C, C), got {self.values.shape} and {self.vectors.shape}"
            )
        if std < 0:
            raise DataError(f"PCAColour: std must be at least 0, got {std}")
        self.std = std

    @classmethod
    def of(cls, raw: ArrayLike, std: float = 0.1) -> "PCAColour":
        """Fit to raw images (N, C, H, W) in 0..1."""
        pixels = np.asarray(raw, np.float64)
        if pixels.ndim != 4 or not pixels.size:
            raise DataError(f"PCAColour.of: expected images (N, C, H, W), got shape {pixels.shape}")
        colours = np.moveaxis(pixels, 1, 0).reshape(pixels.shape[1], -1)  # (C, pixels)
        colours = colours - colours.mean(axis=1, keepdims=True)
        values, vectors = np.linalg.eigh(colours @ colours.T / colours.shape[1])
        return cls(np.maximum(values[::-1], 0), vectors[:, ::-1], std)

    def __call__(self, images: Images, rngs: Generators) -> Images:
        count = self.values.size
        if images.shape[1] != count:
            raise DataError(f"PCAColour: fitted to {count} channels, got images of {images.shape[1]}")
        amounts = np.stack([rng.standard_normal(count) for rng in rngs]) if rngs else np.empty((0, count))
        # Not a matrix product, whose bits may depend on the size of the batch.
        shift = (self.vectors * (self.std * amounts * self.values)[:, None, :]).sum(axis=2)  # (N, C)
        shifted: Images = images + shift.astype(np.float32)[:, :, None, None]
        return shifted

    def __repr__(self) -> str:
        return f"PCAColour(values={np.round(self.values, 4).tolist()}, std={self.std})"


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


# ---- one change each: raw images (N, C, H, W) and a factor an image (N,)


def luma(images: Images) -> Images:
    """Brightness (N, 1, H, W) of grey or RGB images."""
    if images.shape[1] == 1:
        return images
    if images.shape[1] != 3:
        raise DataError(f"colour: expected images of 1 or 3 channels, got {images.shape[1]}")
    red, green, blue = (np.float32(part) * images[:, c : c + 1] for c, part in enumerate(LUMA))
    bright: Images = red + green + blue
    return bright


def _mixed(images: Images, other: Images | float, factor: NDArray[np.float32]) -> Images:
    """``factor`` of the images, the rest of ``other``, held in 0..1."""
    part = factor[:, None, None, None]
    mixed: Images = np.clip(part * images + (1 - part) * other, 0, 1)
    return mixed


def brightness(images: Images, factor: NDArray[np.float32]) -> Images:
    """Mix with black."""
    return _mixed(images, 0.0, factor)


def contrast(images: Images, factor: NDArray[np.float32]) -> Images:
    """Mix with the image's mean brightness."""
    mean = luma(images).reshape(len(images), -1).mean(axis=1, dtype=np.float64).astype(np.float32)
    return _mixed(images, mean[:, None, None, None], factor)


def saturation(images: Images, factor: NDArray[np.float32]) -> Images:
    """Mix with the image in grey."""
    return images if images.shape[1] == 1 else _mixed(images, luma(images), factor)


def hue(images: Images, turn: NDArray[np.float32]) -> Images:
    """Turn the hue by a part of a full circle; brightest and darkest channel of each pixel keep their values.

    **Math**: with value ``v``, chroma ``c`` and hue ``h`` of the HSV hexagon, channel k of red, green and blue is
    ``v - c clip(min(t, 4 - t), 0, 1)``, where ``t = (n_k + 6 h) mod 6`` and n = 5, 3, 1.
    """
    if images.shape[1] == 1:
        return images
    red, green, blue = images[:, 0], images[:, 1], images[:, 2]
    value = images.max(axis=1)
    chroma = value - images.min(axis=1)
    safe = np.where(chroma > 0, chroma, 1)
    sixths = np.where(
        value == red,
        (green - blue) / safe,
        np.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    sixths += 6 * turn[:, None, None]
    turned = np.empty_like(images)
    for k, offset in enumerate((5, 3, 1)):
        t = (offset + sixths) % 6
        turned[:, k] = value - chroma * np.clip(np.minimum(t, 4 - t), 0, 1)
    return turned


CHANGES: tuple[Callable[[Images, NDArray[np.float32]], Images], ...] = (brightness, contrast, saturation, hue)
