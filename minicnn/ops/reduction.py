"""Sums, means and products over dimensions, and statistics. ``dim`` is an int, a sequence of ints or None for all."""

from typing import Any

import numpy as np

from minicnn.kernels.arrays import Array, array_module
from minicnn.ops.axes import many_axes
from minicnn.ops.operands import Shape, float_operand, quiet
from minicnn.record import record
from minicnn.tensor import Tensor, as_array

Needs = tuple[bool, ...]


def reduced_shape(shape: Shape, axes: tuple[int, ...]) -> Shape:
    """``shape`` with the reduced dimensions kept as 1: what broadcasts against the input."""
    return tuple(1 if d in axes else n for d, n in enumerate(shape))


def spread(grad: Array, shape: Shape, axes: tuple[int, ...]) -> Array:
    """The gradient of a reduced result, seen as an array of the input's shape (a view: nothing is copied)."""
    return array_module(grad).broadcast_to(grad.reshape(reduced_shape(shape, axes)), shape)


def count_of(shape: Shape, axes: tuple[int, ...]) -> int:
    """How many elements are reduced to one."""
    count = 1
    for d in axes:
        count *= shape[d]
    return count


@quiet
def sum(x: Any, dim: Any = None, keepdim: bool = False) -> Tensor:
    """Sum over ``dim``; integers and bools give int64.

    **Shapes** ``dim`` disappears, or stays as 1 with ``keepdim``. **Saves** nothing.
    """
    xa = as_array(x)
    shape, axes = xa.shape, many_axes("sum", "dim", dim, xa.shape)
    y = xa.sum(axes, keepdims=bool(keepdim)) if xa.dtype.kind == "f" else xa.sum(axes, np.int64, keepdims=bool(keepdim))
    return record("sum", y, (x,), lambda gy, needs: (spread(gy, shape, axes),))


@quiet
def mean(x: Any, dim: Any = None, keepdim: bool = False) -> Tensor:
    """Mean over ``dim``; of nothing it is NaN; integers and bools give float32.

    **Shapes** ``dim`` disappears, or stays as 1 with ``keepdim``. **Saves** nothing.
    """
    xa = float_operand("mean", x=x)
    shape, axes = xa.shape, many_axes("mean", "dim", dim, xa.shape)
    count = count_of(shape, axes)
    y = array_module(xa).true_divide(xa.sum(axes, keepdims=bool(keepdim)), count)
    return record("mean", y, (x,), lambda gy, needs: (spread(gy / max(count, 1), shape, axes),))
