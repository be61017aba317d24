"""Windows of images: padded random crops, random resized crops, and the centre of a resized image."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from minicnn.data.augment.transform import Generators, Images, Shape, uniform
from minicnn.errors import DataError

ATTEMPTS = 10  # boxes tried before the centre is taken, as in torchvision
MODES: dict[object, Literal["edge", "reflect"]] = {"border": "edge", "reflect": "reflect"}


class RandomCrop:
    """Pad by ``padding`` pixels on every side and cut a random window of ``size`` pixels a side, or of the old size.

    Padding 4 on 32 x 32 is CIFAR's recipe (K. He et al. 2016, section 4.2); none, with a smaller ``size``, is AlexNet's
    (A. Krizhevsky et al. 2012, section 4.1). ``fill`` is a number, ``"border"`` (the edge again and again) or
    ``"reflect"`` (wide residual networks: S. Zagoruyko and N. Komodakis 2016, section 3).
    **Shapes**: (N, C, H, W) -> (N, C, size, size).
    **Raises** DataError where the padded image is smaller than ``size``.
    """

    def __init__(
        self, padding: int = 0, fill: float | Literal["border", "reflect"] = 0.0, size: int | None = None
    ) -> None:
        if padding < 0:
            raise DataError(f"RandomCrop: padding must be at least 0, got {padding}")
        if isinstance(fill, str) and fill not in MODES:
            raise DataError(f"RandomCrop: fill must be a number, 'border' or 'reflect', got {fill!r}")
        if size is not None and size < 1:
            raise DataError(f"RandomCrop: size must be at least 1 pixel, got {size}")
        self.padding, self.fill, self.size = padding, fill, size

    def output_shape(self, shape: Shape) -> Shape:
        """Return (C, size, size), or the shape as it is."""
        return shape if self.size is None else (shape[0], self.size, self.size)

    def __call__(self, images: Images, rngs: Generators) -> Images:
        n, c, h, w = images.shape
        _, oh, ow = self.output_shape((c, h, w))
        pad = self.padding
        down, right = h + 2 * pad - oh, w + 2 * pad - ow
        if min(down, right) < 0:
            raise DataError(f"RandomCrop: images of {h}x{w} with padding {pad} have no window of {oh}x{ow} pixels")
        if pad >= min(h, w) and self.fill == "reflect":
            raise DataError(f"RandomCrop: images of {h}x{w} cannot be reflected {pad} pixels beyond their edge")
        windows = np.lib.stride_tricks.sliding_window_view(self._padded(images), (oh, ow), axis=(2, 3))
        corner = (uniform(rngs, 2) * (down + 1, right + 1)).astype(np.int64)
        return np.ascontiguousarray(windows[np.arange(n), :, corner[:, 0], corner[:, 1]])

    def _padded(self, images: Images) -> Images:
        around = ((0, 0), (0, 0), (self.padding, self.padding), (self.padding, self.padding))
        if isinstance(self.fill, str):
            return np.pad(images, around, MODES[self.fill])
        return np.pad(images, around, constant_values=self.fill)

    def __repr__(self) -> str:
        size = "" if self.size is None else f", size={self.size}"
        return f"RandomCrop(padding={self.padding}, fill={self.fill!r}{size})"


class RandomResizedCrop:
    """Cut a box of random area and aspect ratio and resize it to ``size`` pixels a side, or to the old size.

    **Math**: the area is uniform in ``scale`` (fractions of the image), the aspect ratio (width / height) log-uniform
    in ``ratio``, the place uniform among whole pixels; of ten boxes drawn the first that fits is taken, else the
    largest centre box within ``ratio``. Resized bilinearly with antialiasing.
    **Shapes**: (N, C, H, W) -> (N, C, size, size).
    **Differs** from torchvision only in rounding: pixels are never rounded to 8 bits.
    **See** C. Szegedy et al., "Going deeper with convolutions", 2015, section 6.
    """

    def __init__(
        self,
        size: int | None = None,
        scale: tuple[float, float] = (0.08, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
    ) -> None:
        if size is not None and size < 1:
            raise DataError(f"RandomResizedCrop: size must be at least 1 pixel, got {size}")
        if not 0 < scale[0] <= scale[1] <= 1:
            raise DataError(f"RandomResizedCrop: scale must be (low, high) with 0 < low <= high <= 1, got {scale}")
        if not 0 < ratio[0] <= ratio[1]:
            raise DataError(f"RandomResizedCrop: ratio must be (low, high) with 0 < low <= high, got {ratio}")
        self.size, self.scale, self.ratio = size, scale, ratio

    def output_shape(self, shape: Shape) -> Shape:
        """Return (C, size, size), or the shape as it is."""
        return shape if self.size is None else (shape[0], self.size, self.size)

    def boxes(self, rngs: Generators, h: int, w: int) -> NDArray[np.int64]:
        """Draw the boxes (N, 4): top, left, height, width."""
        draws = uniform(rngs, 2 * ATTEMPTS + 2)
        low, high = self.scale
        area = h * w * (low + (high - low) * draws[:, :ATTEMPTS])  # (N, ATTEMPTS)
        low, high = np.log(self.ratio)
        ratio = np.exp(low + (high - low) * draws[:, ATTEMPTS:-2])
        tall, wide = np.rint(np.sqrt(area / ratio)), np.rint(np.sqrt(area * ratio))
        fits = (tall > 0) & (tall <= h) & (wide > 0) & (wide <= w)
        first = fits.argmax(axis=1)
        rows = np.arange(len(rngs))
        found, height, width = fits.any(axis=1), tall[rows, first], wide[rows, first]
        at = np.floor(draws[:, -2:] * np.stack([h - height + 1, w - width + 1], axis=1))
        drawn = np.stack([at[:, 0], at[:, 1], height, width], axis=1)
        return np.where(found[:, None], drawn, self._centre(h, w)).astype(np.int64)

    def _centre(self, h: int, w: int) -> tuple[int, int, int, int]:
        """The largest box in the middle whose aspect ratio is allowed."""
        low, high = self.ratio
        height = h if w / h >= low else max(1, round(w / low))
        width = w if w / h <= high else max(1, round(h * high))
        return (h - height) // 2, (w - width) // 2, height, width

    def __call__(self, images: Images, rngs: Generators) -> Images:
        n, c, h, w = images.shape
        _, oh, ow = self.output_shape((c, h, w))
        crops = np.empty((n, c, oh, ow), np.float32)
        for crop, image, (top, left, height, width) in zip(crops, images, self.boxes(rngs, h, w), strict=True):
            resize_into(crop, image[:, top : top + height, left : left + width])
        return crops

    def __repr__(self) -> str:
        return f"RandomResizedCrop(size={self.size}, scale={self.scale}, ratio={self.ratio})"


class CentreCrop:
    """Resize the shorter side to ``resize`` pixels (none: as it is) and cut ``size`` pixels a side from the middle.

    What a network is tested on; nothing is random. Resized bilinearly with antialiasing. For crops of the corners and
    at several sizes see ``minicnn.models.Crops`` and ``Scales``, which an ``Ensemble`` averages over.
    **Shapes**: (N, C, H, W) -> (N, C, size, size). **Raises** DataError where the image is smaller than ``size``.
    **See** A. Krizhevsky et al. 2012, section 2 (256, then the centre).
    """

    def __init__(self, size: int, resize: int | None = None) -> None:
        if size < 1 or (resize is not None and resize < size):
            raise DataError(f"CentreCrop: expected 1 <= size <= resize, got size={size} and resize={resize}")
        self.size, self.resize = size, resize

    def output_shape(self, shape: Shape) -> Shape:
        """Return (C, size, size)."""
        return shape[0], self.size, self.size

    def __call__(self, images: Images, rngs: Generators) -> Images:
        n, c, h, w = images.shape
        if self.resize is not None and self.resize != min(h, w):
            shorter = min(h, w)
            h, w = (self.resize * h // shorter, self.resize * w // shorter)
            resized = np.empty((n, c, h, w), np.float32)
            for new, image in zip(resized, images, strict=True):
                resize_into(new, image)
            images = resized
        down, right = h - self.size, w - self.size
        if min(down, right) < 0:
            raise DataError(
                f"CentreCrop: images of {h}x{w} have no crop of {self.size} pixels; fix: resize={self.size}"
            )
        top, left = round(down / 2), round(right / 2)
        return np.ascontiguousarray(images[:, :, top : top + self.size, left : left + self.size])

    def __repr__(self) -> str:
        return f"CentreCrop(size={self.size}, resize={self.resize})"


def resize_into(out: Images, image: Images) -> None:
    """Resize ``image`` (C, H, W) into ``out`` (C, OH, OW), bilinearly and, where it shrinks, antialiased.

    Pillow does it: its C code lets other threads run meanwhile.
    """
    from PIL import Image

    size = (out.shape[2], out.shape[1])
    for new, channel in zip(out, image, strict=True):
        if channel.shape == new.shape:
            new[:] = channel
        else:
            new[:] = Image.fromarray(np.ascontiguousarray(channel)).resize(size, Image.Resampling.BILINEAR)
