"""CUDA twins of the losses."""

import numpy as np

from minicnn.kernels import launch
from minicnn.kernels.arrays import Array, allocate
from minicnn.kernels.launch import CudaSource
from minicnn.kernels.reduction import cuda as reduction
from minicnn.kernels.team import launch_teams

SOURCE = CudaSource(__file__)


def _launch_rows(kernel: str, x: Array, *arguments: object) -> None:
    """A team for the classes of each position; one thread where the positions beside it make its reads coalesce."""
    n, classes, positions = x.shape
    launch_teams(SOURCE, kernel, x.dtype, n * positions, 1 if positions >= 32 else classes, *arguments)


def _sizes(n: int, classes: int, positions: int) -> tuple[int, int, int]:
    return n * positions, classes, positions


def cross_entropy_forward(
    x: Array, target: Array, weight: Array, ignore_index: int, label_smoothing: float, losses: Array, lse: Array
) -> None:
    options = (*_sizes(*x.shape), np.int64(ignore_index), float(label_smoothing))
    _launch_rows("cross_entropy_forward", x, x, target, weight, *options, losses, lse)


def cross_entropy_grad_x(
    scale: Array,
    x: Array,
    lse: Array,
    target: Array,
    weight: Array,
    ignore_index: int,
    label_smoothing: float,
    gx: Array,
) -> None:
    options = (*_sizes(*x.shape), np.int64(ignore_index), float(label_smoothing))
    _launch_rows("cross_entropy_grad_x", x, scale, x, lse, target, weight, *options, gx)


def soft_cross_entropy_forward(
    x: Array, target: Array, weight: Array, label_smoothing: float, losses: Array, lse: Array
) -> None:
    options = (*_sizes(*x.shape), float(label_smoothing))
    _launch_rows("soft_cross_entropy_forward", x, x, target, weight, *options, losses, lse)


def soft_cross_entropy_grad_x(
    scale: Array, x: Array, lse: Array, target: Array, weight: Array, label_smoothing: float, gx: Array
) -> None:
    options = (*_sizes(*x.shape), float(label_smoothing))
    _launch_rows("soft_cross_entropy_grad_x", x, scale, x, lse, target, weight, *options, gx)


def nll_forward(x: Array, target: Array, weight: Array, ignore_index: int, losses: Array) -> None:
    sizes = _sizes(*x.shape)
    SOURCE.launch("nll_forward", x.dtype, sizes[0], x, target, weight, *sizes, np.int64(ignore_index), losses)


def nll_grad_x(scale: Array, target: Array, weight: Array, ignore_index: int, gx: Array) -> None:
    """gx (n, c, s), zero on entry."""
    sizes = _sizes(*gx.shape)
    SOURCE.launch("nll_grad_x", gx.dtype, sizes[0], scale, target, weight, *sizes, np.int64(ignore_index), gx)


def target_weight(target: Array, weight: Array, ignore_index: int) -> Array:
    """A float64 array without dimensions: the host does not wait for the number."""
    rows, block, total = target.size, 16 * launch.THREADS, allocate(weight, (1,), float)
    parts = allocate(weight, (-(-rows // block), 1, 1), float)
    options = (rows, weight.size, np.int64(ignore_index), block)
    launch_teams(SOURCE, "target_weight", weight.dtype, parts.size, block, target, weight, *options, parts)
    reduction.join_channels(parts, total)
    return total.reshape(())


def _launch_pairs(kernel: str, x: Array, *arguments: object) -> None:
    SOURCE.launch(kernel, x.dtype, x.size, *arguments)


def squared_error_forward(x: Array, target: Array, losses: Array) -> None:
    _launch_pairs("squared_error_forward", x, x, target, x.size, losses)


def squared_error_grad_x(scale: Array, x: Array, target: Array, gx: Array) -> None:
    _launch_pairs("squared_error_grad_x", x, scale, x, target, x.size, gx)


def absolute_error_forward(x: Array, target: Array, losses: Array) -> None:
    _launch_pairs("absolute_error_forward", x, x, target, x.size, losses)


def absolute_error_grad_x(scale: Array, x: Array, target: Array, gx: Array) -> None:
    _launch_pairs("absolute_error_grad_x", x, scale, x, target, x.size, gx)


def huber_forward(x: Array, target: Array, losses: Array, delta: float, factor: float) -> None:
    _launch_pairs("huber_forward", x, x, target, x.size, float(delta), float(factor), losses)


def huber_grad_x(scale: Array, x: Array, target: Array, gx: Array, delta: float, factor: float) -> None:
    _launch_pairs("huber_grad_x", x, scale, x, target, x.size, float(delta), float(factor), gx)


def binary_cross_entropy_forward(x: Array, target: Array, losses: Array) -> None:
    _launch_pairs("binary_cross_entropy_forward", x, x, target, x.size, losses)


def binary_cross_entropy_grad_x(scale: Array, x: Array, target: Array, gx: Array) -> None:
    _launch_pairs("binary_cross_entropy_grad_x", x, scale, x, target, x.size, gx)


def logits_forward(x: Array, target: Array, losses: Array, pos_weight: Array) -> None:
    _launch_pairs("logits_forward", x, x, target, pos_weight if pos_weight.size else None, x.size, losses)


def logits_grad_x(scale: Array, x: Array, target: Array, gx: Array, pos_weight: Array) -> None:
    _launch_pairs("logits_grad_x", x, scale, x, target, pos_weight if pos_weight.size else None, x.size, gx)
