"""Normalisations: moments of channels, groups or slices, and the affine maps made of them.

``x`` is contiguous, (N, C, *) in the channel functions; every channel of every image is one row of S values, and twins
see (N, C, S). Statistics are float64 of shape (1, C) (batch norm: one a channel, over the batch) or (N, G) (group and
instance norm: one an image and group); each holds for the rows of its images and channels.
"""

from math import prod

import numpy as np

from minicnn.kernels.arrays import Array, allocate, is_abstract, twin


def _rows(x: Array) -> Array:
    """(N, C, *) -> (N, C, S); spelt out, because -1 is ambiguous in an empty array."""
    return x.reshape(*x.shape[:2], prod(x.shape[2:]))


def reciprocal_std(var: Array, eps: float) -> Array:
    """``(var + eps)^-1/2``; inf (then NaN in the result, as 0/0 is) where both are 0."""
    if is_abstract(var):
        return allocate(var, var.shape)
    with np.errstate(divide="ignore", invalid="ignore"):
        return (var + eps) ** -0.5


def moments(x: Array, shape: tuple[int, int], eps: float) -> tuple[Array, Array, Array]:
    """Mean, biased variance and ``(var + eps)^-1/2`` over all that shares a statistic of ``shape`` (1, C) or (N, G).

    **Math** rows are reduced first, then joined: ``M2 = sum(m2) + s * sum((row mean - mean)^2)`` (Chan et al., 1979).
    All in float64. Nothing to average gives mean 0 and variance 0.
    """
    mean, var, rstd = (allocate(x, shape, float) for _ in range(3))
    twin(__name__, x).moments(_rows(x), eps, mean, var, rstd)
    return mean, var, rstd


def normalise(
    x: Array, shape: tuple[int, int], weight: Array | None, bias: Array | None, eps: float
) -> tuple[Array, Array, Array, Array]:
    """``y`` of ``channels_forward`` with the ``moments`` of x, in one visit where a statistic fits a cache."""
    mean, var, rstd = (allocate(x, shape, float) for _ in range(3))
    y = allocate(x, x.shape)
    twin(__name__, x).normalise(_rows(x), weight, bias, eps, mean, var, rstd, _rows(y))
    return y, mean, var, rstd


def channels_forward(x: Array, mean: Array, rstd: Array, weight: Array | None, bias: Array | None) -> Array:
    """``y = (x - mean) * rstd * weight + bias``; mean, rstd (1, C) or (N, G), weight, bias (C) or None."""
    y = allocate(x, x.shape)
    twin(__name__, x).channels_forward(_rows(x), mean, rstd, weight, bias, _rows(y))
    return y


def channels_grads(
    gy: Array, x: Array, mean: Array, rstd: Array, weight: Array | None, needs: tuple[bool, ...], frozen: bool = False
) -> tuple[Array | None, Array | None, Array | None]:
    """Gradients of ``x``, ``weight`` and ``bias`` through ``channels_forward`` and the moments behind it.

    **Math** with ``z = (x - mean) * rstd`` and averages over what shares a statistic,
    ``gx = rstd * (w gy - avg(w gy) - z avg(w gy z))``; ``frozen`` statistics (evaluation) leave ``gx = rstd w gy``.
    """
    gx = allocate(x, x.shape) if needs[0] else None
    dtype = x.dtype if weight is None else weight.dtype
    gw, gb = (allocate(x, (x.shape[1],), dtype) if needed else None for needed in needs[1:])
    rows = None if gx is None else _rows(gx)
    twin(__name__, x).channels_grads(_rows(gy), _rows(x), mean, rstd, weight, frozen, rows, gw, gb)
    return gx, gw, gb


def update_running(running: Array, value: Array, momentum: float, factor: float = 1.0) -> None:
    """``running = (1 - momentum) * running + momentum * factor * value`` in place; both (C), value float64."""
    twin(__name__, running).update_running(running, value, momentum, factor)


def layer_norm_forward(
    x: Array, weight: Array | None, bias: Array | None, size: int, eps: float
) -> tuple[Array, Array, Array]:
    """Normalise each run of ``size`` values of ``x``; returns y, mean and rstd (both (R,), float64).

    **Math** ``y = (x - mean) / sqrt(var + eps) * weight + bias``, weight and bias (size,) or None, variance biased.
    """
    rows = x.size // size if size else 0
    y, mean, rstd = allocate(x, x.shape), allocate(x, (rows,), float), allocate(x, (rows,), float)
    if x.size:
        matrix, flat = (rows, size), (None if w is None else w.reshape(-1) for w in (weight, bias))
        twin(__name__, x).layer_norm_forward(x.reshape(matrix), *flat, eps, mean, rstd, y.reshape(matrix))
    return y, mean, rstd


def layer_norm_grads(
    gy: Array, x: Array, mean: Array, rstd: Array, weight: Array | None, size: int
) -> tuple[Array, Array, Array]:
    """Gradients of x, weight (size,) and bias (size,); formula as in ``channels_grads`` with one slice a statistic."""
    dtype, fill = x.dtype if weight is None else weight.dtype, None if x.size else 0
    gx, gw, gb = allocate(x, x.shape), *(allocate(x, (size,), dtype, fill) for _ in range(2))
    if x.size:
        matrix, flat = (mean.size, size), None if weight is None else weight.reshape(-1)
        twins = twin(__name__, x)
        twins.layer_norm_grads(gy.reshape(matrix), x.reshape(matrix), mean, rstd, flat, gx.reshape(matrix), gw, gb)
    return gx, gw, gb
