"""``exp``, ``expm1``, ``tanh``, ``sigmoid``, ``softplus`` and ``normal_cdf`` of a number, for CPU kernels.

In float32 they are polynomials over a reduced range, without branches or calls, so that LLVM computes a whole vector at
a time, and right to about 3 units in the last place (``normal_cdf`` where it is not tiny). In float64 they rest on the
C library's, which it calls one by one. NaN and inf keep their meaning, and nothing overflows on the way to a finite
result.

Kernels import these names; a kernel's file is compiled again when this one changes. Of the fast-math flags only
``contract`` holds here: reordered, the sums that round a number or carry its low bits would vanish.

**See** Cody and Waite 1980 (reduction in two parts); Moshier's Cephes library (the polynomial of ``expm1``); Press et
al., Numerical Recipes, 2nd edition, section 6.2 (``erfc``).
"""

import math
from typing import Any

import numba
import numpy as np
from numba import types
from numba.extending import overload

OPTIONS = {"fastmath": {"contract"}, "error_model": "numpy", "nogil": True, "forceinline": True}
_njit: Any = numba.njit
_overload: Any = overload

F = np.float32

LOG2_E, LN2_HIGH, LN2_LOW = F(1.44269504088896341), F(0.693359375), F(-2.12194440e-4)  # n LN2_HIGH is exact
ROUND = F(1.5 * 2**23)  # added to a number, it leaves the nearest integer in the low bits
ROUND_BITS = ROUND.view(np.int32)
LEAST, MOST = F(-104), F(89)  # beyond these exp is 0 and inf
EXPM1 = (F(1.9875691500e-4), F(1.3981999507e-3), F(8.3334519073e-3), F(4.1665795894e-2), F(1.6666665459e-1), F(0.5))
# atanh(s) / s by its series in s * s, which is at most 1/9.
ATANH = (F(1 / 15), F(1 / 13), F(1 / 11), F(1 / 9), F(1 / 7), F(1 / 5), F(1 / 3))
# log(erfc(z) / t) + z * z for z >= 0, in t = 2 / (2 + z).
ERFC = (
    *(F(0.17087277), F(-0.82215223), F(1.48851587), F(-1.13520398), F(0.27886807)),
    *(F(-0.18628806), F(0.09678418), F(0.37409196), F(1.00002368), F(-1.26551223)),
)


@_njit(**OPTIONS)
def _power_of_two(n):  # type: ignore[no-untyped-def]
    """``2**n`` from its bits, ``-127 < n < 128``."""
    return np.int32((n + np.int32(127)) << np.int32(23)).view(np.float32)


@_njit(**OPTIONS)
def _reduced(v):  # type: ignore[no-untyped-def]
    """``(q, a, b)`` with ``exp(v) = (1 + q) 2**a 2**b``; two powers, for one alone may be beyond the floats."""
    v = LEAST if v < LEAST else MOST if v > MOST else v
    shifted = v * LOG2_E + ROUND
    n = np.int32(np.float32(shifted).view(np.int32) - ROUND_BITS)
    whole = shifted - ROUND
    r = (v - whole * LN2_HIGH) - whole * LN2_LOW  # |r| <= log(2) / 2
    q = EXPM1[0]
    for k in range(1, len(EXPM1)):
        q = q * r + EXPM1[k]
    half = np.int32(n >> np.int32(1))
    return q * r * r + r, half, np.int32(n - half)


@_njit(**OPTIONS)
def _log1p(v):  # type: ignore[no-untyped-def]
    """``log(1 + v)`` for ``0 <= v <= 1``, which is ``2 atanh(v / (2 + v))``."""
    s = v / (F(2) + v)
    square = s * s
    series = ATANH[0]
    for k in range(1, len(ATANH)):
        series = series * square + ATANH[k]
    return F(2) * (s * square * series + s)


def exp(v: Any) -> Any:
    """``e**v``."""
    return np.exp(v)


@_overload(exp, jit_options=OPTIONS)
def _exp(v):  # type: ignore[no-untyped-def]
    def single(v):  # type: ignore[no-untyped-def]
        q, a, b = _reduced(v)
        scale = _power_of_two(a)
        return (scale * q + scale) * _power_of_two(b)

    return single if v == types.float32 else lambda v: np.exp(v)


