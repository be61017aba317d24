"""Normalisations: moments of channels, groups or slices, and the affine maps made of them.

``x`` is contiguous, (N, C, *) in the channel functions; every channel of every image is one row of a (N*C, S) matrix,
the shape all row twins share. Statistics are float64 of shape (1, C) (batch norm: one a channel, over the batch) or
(N, G) (group and instance norm: one an image and group); ``spread`` repeats them to the (N, C) rows they cover.
"""

from math import prod

import numpy as np

from minicnn.kernels.arrays import Array, allocate, array_module, is_abstract, twin

LAYER_NORM_BLOCK = 64  # rows whose weight gradients are summed by one worker: a fact of shapes, not of threads


def _rows(x: Array) -> Array:
    """(N, C, *) -> (N*C, S); spelt out, because -1 is ambiguous in an empty array."""
    return x.reshape(x.shape[0] * x.shape[1], prod(x.shape[2:]))


def spread(x: Array, statistic: Array) -> Array:
    """(1, C) or (N, G) -> contiguous (N*C,): the value that holds for each row of ``x``."""
    n, c = x.shape[:2]
    xp = array_module(x)
    each = c // statistic.shape[1]
    repeated = statistic if each == 1 else xp.repeat(statistic, each, axis=1)
    return xp.ascontiguousarray(xp.broadcast_to(repeated, (n, c))).reshape(-1)


