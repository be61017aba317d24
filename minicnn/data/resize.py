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
    from minicnn.data.bilinear import read_bilinear

    out = np.empty((*images.shape[:2], *y.shape[1:]), np.float32)
    border = fill == "border"
    read_bilinear(np.ascontiguousarray(images), y, x, border, np.float32(0 if border else fill), out)
    return out
