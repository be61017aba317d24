"""Sampling images between their pixels: ``grid_sample`` at given places, ``interpolate`` on a regular grid.

Forward, every worker owns one row of one output image; the gradient of the image is summed plane by plane, one worker
a plane (n, c), in scan order of the outputs (on the GPU every pixel is owned by a thread, which gathers): no atomics,
the same bits at any thread count. Coordinates and weights are computed in float64.
"""

from minicnn.kernels.arrays import Array, allocate, twin
from minicnn.kernels.sampling.taps import Taps, bilinear_taps, nearest_taps

__all__ = [
    "PADDING_MODES",
    "Taps",
    "bilinear_taps",
    "grid_sample_forward",
    "grid_sample_grad_grid",
    "grid_sample_grad_x",
    "nearest_taps",
    "resample_forward",
    "resample_grad_x",
]

PADDING_MODES = ("zeros", "border", "reflection")  # the twins get the position in this tuple


def grid_sample_forward(x: Array, grid: Array, padding_mode: int, align_corners: bool, nearest: bool) -> Array:
    """``y[n, c, i, j]`` = plane (n, c) of x read at ``grid[n, i, j]`` = (across, down), each from -1 to 1.

    **Shapes** x (N, C, H, W), grid (N, OH, OW, 2) -> y (N, C, OH, OW).
    **Math** pixel ``u = ((g + 1)*W - 1)/2``, or ``(g + 1)/2 * (W - 1)`` with ``align_corners``; padding mode 1 clamps u
    to the image, 2 reflects it at the image's edges. Bilinear: the four pixels round (u, v) weighted by nearness;
    nearest: the pixel at u rounded half to even. Pixels outside the image are 0.
    **Ties** NaN in the grid is read as -1.
    """
    n, c = x.shape[:2]
    y = allocate(x, (n, c, *grid.shape[1:3]))
    twin(__name__, x).grid_sample_forward(x, grid, padding_mode, align_corners, nearest, y)
    return y


def grid_sample_grad_x(
    gy: Array, grid: Array, size: tuple[int, int], padding_mode: int, align_corners: bool, nearest: bool
) -> Array:
    """Each ``gy[n, c, i, j]`` shared out to the pixels that ``y[n, c, i, j]`` read, by the same weights."""
    gx = allocate(gy, (*gy.shape[:2], *size))
    twin(__name__, gy).grid_sample_grad_x(gy, grid, padding_mode, align_corners, nearest, gx)
    return gx


def grid_sample_grad_grid(gy: Array, x: Array, grid: Array, padding_mode: int, align_corners: bool) -> Array:
    """The derivative of bilinear sampling along x and y, summed over the channels; nearest has none (0)."""
    ggrid = allocate(gy, grid.shape)
    twin(__name__, gy).grid_sample_grad_grid(gy, x, grid, padding_mode, align_corners, ggrid)
    return ggrid


def resample_forward(x: Array, rows: Taps, cols: Taps) -> Array:
    """Rows and columns read through two taps each: ``y[i, j] = sum of weights * x`` over 2 x 2 pixels.

    **Shapes** x (N, C, H, W) -> y (N, C, OH, OW), OH and OW the lengths of the taps.
    """
    n, c, h, w = x.shape
    y = allocate(x, (n, c, len(rows), len(cols)))
    twin(__name__, x).resample_forward(
        x.reshape(n * c, h, w), *rows.arrays, *cols.arrays, y.reshape(n * c, *y.shape[2:])
    )
    return y


def resample_grad_x(gy: Array, rows: Taps, cols: Taps, size: tuple[int, int]) -> Array:
    """Each ``gy`` shared out to its taps by the same weights."""
    n, c, oh, ow = gy.shape
    gx = allocate(gy, (n, c, *size))
    flat = gy.reshape(n * c, oh, ow)
    tables = (*rows.arrays, *cols.arrays, *rows.back, *cols.back)
    twin(__name__, gy).resample_grad_x(flat, *tables, gx.reshape(n * c, *size))
    return gx
