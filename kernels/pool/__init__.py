"""Pooling: one number for each bin of pixels, and the way back.

``Bins`` (``kernels/pool/bins.py``) say which pixels an output covers; windows, adaptive and global pools share these
gates. Arrays are (N, C, H, W) or (N, C, OH, OW). Every plane (n, c) is written by one worker, which walks the outputs
in scan order: overlapping bins need no atomics and the bits do not depend on the number of threads.
"""

from minicnn.kernels.arrays import Array, allocate, is_cupy, twin
from minicnn.kernels.pool.bins import Bins, adaptive_bins, window_bins

__all__ = [
    "Bins",
    "adaptive_bins",
    "average_forward",
    "average_grad_x",
    "extreme_forward",
    "extreme_grad_x",
    "tap_dtype",
    "unpool_forward",
    "unpool_grad_x",
    "window_bins",
]


def tap_dtype(x: Array, bins: Bins) -> str:
    """The smallest dtype of an index from which ``extreme_grad_x`` can find the winners of ``x``."""
    return "uint8" if bins.sliding and bins.sliding.taps <= 256 and not is_cupy(x) else "int32"


def extreme_forward(x: Array, bins: Bins, smallest: bool, index_dtype: str | None = "int32") -> tuple[Array, Array]:
    """The largest (or smallest) pixel of each bin, and where in its plane it was.

    **Shapes** x (N, C, H, W) -> y (N, C, OH, OW), index of the same shape.
    **Math** ``y = max over the bin``; ``index = r*W + c`` of that pixel where ``index_dtype`` is int32, ``p*kw + q`` of
    the tap that saw it where it is uint8 (if ``tap_dtype`` says so), None where it is None.
    **Ties** the first pixel in scan order; NaN beats every number, the last NaN of a bin wins. A bin without a pixel
    gives -inf (+inf for the smallest) and index -1.
    """
    y = allocate(x, (*x.shape[:2], *bins.out))
    index = None if index_dtype is None else allocate(x, y.shape, dtype=index_dtype)
    twin(__name__, x).extreme_forward(_planes(x), bins, smallest, _planes(y), None if index is None else _planes(index))
    return y, index


def extreme_grad_x(gy: Array, index: Array, bins: Bins) -> Array:
    """``gx[index] += gy`` in each plane, in scan order; index -1 takes nothing. ``index`` as ``extreme_forward``'s."""
    gx = allocate(gy, (*gy.shape[:2], bins.h, bins.w))
    twin(__name__, gy).extreme_grad_x(_planes(gy), _planes(index), bins, _planes(gx))
    return gx


def average_forward(x: Array, bins: Bins) -> Array:
    """The sum of each bin over its divisor. **Shapes** x (N, C, H, W) -> y (N, C, OH, OW). Sums are float64."""
    y = allocate(x, (*x.shape[:2], *bins.out))
    twin(__name__, x).average_forward(_planes(x), bins, _planes(y))
    return y


def average_grad_x(gy: Array, bins: Bins) -> Array:
    """``gx[r, c]`` = sum of ``gy / divisor`` over the bins that cover (r, c), in scan order."""
    gx = allocate(gy, (*gy.shape[:2], bins.h, bins.w))
    twin(__name__, gy).average_grad_x(_planes(gy), bins, _planes(gx))
    return gx


def unpool_forward(x: Array, index: Array, out: tuple[int, int]) -> Array:
    """``y[index] = x`` in each plane, 0 elsewhere. **Ties** of equal indices the last in scan order stays.

    **Shapes** x and index (int32, in [0, OH*OW)) (N, C, H, W) -> y (N, C, OH, OW).
    """
    y = allocate(x, (*x.shape[:2], *out))
    twin(__name__, x).unpool_forward(_flat(x), _flat(index), _flat(y))
    return y


def unpool_grad_x(gy: Array, index: Array) -> Array:
    """``gx = gy[index]`` for the element that ``unpool_forward`` left at ``index``, 0 for those it overwrote."""
    gx = allocate(gy, index.shape)
    twin(__name__, gy).unpool_grad_x(_flat(gy), _flat(index), _flat(gx))
    return gx


def _planes(x: Array) -> Array:
    """(N, C, H, W) -> (N*C, H, W), a view."""
    n, c, h, w = x.shape
    return x.reshape(n * c, h, w)


def _flat(x: Array) -> Array:
    """(N, C, H, W) -> (N*C, H*W), a view."""
    n, c, h, w = x.shape
    return x.reshape(n * c, h * w)