def pool(x: Array, rows: Array, like: Array) -> Array:
    """(N*C,) -> the shape of ``like``: sums over the rows that share a statistic (the transpose of ``spread``)."""
    n, groups = x.shape[0], like.shape[1]
    summed = rows.reshape(n, groups, x.shape[1] // groups).sum(2)
    return summed if like.shape[0] == n else summed.sum(0, keepdims=True)


def moments(x: Array, shape: tuple[int, int]) -> tuple[Array, Array]:
    """Mean and biased variance of (N, C, *) over all that shares a statistic of ``shape`` (1, C) or (N, G).

    **Math** rows are reduced by two passes, then joined: ``M2 = sum(m2) + s * sum((row mean - mean)^2)`` (Chan et al.,
    1979). All in float64. Nothing to average gives 0.
    """
    mean, var = allocate(x, shape, float), allocate(x, shape, float)
    if is_abstract(x):
        return mean, var
    rows = _rows(x)
    size = rows.shape[1]
    row_mean, row_m2 = allocate(x, rows.shape[:1], float), allocate(x, rows.shape[:1], float)
    twin(__name__, x).row_moments(rows, row_mean, row_m2)
    count = x.size // prod(shape) if x.size else 1
    mean = pool(x, row_mean, mean) * (size / count)
    apart = row_mean - spread(x, mean)
    return mean, pool(x, row_m2 + size * apart * apart, mean) / count


def reciprocal_std(var: Array, eps: float) -> Array:
    """``(var + eps)^-1/2``; inf (then NaN in the result, as 0/0 is) where both are 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return (var + eps) ** -0.5


def channels_forward(x: Array, mean: Array, rstd: Array, weight: Array | None, bias: Array | None) -> Array:
    """``y = (x - mean) * rstd * weight + bias``; mean, rstd (1, C) or (N, G), weight, bias (C) or None."""
    y = allocate(x, x.shape)
    if is_abstract(x):
        return y
    scale = spread(x, rstd) if weight is None else spread(x, rstd) * _tiled(x, weight)
    shift = allocate(x, scale.shape, float, fill=0) if bias is None else _tiled(x, bias)
    twin(__name__, x).row_affine(_rows(x), spread(x, mean), scale, shift, _rows(y))
    return y


def _tiled(x: Array, channel: Array) -> Array:
    """(C,) -> float64 (N*C,)."""
    return spread(x, channel.reshape(1, -1).astype(float))


def channels_grads(
    gy: Array, x: Array, mean: Array, rstd: Array, weight: Array | None, needs: tuple[bool, ...], frozen: bool = False
) -> tuple[Array | None, Array | None, Array | None]:
    """Gradients of ``x``, ``weight`` and ``bias`` through ``channels_forward`` and the moments behind it.

    **Math** with ``z = (x - mean) * rstd`` and averages over what shares a statistic,
    ``gx = rstd * (w gy - avg(w gy) - z avg(w gy z))``; ``frozen`` statistics (evaluation) leave ``gx = rstd w gy``.
    """
    twins = twin(__name__, x)
    center, normal = spread(x, mean), spread(x, rstd)
    scale = normal if weight is None else normal * _tiled(x, weight)
    gx = allocate(x, x.shape) if needs[0] else None
    if frozen and not any(needs[1:]):
        zero = allocate(x, scale.shape, float, fill=0)
        twins.row_affine(_rows(gy), zero, scale, zero, _rows(gx))
        return gx, None, None
    plain, weighted = allocate(x, scale.shape, float), allocate(x, scale.shape, float)
    twins.row_products(_rows(gy), _rows(x), center, plain, weighted)
    if gx is not None and frozen:
        zero = allocate(x, scale.shape, float, fill=0)
        twins.row_affine(_rows(gy), zero, scale, zero, _rows(gx))
    elif gx is not None and x.size:
        count = x.size // mean.size
        common = spread(x, pool(x, plain * scale, mean) / count)
        slope = spread(x, pool(x, weighted * scale, mean) / count) * normal * normal
        twins.row_grad_x(_rows(gy), _rows(x), center, scale, common, slope, _rows(gx))
    n, c = x.shape[:2]
    gw = (weighted * normal).reshape(n, c).sum(0).astype(x.dtype) if needs[1] else None
    gb = plain.reshape(n, c).sum(0).astype(x.dtype) if needs[2] else None
    return gx, gw, gb


def layer_norm_forward(
    x: Array, weight: Array | None, bias: Array | None, size: int, eps: float
) -> tuple[Array, Array, Array]:
    """Normalise each run of ``size`` values of ``x``; returns y, mean and rstd (both (R,), float64).

    **Math** ``y = (x - mean) / sqrt(var + eps) * weight + bias``, weight and bias (size,) or None, variance biased.
    """
    rows = x.size // size if size else 0
    y, mean, rstd = allocate(x, x.shape), allocate(x, (rows,), float), allocate(x, (rows,), float)
    if is_abstract(x) or not x.size:
        return y, mean, rstd
    twins = twin(__name__, x)
    weight = allocate(x, (size,), fill=1) if weight is None else weight
    bias = allocate(x, (size,), fill=0) if bias is None else bias
    m2 = allocate(x, (rows,), float)
    twins.row_moments(x.reshape(rows, size), mean, m2)
    rstd = reciprocal_std(m2 / size, eps)
    twins.layer_norm_forward(
        x.reshape(rows, size), mean, rstd, weight.reshape(-1), bias.reshape(-1), y.reshape(rows, size)
    )
    return y, mean, rstd


def layer_norm_grads(
    gy: Array, x: Array, mean: Array, rstd: Array, weight: Array | None, size: int
) -> tuple[Array, Array, Array]:
    """Gradients of x, weight (size,) and bias (size,); formula as in ``channels_grads`` with one slice a statistic."""
    rows = mean.size
    blocks = -(-rows // LAYER_NORM_BLOCK)
    gx = allocate(x, x.shape)
    gw, gb = (allocate(x, (blocks, size), float, fill=0) for _ in range(2))
    if x.size:
        weight = allocate(x, (size,), fill=1) if weight is None else weight.reshape(-1)
        matrix = (rows, size)
        twin(__name__, x).layer_norm_grads(
            gy.reshape(matrix), x.reshape(matrix), mean, rstd, weight, LAYER_NORM_BLOCK, gx.reshape(matrix), gw, gb
        )
    return gx, gw.sum(0).astype(x.dtype), gb.sum(0).astype(x.dtype)
