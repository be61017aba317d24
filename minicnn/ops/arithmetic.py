"""Arithmetic with broadcasting: the operators ``+ - * / **`` of a tensor.

The gradient of a broadcast operand is summed back to its shape in one place, ``unbroadcast``. What a backward pass
does not need is not kept: ``x * mask`` saves ``x`` only when the mask wants a gradient.
"""

from typing import Any

import numpy as np

from minicnn.errors import ArgumentError, DTypeError
from minicnn.kernels import rows
from minicnn.kernels.arrays import Array, array_module, is_array, is_float
from minicnn.ops.fused import summed
from minicnn.ops.operands import operands, quiet, rounded_once, shape_of, unbroadcast, wants_grad
from minicnn.record import record
from minicnn.tensor import Tensor, as_array

Needs = tuple[bool, ...]
Grads = tuple[Array | None, ...]


@rounded_once
@quiet
def add(x: Any, other: Any) -> Tensor:
    """Sum, with broadcasting.

    **Math** ``y = x + other``. **Saves** nothing.
    """
    deferred = summed(x, other)
    if deferred is not None:
        return deferred
    a, b = operands("add", x=x, other=other)
    shape_a, shape_b = shape_of(a), shape_of(b)

    def vjp(gy: Array, needs: Needs) -> Grads:
        return unbroadcast(gy, shape_a) if needs[0] else None, unbroadcast(gy, shape_b) if needs[1] else None

    plain = is_array(a) and is_array(b) and a.shape == b.shape
    return record("add", rows.added(a, b) if plain else a + b, (x, other), vjp)


@rounded_once
@quiet
def sub(x: Any, other: Any) -> Tensor:
    """Difference, with broadcasting.

    **Math** ``y = x - other``. **Saves** nothing.
    """
    a, b = operands("sub", x=x, other=other)
    _refuse_bool("sub", x=a, other=b)
    shape_a, shape_b = shape_of(a), shape_of(b)

    def vjp(gy: Array, needs: Needs) -> Grads:
        return unbroadcast(gy, shape_a) if needs[0] else None, unbroadcast(-gy, shape_b) if needs[1] else None

    return record("sub", a - b, (x, other), vjp)


@rounded_once
@quiet
def mul(x: Any, other: Any) -> Tensor:
    """Product, element by element, with broadcasting.

    **Math** ``y = x * other``. **Saves** each operand whose partner wants a gradient.
    """
    a, b = operands("mul", x=x, other=other)
    y = _product(a, b)
    shape_a, shape_b = shape_of(a), shape_of(b)
    a, b = a if wants_grad(other) else None, b if wants_grad(x) else None

    def vjp(gy: Array, needs: Needs) -> Grads:
        return _grad_of(gy, b, shape_a) if needs[0] else None, _grad_of(gy, a, shape_b) if needs[1] else None

    return record("mul", y, (x, other), vjp)


def _product(a: Any, b: Any) -> Array:
    return rows.multiplied(a, b) if is_array(a) and is_array(b) else a * b


def _grad_of(gy: Array, partner: Any, shape: tuple[int, ...]) -> Array:
    """The gradient of an operand of ``shape`` that ``partner`` was multiplied by."""
    if rows.has_scales(gy, shape) and is_array(partner) and partner.shape == gy.shape:
        return rows.product_sums(gy, partner)
    return unbroadcast(_product(gy, partner), shape)


@rounded_once
@quiet
def div(x: Any, other: Any) -> Tensor:
    """Quotient, with broadcasting; integers divided by integers give float32.

    **Math** ``y = x / other``; ``1/0`` is inf and ``0/0`` NaN. **Saves** ``other``, and ``y`` when ``other`` wants a
    gradient.
    """
    a, b = operands("div", x=x, other=other)
    a, b = (v.astype(np.float32) if is_array(v) and not is_float(v.dtype) else v for v in (a, b))
    shape_a, shape_b = shape_of(a), shape_of(b)
    y = _quotient(a, b)
    kept = y if wants_grad(other) else None

    def vjp(gy: Array, needs: Needs) -> Grads:
        gx = _quotient(gy, b)
        return unbroadcast(gx, shape_a) if needs[0] else None, unbroadcast(-gx * kept, shape_b) if needs[1] else None

    return record("div", y, (x, other), vjp)


def _quotient(a: Any, b: Any) -> Array:
    """``a / b`` where a Python zero divides as 0.0 does in an array."""
    return array_module(b if is_array(b) else a).true_divide(a, b)


@rounded_once
@quiet
def neg(x: Any) -> Tensor:
    """Negative.

    **Math** ``y = -x``. **Saves** nothing.
    """
    xa = as_array(x, op="neg", name="x")
    _refuse_bool("neg", x=xa)
    return record("neg", -xa, (x,), lambda gy, needs: (-gy,))


@rounded_once
@quiet
def pow(x: Any, exponent: Any) -> Tensor:
    """Power, with broadcasting.

    **Math** ``y = x ** exponent``; ``gx = gy e x^(e-1)`` (0 where e is 0), ``ge = gy y log x`` (0 where x is 0 and
    e >= 0). A negative base with a fractional exponent gives NaN. **Saves** both operands.

    **Raises** ArgumentError for an integer tensor with a negative integer exponent: the results are no integers.
    """
    a, b = operands("pow", x=x, exponent=exponent)
    y = _power(a, b)
    shape_a, shape_b = shape_of(a), shape_of(b)
    kept = y if wants_grad(exponent) else None

    def vjp(gy: Array, needs: Needs) -> Grads:
        return (
            unbroadcast(_power_grad_x(gy, a, b), shape_a) if needs[0] else None,
            unbroadcast(_power_grad_exponent(gy, a, b, kept), shape_b) if needs[1] else None,
        )

    return record("pow", y, (x, exponent), vjp)


def _power(a: Any, b: Any) -> Array:
    if isinstance(b, (int, float)) and not isinstance(b, bool) and b == 2:
        return a * a  # one multiplication instead of a general power
    xp = array_module(a if is_array(a) else b)
    try:
        if xp is not np and _whole(a) and _whole(b) and bool((xp.asarray(b) < 0).any()):
            raise ValueError  # as NumPy; CuPy would give 0
        return xp.power(a, b)
    except ValueError:
        raise ArgumentError(
            "pow: integers to a negative integer power are no integers; fix: x.astype('float32')"
        ) from None


def _whole(value: Any) -> bool:
    return value.dtype.kind in "iu" if is_array(value) else isinstance(value, int)


def _power_grad_x(gy: Array, a: Array, b: Any) -> Array:
    if not is_array(b):
        return gy * 0 if b == 0 else gy * (b * _power(a, b - 1))
    xp = array_module(b)
    return xp.where(b == 0, xp.zeros_like(gy), gy * (b * xp.power(a, b - 1)))


def _power_grad_exponent(gy: Array, a: Any, b: Array, y: Array) -> Array:
    xp = array_module(b)
    log = xp.log(a.astype(b.dtype, copy=False) if is_array(a) else xp.asarray(a, dtype=b.dtype))
    return xp.where((a == 0) & (b >= 0), xp.zeros_like(gy), gy * (y * log))


def _refuse_bool(op: str, **values: Any) -> None:
    for name, value in values.items():
        if is_array(value) and value.dtype.kind == "b":
            raise DTypeError(f"{op}: {name} is a bool tensor, which has no negative; fix: {name}.astype('int64')")
