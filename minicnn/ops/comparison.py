"""Comparing tensors: bool results without history, and the choices between two tensors that are differentiable."""

from typing import Any

from minicnn.errors import DTypeError
from minicnn.kernels.arrays import Array, array_module, is_array
from minicnn.ops.operands import broadcast_shape, operands, quiet, rounded_once, shape_of, unbroadcast
from minicnn.record import check_device, record
from minicnn.tensor import Tensor, as_array

Needs = tuple[bool, ...]
Grads = tuple[Array | None, ...]


def _compared(op: str, function: str, x: Any, other: Any) -> Tensor:
    a, b = operands(op, x=x, other=other)
    return Tensor(getattr(_module(a, b), function)(a, b))


def _module(a: Any, b: Any) -> Any:
    return array_module(a if is_array(a) else b)


@rounded_once
def eq(x: Any, other: Any) -> Tensor:
    """``x == other`` element by element, with broadcasting: a bool tensor. NaN equals nothing."""
    return _compared("eq", "equal", x, other)


@rounded_once
def ne(x: Any, other: Any) -> Tensor:
    """``x != other`` element by element, with broadcasting: a bool tensor. NaN differs from everything."""
    return _compared("ne", "not_equal", x, other)


@rounded_once
def lt(x: Any, other: Any) -> Tensor:
    """``x < other`` element by element, with broadcasting: a bool tensor. False beside NaN."""
    return _compared("lt", "less", x, other)


@rounded_once
def le(x: Any, other: Any) -> Tensor:
    """``x <= other`` element by element, with broadcasting: a bool tensor. False beside NaN."""
    return _compared("le", "less_equal", x, other)


@rounded_once
def gt(x: Any, other: Any) -> Tensor:
    """``x > other`` element by element, with broadcasting: a bool tensor. False beside NaN."""
    return _compared("gt", "greater", x, other)


@rounded_once
def ge(x: Any, other: Any) -> Tensor:
    """``x >= other`` element by element, with broadcasting: a bool tensor. False beside NaN."""
    return _compared("ge", "greater_equal", x, other)


@rounded_once
def maximum(x: Any, other: Any) -> Tensor:
    """The larger of the two, element by element, with broadcasting.

    **Ties** share the gradient in halves. NaN in either gives NaN. **Saves** x and other.
    """
    return _larger("maximum", x, other, sign=1)


@rounded_once
def minimum(x: Any, other: Any) -> Tensor:
    """The smaller of the two, element by element, with broadcasting.

    **Ties** share the gradient in halves. NaN in either gives NaN. **Saves** x and other.
    """
    return _larger("minimum", x, other, sign=-1)


@quiet
def _larger(op: str, x: Any, other: Any, sign: int) -> Tensor:
    a, b = operands(op, x=x, other=other)
    shape_a, shape_b, xp = shape_of(a), shape_of(b), _module(a, b)
    y = xp.maximum(a, b) if sign > 0 else xp.minimum(a, b)

    def vjp(gy: Array, needs: Needs) -> Grads:
        loses, wins = (a < b, a > b) if sign > 0 else (a > b, a < b)
        shared = gy * (1 - 0.5 * (a == b).astype(gy.dtype))  # where NaN decides, both get all, as in PyTorch
        return (
            unbroadcast(shared * ~loses, shape_a) if needs[0] else None,
            unbroadcast(shared * ~wins, shape_b) if needs[1] else None,
        )

    return record(op, y, (x, other), vjp)


@rounded_once
@quiet
def where(condition: Any, x: Any, other: Any) -> Tensor:
    """``x`` where ``condition`` is true, ``other`` elsewhere, all three broadcast.

    The gradient goes to the one that was taken. **Saves** condition. **Raises** DTypeError unless condition is bool.
    """
    mask = as_array(condition, op="where", name="condition")
    if mask.dtype.kind != "b":
        raise DTypeError(f"where: condition has dtype {mask.dtype}, expected bool; fix: condition != 0")
    a, b = operands("where", x=x, other=other)
    both = a if is_array(a) else b
    check_device("where", ("x" if both is a else "other", both), ("condition", mask))
    shape_a, shape_b, xp = shape_of(a), shape_of(b), _module(a, b)
    broadcast_shape("where", condition=mask.shape, x=shape_a, other=shape_b)

    def vjp(gy: Array, needs: Needs) -> Grads:
        nothing = xp.zeros((), gy.dtype)
        return (
            None,
            unbroadcast(xp.where(mask, gy, nothing), shape_a) if needs[1] else None,
            unbroadcast(xp.where(mask, nothing, gy), shape_b) if needs[2] else None,
        )

    return record("where", xp.where(mask, a, b), (condition, x, other), vjp)
