"""Pooling: one number for each bin of pixels, and the way back.

``Bins`` (``kernels/pool/bins.py``) say which pixels an output covers; windows, adaptive and global pools share these
gates. Arrays are (N, C, H, W) or (N, C, OH, OW). Every plane (n, c) is written by one worker, which walks the outputs
in scan order: overlapping bins need no atomics and the bits do not depend on the number of threads.
"""

from minicnn.kernels.arrays import Array, allocate, is_abstract, twin
from minicnn.kernels.pool.bins import Bins, adaptive_bins, window_bins

__all__ = [
    "Bins",
    "adaptive_bins",
    "average_forward",
    "average_grad_x",
    "extreme_forward",
    "extreme_grad_x",
    "unpool_forward",
    "unpool_grad_x",
    "window_bins",
]


def extreme_forward(x: Array, bins: Bins, smallest: bool) -> tuple[Array, Array]:
    """The largest (or smallest) pixel of each bin, and where in its plane it was.

    **Shapes** x (N, C, H, W) -> y (N, C, OH, OW), index of the same shape, int32.
    **Math** ``y = max over the bin``, ``index = r*W + c`` of that pixel.
    **Ties** the first pixel in scan order; NaN beats every number, the last NaN of a bin wins. A bin without a pixel
    gives -inf (+inf for the smallest) and index -1.
    """
    n, c, h, w = x.shape
    y = allocate(x, (n, c, *bins.out))
    index = allocate(x, y.shape, dtype="int32")
    if not is_abstract(x):
        twin(__name__, x).extreme_forward(
            x.reshape(n * c, h, w), bins.rows, bins.cols, bins.dh, bins.dw, smallest, _planes(y), _planes(index)
        )
    return y, index


def extreme_grad_x(gy: Array, index: Array, bins: Bins) -> Array:
    """``gx[index] += gy`` in each plane, in scan order; index -1 takes nothing."""
    n, c = gy.shape[:2]
    gx = allocate(gy, (n, c, bins.h, bins.w))
    readers = (bins.row_readers, bins.col_readers)
    twin(__name__, gy).extreme_grad_x(_flat(gy), _flat(index), *readers, bins.out[1], _flat(gx))
    return gx


def average_forward(x: Array, bins: Bins) -> Array:
    """The sum of each bin over its divisor. **Shapes** x (N, C, H, W) -> y (N, C, OH, OW). Sums are float64."""
    n, c, h, w = x.shape
    y = allocate(x, (n, c, *bins.out))
    if not is_abstract(x):
        twin(__name__, x).average_forward(x.reshape(n * c, h, w), bins.rows, bins.cols, _planes(y))
    return y


def average_grad_x(gy: Array, bins: Bins) -> Array:
    """``gx[r, c]`` = sum of ``gy / divisor`` over the bins that cover (r, c), in scan order."""
    n, c = gy.shape[:2]
    gx = allocate(gy, (n, c, bins.h, bins.w))
    readers = (bins.row_readers, bins.col_readers)
    twin(__name__, gy).average_grad_x(_planes(gy), bins.rows, bins.cols, *readers, _planes(gx))
    return gx


def unpool_forward(x: Array, index: Array, out: tuple[int, int]) -> Array:
    """``y[index] = x`` in each plane, 0 elsewhere. **Ties** of equal indices the last in scan order stays.

    **Shapes** x and index (int32, in [0, OH*OW)) (N, C, H, W) -> y (N, C, OH, OW).
    """
    y = allocate(x, (*x.shape[:2], *out))
    if not is_abstract(x):
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