def expm1(v: Any) -> Any:
    """``e**v - 1``, also where that is tiny."""
    return np.expm1(v)


@_overload(expm1, jit_options=OPTIONS)
def _expm1(v):  # type: ignore[no-untyped-def]
    def single(v):  # type: ignore[no-untyped-def]
        q, a, b = _reduced(v)
        scale = _power_of_two(a)
        return (scale * q + (scale - _power_of_two(-b))) * _power_of_two(b)

    return single if v == types.float32 else lambda v: np.expm1(v)


def tanh(v: Any) -> Any:
    """Hyperbolic tangent, ``-m / (2 + m)`` with ``m = expm1(-2 |v|)`` and the sign of ``v``."""
    return np.tanh(v)


@_overload(tanh, jit_options=OPTIONS)
def _tanh(v):  # type: ignore[no-untyped-def]
    def single(v):  # type: ignore[no-untyped-def]
        m = expm1(F(-2) * abs(v))
        return np.copysign(m / (F(2) + m), v)

    return single if v == types.float32 else lambda v: np.tanh(v)


def sigmoid(v: Any) -> Any:
    """``1 / (1 + e**-v)``; the exponential is only taken of what is not positive."""
    e = np.exp(-abs(v))
    return (1.0 if v >= 0 else e) / (1.0 + e)


@_overload(sigmoid, jit_options=OPTIONS)
def _sigmoid(v):  # type: ignore[no-untyped-def]
    one = F(1) if v == types.float32 else 1.0

    def either(v):  # type: ignore[no-untyped-def]
        e = exp(-abs(v))
        return (one if v >= 0 else e) / (one + e)

    return either


def softplus(v: Any) -> Any:
    """``log(1 + e**v) = max(v, 0) + log(1 + e**-|v|)``."""
    return max(v, 0) + np.log1p(np.exp(-abs(v)))


@_overload(softplus, jit_options=OPTIONS)
def _softplus(v):  # type: ignore[no-untyped-def]
    def single(v):  # type: ignore[no-untyped-def]
        return (F(0) if v <= 0 else v) + _log1p(exp(-abs(v)))

    return single if v == types.float32 else lambda v: (0.0 if v <= 0 else v) + np.log1p(np.exp(-abs(v)))


def normal_cdf(v: Any) -> Any:
    """How much of a normal distribution lies below ``v``: ``erfc(-v / sqrt(2)) / 2``."""
    return 0.5 * math.erfc(-v * math.sqrt(0.5))


@_overload(normal_cdf, jit_options=OPTIONS)
def _normal_cdf(v):  # type: ignore[no-untyped-def]
    root_half, half, one, two = F(math.sqrt(0.5)), F(0.5), F(1), F(2)

    def single(v):  # type: ignore[no-untyped-def]
        z = abs(v) * root_half
        t = two / (two + z)
        series = ERFC[0]
        for k in range(1, len(ERFC)):
            series = series * t + ERFC[k]
        tail = half * t * exp(series - z * z)
        return one - tail if v > 0 else tail

    return single if v == types.float32 else lambda v: 0.5 * math.erfc(-v * math.sqrt(0.5))


def largest(x: Any, first: Any, count: Any, step: Any) -> Any:
    """The largest ``x[first + k * step]``, ``k < count``. Where one is NaN it may be anything.

    Floats are ordered as their bits are (those of a negative one but the sign flipped), and of integers LLVM finds the
    largest of a vector at a time, which NaN forbids it for floats.
    """
    return np.max(x[first : first + count * step : step])


@_overload(largest, jit_options=OPTIONS)
def _largest(x, first, count, step):  # type: ignore[no-untyped-def]
    number = np.float32 if x.dtype == types.float32 else np.float64
    whole, bits, others = (np.int32, 31, 2**31 - 1) if x.dtype == types.float32 else (np.int64, 63, 2**63 - 1)
    sign, rest = whole(bits), whole(others)

    def either(x, first, count, step):  # type: ignore[no-untyped-def]
        seen = number(x[first]).view(whole)
        top = whole(seen ^ (whole(seen >> sign) & rest))
        for k in range(1, count):
            seen = number(x[first + np.uintp(k) * step]).view(whole)
            seen = whole(seen ^ (whole(seen >> sign) & rest))
            top = seen if seen > top else top
        return whole(top ^ (whole(top >> sign) & rest)).view(number)

    return either
