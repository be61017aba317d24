"""Passes that end in a sum and bounds: what follows a batch norm or a convolution, in one visit to the memory.

All arrays are contiguous and of one float dtype; ``low`` and ``high`` are the bounds of the result, ReLU's 0 and none,
ReLU6's 0 and 6. No bound is NaN: nothing is below or above it. The derivative is 0 at the bounds; NaN stays NaN.
"""

from math import prod

from minicnn.kernels.arrays import Array, allocate, twin


def _rows(x: Array) -> Array:
    """(N, C, *) -> (N, C, S); spelt out, because -1 is ambiguous in an empty array."""
    return x.reshape(*x.shape[:2], prod(x.shape[2:]))


def bounded_forward(x: Array, other: Array | None, low: float, high: float, out: Array | None = None) -> Array:
    """``y = min(max(x + other, low), high)``, in ``out`` where given, which may be ``x`` or ``other``."""
    y = allocate(x, x.shape) if out is None else out
    flat = None if other is None else other.reshape(-1)
    twin(__name__, x).bounded_forward(x.reshape(-1), flat, low, high, y.reshape(-1))
    return y


def bounded_grad(gy: Array, y: Array, low: float, high: float) -> Array:
    """``g = gy`` where ``low < y < high``, else 0: the gradient of ``x`` and of ``other``."""
    g = allocate(gy, gy.shape)
    twin(__name__, gy).bounded_grad(gy.reshape(-1), y.reshape(-1), low, high, g.reshape(-1))
    return g


def norm_forward(
    x: Array,
    mean: Array,
    rstd: Array,
    weight: Array | None,
    bias: Array | None,
    other: Array | None,
    low: float,
    high: float,
    out: Array | None = None,
) -> Array:
    """``y = min(max((x - mean) * rstd * weight + bias + other, low), high)``, x and other (N, C, *).

    ``mean`` and ``rstd`` (1, C) in float64, ``weight`` and ``bias`` (C,) or None; ``out`` may be ``x`` or ``other``.
    """
    y = allocate(x, x.shape) if out is None else out
    added = None if other is None else _rows(other)
    twin(__name__, x).norm_forward(_rows(x), mean, rstd, weight, bias, added, low, high, _rows(y))
    return y


def norm_grads(
    gy: Array,
    y: Array,
    x: Array,
    mean: Array,
    rstd: Array,
    weight: Array | None,
    needs: tuple[bool, ...],
    frozen: bool,
    low: float,
    high: float,
) -> tuple[Array | None, ...]:
    """Gradients of ``x``, ``weight``, ``bias`` and ``other`` through ``norm_forward`` and the moments behind it.

    **Math** with ``g = gy`` where ``low < y < high``, else 0, ``z = (x - mean) * rstd`` and averages over a channel,
    ``gx = rstd * weight * (g - avg(g) - z avg(g z))``; ``frozen`` statistics (evaluation) leave ``gx = rstd weight g``.
    """
    gx, gother = (allocate(x, x.shape) if needed else None for needed in (needs[0], needs[3]))
    dtype = x.dtype if weight is None else weight.dtype
    gw, gb = (allocate(x, (x.shape[1],), dtype) if needed else None for needed in needs[1:3])
    large = (None if g is None else _rows(g) for g in (gx, gother))
    inputs = (_rows(gy), _rows(y), _rows(x), mean, rstd, weight, frozen, low, high)
    twin(__name__, x).norm_grads(*inputs, *large, gw, gb)
    return gx, gw, gb, gother
