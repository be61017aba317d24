"""CUDA twins of sampling; where the CPU shares a gradient out to pixels, here every pixel gathers its own."""

from math import prod

import numpy as np

from minicnn.kernels.arrays import Array, allocate, array_module
from minicnn.kernels.launch import CudaSource, device_copy, row_groups

SOURCE = CudaSource(__file__)

Table = np.ndarray


def grid_sample_forward(x: Array, grid: Array, padding_mode: int, align_corners: bool, nearest: bool, y: Array) -> None:
    """x (N, C, H, W), grid (N, OH, OW, 2), y (N, C, OH, OW)."""
    options = (*x.shape, prod(y.shape[2:]), padding_mode, bool(align_corners), bool(nearest))
    SOURCE.launch("grid_sample_forward", x.dtype, grid.size // 2, x, grid, *options, y)


def grid_sample_grad_x(
    gy: Array, grid: Array, padding_mode: int, align_corners: bool, nearest: bool, gx: Array
) -> None:
    """gy (N, C, OH, OW), gx (N, C, H, W). Costs a sort of the N*OH*OW places, whatever the channels, and 40 bytes each.

    CuPy sorts without making the host wait.
    """
    n, _, h, w = gx.shape
    places, outputs, cells = grid.size // 2, prod(gy.shape[2:]), n * (h + 1) * (w + 1)
    if not gy.size:
        gx.fill(0)
        return
    sizes, way = (n, h, w, outputs), (padding_mode, bool(align_corners))
    key, order, begin = (allocate(gy, (count,), "int64") for count in (places, places, cells + 1))
    place = allocate(gy, (places, 2), "float64")
    SOURCE.launch("grid_sample_keys", gy.dtype, places, grid, *sizes, *way, bool(nearest), key)
    key = array_module(gy).sort(key)
    SOURCE.launch("grid_sample_places", gy.dtype, places, grid, key, *sizes, *way, place, order)
    SOURCE.launch("grid_sample_cells", gy.dtype, cells + 1, key, places, cells, outputs, begin)
    options = (*gx.shape, outputs, bool(nearest))
    SOURCE.launch("grid_sample_grad_x", gy.dtype, gx.size, gy, begin, place, order, *options, gx)


def grid_sample_grad_grid(
    gy: Array, x: Array, grid: Array, padding_mode: int, align_corners: bool, ggrid: Array
) -> None:
    """Bilinear only: gy (N, C, OH, OW), x (N, C, H, W), grid and ggrid (N, OH, OW, 2)."""
    options = (*x.shape, prod(gy.shape[2:]), padding_mode, bool(align_corners))
    SOURCE.launch("grid_sample_grad_grid", gy.dtype, grid.size // 2, gy, x, grid, *options, ggrid)


def resample_forward(
    x: Array, row0: Table, row1: Table, row_weight: Table, col0: Table, col1: Table, col_weight: Table, y: Array
) -> None:
    """x (planes, H, W), y (planes, OH, OW)."""
    planes, oh, ow = y.shape
    groups = row_groups(planes, oh * ow)
    tables = tuple(device_copy(table) for table in (row0, row1, row_weight, col0, col1, col_weight))
    SOURCE.launch("resample_forward", x.dtype, groups * oh * ow, x, *x.shape, *tables, oh, ow, groups, y)


def resample_grad_x(
    gy: Array,
    row0: Table,
    row1: Table,
    row_weight: Table,
    col0: Table,
    col1: Table,
    col_weight: Table,
    row_readers: Table,
    row_shares: Table,
    col_readers: Table,
    col_shares: Table,
    gx: Array,
) -> None:
    """gy (planes, OH, OW), gx (planes, H, W)."""
    planes, h, w = gx.shape
    groups = row_groups(planes, h * w)
    rows = (device_copy(row_readers), device_copy(row_shares), row_shares.shape[1])
    cols = (device_copy(col_readers), device_copy(col_shares), col_shares.shape[1])
    SOURCE.launch("resample_grad_x", gy.dtype, groups * h * w, gy, *gy.shape, *rows, *cols, h, w, groups, gx)
