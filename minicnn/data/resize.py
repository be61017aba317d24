"""Bilinear resizing of image batches in NumPy."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from minicnn.errors import DataError


def resize_bilinear(images: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """Resize (N, C, H, W) to (N, C, *size) by bilinear interpolation between pixel centres.

    **Math**: output centre ``i`` reads the input at ``(i + 0.5) * H / oh - 0.5``, held inside the image; this is
    ``interpolate(mode="bilinear", align_corners=False)``. There is no antialiasing: meant for enlarging.
    """
    if min(size) < 1:
        raise DataError(f"resize_bilinear: size must be at least 1x1, got {size[0]}x{size[1]}")
    return _interpolate(_interpolate(images, size[0], axis=2), size[1], axis=3)


def _interpolate(images: NDArray[np.float32], count: int, axis: int) -> NDArray[np.float32]:
    """Resize one axis of (N, C, H, W) to ``count``."""
    old = images.shape[axis]
    if old == count:
        return images
    at = np.clip((np.arange(count) + 0.5) * (old / count) - 0.5, 0, old - 1)
    low = np.floor(at).astype(np.int64)
    high = np.minimum(low + 1, old - 1)
    along = [1, 1, 1, 1]
    along[axis] = count
    weight = (at - low).astype(np.float32).reshape(along)
    below = np.take(images, low, axis=axis)
    resized: NDArray[np.float32] = below + weight * (np.take(images, high, axis=axis) - below)
    return resized


def sample_bilinear(
    images: NDArray[np.float32],
    y: NDArray[np.floating],
    x: NDArray[np.floating],
    fill: float | Literal["border"] = "border",
) -> NDArray[np.float32]:
    """Read each image at fractional pixel positions.

    **Shapes**: images (N, C, H, W), y and x (N, OH, OW) -> (N, C, OH, OW); pixel centres lie at whole numbers.
    What lies outside is ``fill``: a number, or ``"border"`` for the nearest edge pixel. A position between the edge
    pixel and the outside blends the two.
    """
    n, c, h, w = images.shape
    # One ring of fill round the image: positions held inside the ring need no per-tap test.
    ring = ((0, 0), (0, 0), (1, 1), (1, 1))
    padded = np.pad(images, ring, "edge") if fill == "border" else np.pad(images, ring, constant_values=fill)
    pixels = np.ascontiguousarray(padded.transpose(0, 2, 3, 1)).reshape(-1, c)  # row = (n, y, x): one take a corner
    at_y, at_x = np.clip(y, -1, h) + 1, np.clip(x, -1, w) + 1
    top = np.minimum(at_y.astype(np.int64), h)
    left = np.minimum(at_x.astype(np.int64), w)
    wy = (at_y - top).astype(np.float32)[..., None]  # (N, OH, OW, 1)
    wx = (at_x - left).astype(np.float32)[..., None]
    image_start = np.arange(n)[:, None, None] * ((h + 2) * (w + 2))
    corner = image_start + top * (w + 2) + left
    upper = _mix(pixels.take(corner, axis=0), pixels.take(corner + 1, axis=0), wx)
    lower = _mix(pixels.take(corner + (w + 2), axis=0), pixels.take(corner + (w + 3), axis=0), wx)
    return np.ascontiguousarray(_mix(upper, lower, wy).transpose(0, 3, 1, 2))


def _mix(a: NDArray[np.float32], b: NDArray[np.float32], weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return ``a + weight * (b - a)``, reusing ``b``."""
    b -= a
    b *= weight
    b += a
    return b
