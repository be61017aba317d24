"""CUDA twins of local response normalisation: one thread a pixel."""

from minicnn.kernels.arrays import Array, allocate, compute_dtype
from minicnn.kernels.launch import CudaSource

SOURCE = CudaSource(__file__)


def lrn_forward(
    x: Array, channels: int, before: int, after: int, scale: float, beta: float, k: float, y: Array
) -> None:
    """x, y (N*C, S)."""
    options = (*x.shape, channels, before, after, float(scale), float(beta), float(k))
    SOURCE.launch("lrn_forward", x.dtype, x.size, x, *options, y)


def lrn_grad_x(
    gy: Array,
    x: Array,
    channels: int,
    before: int,
    after: int,
    scale: float,
    beta: float,
    k: float,
    ratio: Array,
    gx: Array,
) -> None:
    """``ratio`` (N*C, S) is scratch; kept in the compute dtype, or half the digits of its sum would be lost."""
    options = (*x.shape, channels, before, after, float(scale), float(beta), float(k))
    wide = ratio if ratio.dtype == compute_dtype(x.dtype) else allocate(x, x.shape, compute_dtype(x.dtype))
    SOURCE.launch("lrn_ratio", x.dtype, x.size, gy, x, *options, wide)
    SOURCE.launch("lrn_grad_x", x.dtype, x.size, gy, x, wide, *options, gx)
