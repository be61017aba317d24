"""CUDA twins of the reductions."""

from minicnn.kernels.arrays import Array, allocate
from minicnn.kernels.launch import CudaSource
from minicnn.kernels.team import launch_teams

SOURCE = CudaSource(__file__)
LONG_ROW = 32  # values of a channel and image from which a warp or more sums them; below, threads sum columns
COLUMN_BLOCK = 32  # rows one thread sums of a column


def channel_sum(x: Array, y: Array) -> None:
    """x (N, K, S) -> y (K,)."""
    n, k, s = x.shape
    if s >= LONG_ROW:
        part = allocate(x, (n, k, 1), float)
        launch_teams(SOURCE, "row_sums", x.dtype, n * k, s, x, n * k, s, part)
    else:
        part = allocate(x, (-(-n // COLUMN_BLOCK), k, s), float)
        SOURCE.launch("column_sums", x.dtype, part.size, x, n, k * s, COLUMN_BLOCK, part)
    join_channels(part, y)


def join_channels(part: Array, y: Array) -> None:
    """Sums of float64 ``part`` (N, K, S) over N and S, rounded to y (K,)."""
    n, k, s = part.shape
    launch_teams(SOURCE, "channel_sum", y.dtype, k, n * s, part, n, k, s, y)
