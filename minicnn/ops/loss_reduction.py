"""What ``reduction=`` means, for every loss."""

from typing import Any

import numpy as np

from minicnn.errors import ArgumentError, GradientError
from minicnn.kernels.arrays import Array, allocate, array_module, contiguous, is_abstract
from minicnn.ops.operands import wants_grad


def check_reduction(op: str, reduction: Any) -> None:
    if reduction not in ("none", "mean", "sum"):
        raise ArgumentError(f"{op}: reduction={reduction!r} is unknown, expected 'none', 'mean' or 'sum'")


def refuse_grad(op: str, **constants: Any) -> None:
    """**Raises** GradientError for a weight that wants a gradient: it would silently get none."""
    for name, value in constants.items():
        if wants_grad(value):
            raise GradientError(f"{op}: {name} requires a gradient, but has none here; fix: {name}.detach()")


def reduced(losses: Array, reduction: str, count: Any) -> Array:
    """The losses as they are, their sum, or their sum over ``count`` (0/0 is NaN, as in PyTorch).

    ``count`` is a number, or an array without dimensions on the GPU, which nothing waits for.
    """
    if reduction == "none" or is_abstract(losses):
        return losses if reduction == "none" else allocate(losses, ())
    total = losses.sum(dtype=np.float64)
    value = _over(total, count) if reduction == "mean" else total
    return array_module(losses).asarray(value, losses.dtype)


def _over(x: Any, count: Any) -> Any:
    """``x / count``, 0/0 without NumPy's warning."""
    if isinstance(count, (int, float)) and count:
        return x / count
    with np.errstate(all="ignore"):
        return x / count


def scale_of(gy: Array, shape: tuple[int, ...], reduction: str, count: Any) -> Array:
    """The gradient of each single loss, given that of the reduced one."""
    if reduction == "none":
        return contiguous(gy).reshape(shape)
    each = _over(gy, count) if reduction == "mean" else gy
    scale = allocate(gy, shape)
    scale[...] = each
    return scale
