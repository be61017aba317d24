"""Elementwise maths of one tensor. Integer and bool tensors become float32 first, except where noted."""

from typing import Any

from minicnn.errors import ArgumentError, DTypeError
from minicnn.kernels.arrays import Array, array_module
from minicnn.ops.operands import float_operand, operands, quiet, rounded_once
from minicnn.record import record
from minicnn.tensor import Tensor


@rounded_once
@quiet
def exp(x: Any) -> Tensor:
    """Exponential. **Math** ``y = e^x``, ``gx = gy y``. **Saves** y."""
    xa = float_operand("exp", x=x)
    y = array_module(xa).exp(xa)
    return record("exp", y, (x,), lambda gy, needs: (gy * y,))


@rounded_once
@quiet
def log(x: Any) -> Tensor:
    """Natural logarithm; -inf at 0, NaN below. **Math** ``gx = gy / x``. **Saves** x."""
    xa = float_operand("log", x=x)
    return record("log", array_module(xa).log(xa), (x,), lambda gy, needs: (gy / xa,))


@rounded_once
@quiet
def log1p(x: Any) -> Tensor:
    """``log(1 + x)``, accurate near 0. **Math** ``gx = gy / (1 + x)``. **Saves** x."""
    xa = float_operand("log1p", x=x)
    return record("log1p", array_module(xa).log1p(xa), (x,), lambda gy, needs: (gy / (1 + xa),))


@rounded_once
@quiet
def sqrt(x: Any) -> Tensor:
    """Square root; NaN below 0, and an infinite derivative at 0. **Math** ``gx = gy / 2y``. **Saves** y."""
    xa = float_operand("sqrt", x=x)
    y = array_module(xa).sqrt(xa)
    return record("sqrt", y, (x,), lambda gy, needs: (gy / (2 * y),))


@rounded_once
@quiet
def rsqrt(x: Any) -> Tensor:
    """Reciprocal of the square root. **Math** ``y = x^(-1/2)``, ``gx = -gy y^3 / 2``. **Saves** y."""
    xa = float_operand("rsqrt", x=x)
    y = 1 / array_module(xa).sqrt(xa)
    return record("rsqrt", y, (x,), lambda gy, needs: (gy * (-0.5 * y * y * y),))


@rounded_once
@quiet
def sin(x: Any) -> Tensor:
    """Sine of an angle in radians. **Math** ``gx = gy cos x``. **Saves** x."""
    xa = float_operand("sin", x=x)
    xp = array_module(xa)
    return record("sin", xp.sin(xa), (x,), lambda gy, needs: (gy * xp.cos(xa),))


@rounded_once
@quiet
def cos(x: Any) -> Tensor:
    """Cosine of an angle in radians. **Math** ``gx = -gy sin x``. **Saves** x."""
    xa = float_operand("cos", x=x)
    xp = array_module(xa)
    return record("cos", xp.cos(xa), (x,), lambda gy, needs: (-gy * xp.sin(xa),))


@rounded_once
@quiet
def square(x: Any) -> Tensor:
    """``y = x * x``; integers stay integers. **Math** ``gx = 2 gy x``. **Saves** x."""
    (xa,) = operands("square", x=x)
    return record("square", xa * xa, (x,), lambda gy, needs: (2 * gy * xa,))


@rounded_once
@quiet
def reciprocal(x: Any) -> Tensor:
    """``y = 1 / x``, inf at 0. **Math** ``gx = -gy y^2``. **Saves** y."""
    y = 1 / float_operand("reciprocal", x=x)
    return record("reciprocal", y, (x,), lambda gy, needs: (-gy * y * y,))


@rounded_once
@quiet
def abs(x: Any) -> Tensor:
    """Absolute value; integers stay integers. **Math** ``gx = gy sign(x)``, 0 at 0. **Saves** x."""
    (xa,) = operands("abs", x=x)
    xp = array_module(xa)
    return record("abs", xp.absolute(xa), (x,), lambda gy, needs: (gy * xp.sign(xa),))


@rounded_once
@quiet
def sign(x: Any) -> Tensor:
    """-1, 0 or 1; NaN stays NaN; integers stay integers. The gradient is 0. **Saves** nothing."""
    (xa,) = operands("sign", x=x)
    if xa.dtype.kind == "b":
        raise DTypeError("sign: x is a bool tensor, which has no sign; fix: x.astype('int64')")
    xp = array_module(xa)
    return record("sign", xp.sign(xa), (x,), lambda gy, needs: (xp.zeros_like(gy),))


@rounded_once
@quiet
def clip(x: Any, min: Any = None, max: Any = None) -> Tensor:
    """Values below ``min`` raised to it, values above ``max`` lowered to it (``clamp`` is another name).

    **Math** ``y = minimum(maximum(x, min), max)``; the gradient passes where ``min <= x <= max``, the ends included.
    NaN stays NaN, its gradient is 0. **Saves** x.

    **Raises** ArgumentError when both bounds are None, or one is no number.
    """
    bounds = {name: bound for name, bound in (("min", min), ("max", max)) if bound is not None}
    for name, bound in bounds.items():
        if getattr(bound, "shape", ()) != () or isinstance(bound, (Tensor, list, tuple, str)):
            raise ArgumentError(
                f"clip: {name} is a {type(bound).__name__}, expected a number; fix: ops.minimum or ops.maximum"
            )
    if not bounds:
        raise ArgumentError("clip: neither min nor max is given; fix: clip(x, 0, 1), or one of them")
    xa, *given = operands("clip", x=x, **bounds)
    low, high = given[0] if min is not None else None, given[-1] if max is not None else None

    def vjp(gy: Array, needs: tuple[bool, ...]) -> tuple[Array]:
        inside = (xa == xa) if low is None else (xa >= low)
        inside = inside if high is None else inside & (xa <= high)
        return (gy * inside,)

    return record("clip", array_module(xa).clip(xa, low, high), (x,), vjp)
