"""CUDA twins of the fused passes; backward is that of ``kernels/norm`` with the gradient that passes the bounds."""

from minicnn.kernels import launch
from minicnn.kernels.arrays import Array, allocate, compute_dtype
from minicnn.kernels.launch import CudaSource
from minicnn.kernels.norm import cuda as norm
from minicnn.kernels.team import launch_teams

SOURCE = CudaSource(__file__)


def _at_once(x: Array) -> int:
    """How many threads it takes when each has 16 bytes of ``x`` (``AT_ONCE`` of ``map.cuh``)."""
    return int(-(-x.nbytes // 16))


def bounded_forward(x: Array, other: Array | None, low: float, high: float, y: Array) -> None:
    SOURCE.launch("bounded_forward", x.dtype, _at_once(x), x, other, y, x.size, float(low), float(high))


def bounded_grad(gy: Array, y: Array, low: float, high: float, g: Array) -> None:
    SOURCE.launch("bounded_grad", gy.dtype, _at_once(gy), gy, y, g, gy.size, float(low), float(high))


def norm_forward(
    x: Array,
    mean: Array,
    rstd: Array,
    weight: Array | None,
    bias: Array | None,
    other: Array | None,
    low: float,
    high: float,
    y: Array,
) -> None:
    """x, y and other (N, C, S), mean and rstd (1, C), weight and bias (C) or None."""
    (images, channels, size), wide = x.shape, compute_dtype(x.dtype)
    affine = tuple(None if w is None else w.astype(wide, copy=False) for w in (weight, bias))
    rows, piece = images * channels, min(size, 16 * launch.THREADS)
    pieces = rows * -(-size // piece) if size else 0
    numbers = (float(low), float(high), rows, size, channels, piece)
    launch_teams(SOURCE, "norm_forward", x.dtype, pieces, piece, x, mean, rstd, *affine, other, *numbers, y)


def norm_grads(
    gy: Array,
    y: Array,
    x: Array,
    mean: Array,
    rstd: Array,
    weight: Array | None,
    frozen: bool,
    low: float,
    high: float,
    gx: Array | None,
    gother: Array | None,
    gw: Array | None,
    gb: Array | None,
) -> None:
    """gy, y, x, gx and gother (N, C, S), gw and gb (C); the last four None where not wanted."""
    g = allocate(gy, gy.shape) if gother is None else gother
    bounded_grad(gy, y, low, high, g)
    if any(wanted is not None for wanted in (gx, gw, gb)):
        norm.channels_grads(g, x, mean, rstd, weight, frozen, gx, gw, gb)
