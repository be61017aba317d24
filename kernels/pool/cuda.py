"""CUDA twins of pooling: a thread owns a place of a plane, a team of threads the plane of a global pool."""

from minicnn.kernels.arrays import Array, allocate
from minicnn.kernels.launch import CudaSource, device_copy, row_groups
from minicnn.kernels.pool.bins import Bins
from minicnn.kernels.team import launch_teams

SOURCE = CudaSource(__file__)
PIXELS = 4  # at least, that a thread of a team takes


def extreme_forward(x: Array, bins: Bins, smallest: bool, y: Array, index: Array | None) -> None:
    """x (planes, H, W), y and index (planes, OH, OW); an index that is not wanted is written all the same."""
    planes, h, w = x.shape
    index = allocate(x, y.shape, dtype="int32") if index is None else index
    if bins.is_plane:
        size = h * w
        launch_teams(
            SOURCE, "extreme_of_planes", x.dtype, planes, size // PIXELS, x, planes, size, bool(smallest), y, index
        )
        return
    oh, ow = y.shape[1:]
    groups = row_groups(planes, oh * ow)
    tables = (device_copy(bins.rows), device_copy(bins.cols))
    options = (*x.shape, *tables, oh, ow, bins.dh, bins.dw, bool(smallest), groups)
    SOURCE.launch("extreme_forward", x.dtype, groups * oh * ow, x, *options, y, index)


def extreme_grad_x(gy: Array, index: Array, bins: Bins, gx: Array) -> None:
    """gy and index (planes, OH, OW), gx (planes, H, W)."""
    planes, h, w = gx.shape
    groups = row_groups(planes, h * w)
    tables = (device_copy(bins.row_readers), device_copy(bins.col_readers))
    SOURCE.launch(
        "extreme_grad_x", gy.dtype, groups * h * w, gy, index, planes, *tables, h, w, *gy.shape[1:], groups, gx
    )


def average_forward(x: Array, bins: Bins, y: Array) -> None:
    """x (planes, H, W), y (planes, OH, OW)."""
    planes, h, w = x.shape
    rows, cols = bins.rows, bins.cols
    if bins.is_plane:
        size, divisor = h * w, float(rows[2, 0] * cols[2, 0])
        launch_teams(SOURCE, "average_of_planes", x.dtype, planes, size // PIXELS, x, planes, size, divisor, y)
        return
    oh, ow = y.shape[1:]
    groups = row_groups(planes, oh * ow)
    options = (*x.shape, device_copy(rows), device_copy(cols), oh, ow, groups)
    SOURCE.launch("average_forward", x.dtype, groups * oh * ow, x, *options, y)


def average_grad_x(gy: Array, bins: Bins, gx: Array) -> None:
    """gy (planes, OH, OW), gx (planes, H, W)."""
    planes, h, w = gx.shape
    groups = row_groups(planes, h * w)
    tables = tuple(device_copy(table) for table in (bins.rows, bins.cols, bins.row_readers, bins.col_readers))
    SOURCE.launch("average_grad_x", gy.dtype, groups * h * w, gy, *gy.shape, *tables, h, w, groups, gx)


def unpool_forward(x: Array, index: Array, y: Array) -> None:
    """x and index (planes, H*W), y (planes, OH*OW); an index outside the plane makes its first pixel NaN."""
    SOURCE.launch("unpool_forward", x.dtype, 32 * len(x), x, index, *x.shape, y.shape[1], y)


def unpool_grad_x(gy: Array, index: Array, gx: Array) -> None:
    """gy (planes, OH*OW), index and gx (planes, H*W)."""
    owner = allocate(gy, gy.shape, dtype="int32")
    SOURCE.launch("unpool_owner", gy.dtype, 32 * len(gy), index, *gx.shape, gy.shape[1], owner)
    SOURCE.launch("unpool_grad_x", gy.dtype, gx.size, gy, index, owner, *gx.shape, gy.shape[1], gx)
