"""CUDA twins of pooling: a thread owns a place of a plane, a team of threads the plane of a global pool."""

import numpy as np

from minicnn.kernels.arrays import Array, allocate
from minicnn.kernels.launch import CudaSource, device_copy, row_groups
from minicnn.kernels.team import launch_teams

SOURCE = CudaSource(__file__)
PIXELS = 4  # at least, that a thread of a team takes

Indices = np.ndarray


def extreme_forward(
    x: Array, rows: Indices, cols: Indices, dh: int, dw: int, smallest: bool, y: Array, index: Array
) -> None:
    """x (planes, H, W), y and index (planes, OH, OW)."""
    planes, h, w = x.shape
    if dh == dw == 1 and _is_plane(rows, h) and _is_plane(cols, w):
        size = h * w
        launch_teams(
            SOURCE, "extreme_of_planes", x.dtype, planes, size // PIXELS, x, planes, size, bool(smallest), y, index
        )
        return
    oh, ow = y.shape[1:]
    groups = row_groups(planes, oh * ow)
    options = (*x.shape, device_copy(rows), device_copy(cols), oh, ow, dh, dw, bool(smallest), groups)
    SOURCE.launch("extreme_forward", x.dtype, groups * oh * ow, x, *options, y, index)


def extreme_grad_x(gy: Array, index: Array, row_readers: Indices, col_readers: Indices, ow: int, gx: Array) -> None:
    """gy and index (planes, OH*OW), gx (planes, H*W)."""
    planes, pixels = gx.shape
    groups = row_groups(planes, pixels)
    sizes = (row_readers.shape[1], col_readers.shape[1], gy.shape[1] // ow, ow)
    options = (planes, device_copy(row_readers), device_copy(col_readers), *sizes, groups)
    SOURCE.launch("extreme_grad_x", gy.dtype, groups * pixels, gy, index, *options, gx)


def average_forward(x: Array, rows: Indices, cols: Indices, y: Array) -> None:
    """x (planes, H, W), y (planes, OH, OW)."""
    planes, h, w = x.shape
    if _is_plane(rows, h) and _is_plane(cols, w):
        size, divisor = h * w, float(rows[2, 0] * cols[2, 0])
        launch_teams(SOURCE, "average_of_planes", x.dtype, planes, size // PIXELS, x, planes, size, divisor, y)
        return
    oh, ow = y.shape[1:]
    groups = row_groups(planes, oh * ow)
    options = (*x.shape, device_copy(rows), device_copy(cols), oh, ow, groups)
    SOURCE.launch("average_forward", x.dtype, groups * oh * ow, x, *options, y)


def average_grad_x(
    gy: Array, rows: Indices, cols: Indices, row_readers: Indices, col_readers: Indices, gx: Array
) -> None:
    """gy (planes, OH, OW), gx (planes, H, W)."""
    planes, h, w = gx.shape
    groups = row_groups(planes, h * w)
    tables = tuple(device_copy(table) for table in (rows, cols, row_readers, col_readers))
    SOURCE.launch("average_grad_x", gy.dtype, groups * h * w, gy, *gy.shape, *tables, h, w, groups, gx)


def unpool_forward(x: Array, index: Array, y: Array) -> None:
    """x and index (planes, H*W), y (planes, OH*OW); an index outside the plane makes its first pixel NaN."""
    SOURCE.launch("unpool_forward", x.dtype, 32 * len(x), x, index, *x.shape, y.shape[1], y)


def unpool_grad_x(gy: Array, index: Array, gx: Array) -> None:
    """gy (planes, OH*OW), index and gx (planes, H*W)."""
    owner = allocate(gy, gy.shape, dtype="int32")
    SOURCE.launch("unpool_owner", gy.dtype, 32 * len(gy), index, *gx.shape, gy.shape[1], owner)
    SOURCE.launch("unpool_grad_x", gy.dtype, gx.size, gy, index, owner, *gx.shape, gy.shape[1], gx)


def _is_plane(bins: Indices, size: int) -> bool:
    """Whether there is one bin and it has every pixel of its axis."""
    return bool(bins.shape[1] == 1 and bins[0, 0] == 0 and bins[1, 0] == size)
