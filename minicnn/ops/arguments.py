"""Parse plain numbers: what is no number, or lies out of range, is an error that names the argument."""

import math
import numbers
from typing import Any

from minicnn.errors import ArgumentError


def number(op: str, name: str, value: Any, low: float = -math.inf, high: float = math.inf, expected: str = "") -> float:
    """``value`` as a Python float (NumPy's would make float64 of float32) from ``low`` to ``high``, both included.

    **Raises** ArgumentError, for NaN too where there is a bound; ``expected`` says what the number should be.
    """
    expected = expected or _range(low, high)
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise ArgumentError(f"{op}: {name}={value!r} is a {type(value).__name__}, expected {expected}")
    bounded = low > -math.inf or high < math.inf
    if bounded and not low <= float(value) <= high:
        raise ArgumentError(f"{op}: {name}={value!r} is out of range, expected {expected}")
    return float(value)


def _range(low: float, high: float) -> str:
    if math.isfinite(low) and math.isfinite(high):
        return f"a number from {low:g} to {high:g}"
    return f"a number of at least {low:g}" if math.isfinite(low) else "a number"
