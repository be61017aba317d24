"""Sums, means and products over dimensions, and statistics. ``dim`` is an int, a sequence of ints or None for all."""

from typing import Any

import numpy as np

from minicnn.kernels.arrays import Array, allocate, array_module, is_float
from minicnn.ops.arguments import number
from minicnn.ops.axes import many_axes
from minicnn.ops.operands import Shape, float_operand, quiet, rounded_once
from minicnn.record import record
from minicnn.tensor import Tensor, as_array

Needs = tuple[bool, ...]


def reduced_shape(shape: Shape, axes: tuple[int, ...], keepdim: Any = True) -> Shape:
    """``shape`` with the reduced dimensions kept as 1, which broadcasts against the input, or without them."""
    return tuple(1 if d in axes else n for d, n in enumerate(shape) if keepdim or d not in axes)


def spread(grad: Array, shape: Shape, axes: tuple[int, ...]) -> Array:
    """The gradient of a reduced result, seen as an array of the input's shape (a view: nothing is copied)."""
    return array_module(grad).broadcast_to(grad.reshape(reduced_shape(shape, axes)), shape)


def count_of(shape: Shape, axes: tuple[int, ...]) -> int:
    """How many elements are reduced to one."""
    count = 1
    for d in axes:
        count *= shape[d]
    return count


@rounded_once
@quiet
def sum(x: Any, dim: Any = None, keepdim: bool = False) -> Tensor:
    """Sum over ``dim``; integers and bools give int64.

    **Shapes** ``dim`` disappears, or stays as 1 with ``keepdim``. **Saves** nothing.
    """
    xa = as_array(x, op="sum", name="x")
    shape, axes = xa.shape, many_axes("sum", "dim", dim, xa.shape)
    y = xa.sum(axes, keepdims=bool(keepdim)) if is_float(xa.dtype) else xa.sum(axes, np.int64, keepdims=bool(keepdim))
    return record("sum", y, (x,), lambda gy, needs: (spread(gy, shape, axes),))


@rounded_once
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


@rounded_once
@quiet
def prod(x: Any, dim: Any = None, keepdim: bool = False) -> Tensor:
    """Product over ``dim``; integers and bools give int64.

    **Shapes** ``dim`` disappears, or stays as 1 with ``keepdim``. **Math** ``gx_i = gy prod_{j != i} x_j``, right also
    where x has zeros. **Saves** x.
    """
    xa = as_array(x, op="prod", name="x")
    axes = many_axes("prod", "dim", dim, xa.shape)
    y = (xa if is_float(xa.dtype) else xa.astype(np.int64)).prod(axes, keepdims=bool(keepdim))

    def vjp(gy: Array, needs: Needs) -> tuple[Array]:
        return (spread(gy, xa.shape, axes) * _product_of_others(xa, axes),)

    return record("prod", y, (x,), vjp)


def _product_of_others(x: Array, axes: tuple[int, ...]) -> Array:
    """For each element, the product of the others reduced with it: those before it times those after it."""
    xp = array_module(x)
    kept = tuple(d for d in range(x.ndim) if d not in axes)
    turned = x.transpose(kept + axes)  # (kept..., reduced...)
    rows = turned.reshape(-1, count_of(x.shape, axes)) if x.size else turned.reshape(0, 1)
    before, after = xp.ones_like(rows), xp.ones_like(rows)
    if rows.shape[1] > 1:
        before[:, 1:] = xp.cumprod(rows[:, :-1], 1)
        after[:, :-1] = xp.cumprod(rows[:, :0:-1], 1)[:, ::-1]
    return (before * after).reshape(turned.shape).transpose(tuple(np.argsort(kept + axes).tolist()))


@rounded_once
@quiet
def var(x: Any, dim: Any = None, correction: float = 1, keepdim: bool = False) -> Tensor:
    """Variance over ``dim``, divided by ``count - correction`` (0 for the variance of the data itself).

    **Shapes** ``dim`` disappears, or stays as 1 with ``keepdim``. **Math** ``y = sum (x - mean x)^2 / (n -
    correction)``; NaN or inf when ``n <= correction``. **Saves** x.
    """
    xa, correction = float_operand("var", x=x), number("var", "correction", correction)
    axes = many_axes("var", "dim", dim, xa.shape)
    y, freedom = _variance(xa, axes, correction)
    final = y.reshape(reduced_shape(xa.shape, axes, keepdim))

    def vjp(gy: Array, needs: Needs) -> tuple[Array]:
        return (spread(gy * (2 / freedom if freedom else np.inf), xa.shape, axes) * _centred(xa, axes),)

    return record("var", final, (x,), vjp)


@rounded_once
@quiet
def std(x: Any, dim: Any = None, correction: float = 1, keepdim: bool = False) -> Tensor:
    """Standard deviation over ``dim``: the square root of ``var``.

    **Shapes** as ``var``. The gradient is 0 where the deviation is 0. **Saves** x and y.
    """
    xa, correction = float_operand("std", x=x), number("std", "correction", correction)
    axes = many_axes("std", "dim", dim, xa.shape)
    variance, freedom = _variance(xa, axes, correction)
    y = array_module(xa).sqrt(variance)
    final = y.reshape(reduced_shape(xa.shape, axes, keepdim))

    def vjp(gy: Array, needs: Needs) -> tuple[Array]:
        slope = gy.reshape(y.shape) / (y * freedom)
        slope = array_module(gy).where(y == 0, array_module(gy).zeros_like(y), slope)
        return (slope * _centred(xa, axes),)

    return record("std", final, (x,), vjp)


def _centred(x: Array, axes: tuple[int, ...]) -> Array:
    """``x - mean x``, the mean summed in float64."""
    mean = array_module(x).true_divide(x.sum(axes, np.float64, keepdims=True), count_of(x.shape, axes))
    return x - mean.astype(x.dtype)


def _variance(x: Array, axes: tuple[int, ...], correction: float) -> tuple[Array, float]:
    """The variance with its dimensions kept, and what it was divided by."""
    centred = _centred(x, axes)
    freedom = max(count_of(x.shape, axes) - correction, 0)
    squares = (centred * centred).sum(axes, np.float64, keepdims=True)
    return array_module(x).true_divide(squares, freedom).astype(x.dtype), freedom


@rounded_once
@quiet
def logsumexp(x: Any, dim: Any, keepdim: bool = False) -> Tensor:
    """Logarithm of the sum of exponentials over ``dim``, without overflow.

    **Shapes** ``dim`` disappears, or stays as 1 with ``keepdim``. **Math** ``y = log sum exp x``, the maximum taken out
    first; of nothing it is -inf. ``gx = gy exp(x - y)``. **Saves** x and y.
    """
    xa = float_operand("logsumexp", x=x)
    shape, axes = xa.shape, many_axes("logsumexp", "dim", dim, xa.shape)
    xp = array_module(xa)
    if not count_of(shape, axes):
        top = allocate(xa, reduced_shape(shape, axes), fill=0)
    else:
        top = xa.max(axes, keepdims=True)
        top = xp.where(xp.isfinite(top), top, xp.zeros_like(top))
    y = xp.log(xp.exp(xa - top).sum(axes, keepdims=True)) + top
    final = y.reshape(reduced_shape(shape, axes, keepdim))

    def vjp(gy: Array, needs: Needs) -> tuple[Array]:
        share = xp.exp(xa - xp.where(y == -np.inf, xp.zeros_like(y), y))
        return (gy.reshape(y.shape) * share,)

    return record("logsumexp", final, (x,), vjp)
