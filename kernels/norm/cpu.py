"""Numba twins of the normalisations. ``r`` runs over rows, ``j`` along a row; statistics and sums are float64.

A row is one channel of one image, (H*W) values, or for layer norm one normalised slice. Each row is read twice while
it is in cache: mean first, then squares of what remains, so a large mean costs no digits. What concerns statistics
alone, a few numbers a channel, is NumPy: ``_spread`` repeats them to the (N, C) rows they cover, ``_pool`` sums over
those.
"""

import numpy as np
from numba import prange

from minicnn.kernels.jit import kernel
from minicnn.kernels.norm import reciprocal_std

LAYER_NORM_BLOCK = 64  # rows whose weight gradients are summed by one worker: a fact of shapes, not of threads


def _rows(x: np.ndarray) -> np.ndarray:
    return x.reshape(x.shape[0] * x.shape[1], x.shape[2])


def _spread(x: np.ndarray, statistic: np.ndarray) -> np.ndarray:
    """(1, C) or (N, G) -> contiguous (N*C,): the value that holds for each row of ``x``."""
    n, c = x.shape[:2]
    each = c // statistic.shape[1]
    repeated = statistic if each == 1 else np.repeat(statistic, each, axis=1)
    return np.ascontiguousarray(np.broadcast_to(repeated, (n, c))).reshape(-1)


def _pool(x: np.ndarray, rows: np.ndarray, like: np.ndarray) -> np.ndarray:
    """(N*C,) -> the shape of ``like``: sums over the rows that share a statistic (the transpose of ``_spread``)."""
    n, groups = x.shape[0], like.shape[1]
    summed: np.ndarray = rows.reshape(n, groups, x.shape[1] // groups).sum(2)
    return summed if like.shape[0] == n else summed.sum(0, keepdims=True)


def _tiled(x: np.ndarray, channel: np.ndarray) -> np.ndarray:
    """(C,) -> float64 (N*C,)."""
    return _spread(x, channel.reshape(1, -1).astype(float))


def moments(x, eps, mean, var, rstd):
    """x (N, C, S); the others (1, C) or (N, G)."""
    rows = _rows(x)
    size = rows.shape[1]
    row_mean, row_m2 = np.empty(len(rows)), np.empty(len(rows))
    _row_moments(rows, row_mean, row_m2)
    count = x.size // mean.size if x.size else 1
    mean[...] = _pool(x, row_mean, mean) * (size / count)
    apart = row_mean - _spread(x, mean)
    var[...] = _pool(x, row_m2 + size * apart * apart, mean) / count
    rstd[...] = reciprocal_std(var, eps)


def channels_forward(x, mean, rstd, weight, bias, y):
    """x, y (N, C, S), mean and rstd (1, C) or (N, G), weight and bias (C) or None."""
    scale = _spread(x, rstd) if weight is None else _spread(x, rstd) * _tiled(x, weight)
    shift = np.zeros(scale.shape) if bias is None else _tiled(x, bias)
    _row_affine(_rows(x), _spread(x, mean), scale, shift, _rows(y))


def channels_grads(gy, x, mean, rstd, weight, frozen, gx, gw, gb):
    """gy, x, gx (N, C, S), gw and gb (C); the last three None where not wanted."""
    center, normal = _spread(x, mean), _spread(x, rstd)
    scale = normal if weight is None else normal * _tiled(x, weight)
    if frozen and gx is not None:
        zero = np.zeros(scale.shape)
        _row_affine(_rows(gy), zero, scale, zero, _rows(gx))
    if frozen and gw is None and gb is None:
        return
    plain, weighted = np.empty(scale.shape), np.empty(scale.shape)
    _row_products(_rows(gy), _rows(x), center, plain, weighted)
    if gx is not None and not frozen and x.size:
        count = x.size // mean.size
        common = _spread(x, _pool(x, plain * scale, mean) / count)
        slope = _spread(x, _pool(x, weighted * scale, mean) / count) * normal * normal
        _row_grad_x(_rows(gy), _rows(x), center, scale, common, slope, _rows(gx))
    if gw is not None:
        gw[...] = (weighted * normal).reshape(x.shape[:2]).sum(0)
    if gb is not None:
        gb[...] = plain.reshape(x.shape[:2]).sum(0)


def update_running(running, value, momentum, factor):
    """running and value (C,)."""
    running *= 1 - momentum
    running += momentum * (value.astype(running.dtype) * factor)


def layer_norm_forward(x, weight, bias, eps, mean, rstd, y):
    """x, y (R, S), mean and rstd (R), weight and bias (S) or None."""
    size, m2 = x.shape[1], np.empty(len(x))
    _row_moments(x, mean, m2)
    rstd[...] = reciprocal_std(m2 / size, eps)
    weight = np.ones(size, x.dtype) if weight is None else weight
    _slices_forward(x, mean, rstd, weight, np.zeros(size, x.dtype) if bias is None else bias, y)


def layer_norm_grads(gy, x, mean, rstd, weight, gx, gw, gb):
    """gy, x, gx (R, S), mean and rstd (R), weight (S) or None, gw and gb (S)."""
    rows, size = x.shape
    blocks = -(-rows // LAYER_NORM_BLOCK)
    gw_parts, gb_parts = np.zeros((blocks, size)), np.zeros((blocks, size))
    weight = np.ones(size, x.dtype) if weight is None else weight
    _slices_grads(gy, x, mean, rstd, weight, LAYER_NORM_BLOCK, gx, gw_parts, gb_parts)
    gw[...], gb[...] = gw_parts.sum(0), gb_parts.sum(0)


@kernel()
def _row_moments(x, mean, m2):
    """x (R, S) -> mean (R), m2 (R): the sum of squared deviations from the row's mean."""
    rows, size = x.shape
    for r in prange(rows):
        total = 0.0
        for j in range(size):
            total += float(x[r, j])
        center = total / size if size else 0.0
        squares = 0.0
        for j in range(size):
            deviation = x[r, j] - center
            squares += deviation * deviation
        mean[r] = center
        m2[r] = squares


@kernel()
def _row_affine(x, center, scale, shift, y):
    """y = (x - center) * scale + shift, with center, scale, shift (R) in float64."""
    rows, size = x.shape
    for r in prange(rows):
        c, a, b = center[r], scale[r], shift[r]
        for j in range(size):
            y[r, j] = (x[r, j] - c) * a + b


@kernel()
def _row_products(gy, x, center, plain, weighted):
    """plain = sum gy, weighted = sum gy * (x - center), both (R)."""
    rows, size = x.shape
    for r in prange(rows):
        c, p, q = center[r], 0.0, 0.0
        for j in range(size):
            g = float(gy[r, j])
            p += g
            q += g * (x[r, j] - c)
        plain[r] = p
        weighted[r] = q


@kernel()
def _row_grad_x(gy, x, center, scale, common, slope, gx):
    """gx = gy * scale - common - (x - center) * slope, with the last four (R) in float64."""
    rows, size = x.shape
    for r in prange(rows):
        c, a, b, d = center[r], scale[r], common[r], slope[r]
        for j in range(size):
            gx[r, j] = gy[r, j] * a - b - (x[r, j] - c) * d


@kernel()
def _slices_forward(x, mean, rstd, weight, bias, y):
    """y = (x - mean) * rstd * weight + bias; x (R, S), mean and rstd (R), weight and bias (S)."""
    rows, size = x.shape
    for r in prange(rows):
        c, a = mean[r], rstd[r]
        for j in range(size):
            y[r, j] = (x[r, j] - c) * a * weight[j] + bias[j]


@kernel()
def _slices_grads(gy, x, mean, rstd, weight, block, gx, gw, gb):
    """gx (R, S), and for each block of rows its share of gw and gb, both (blocks, S) and zero on entry."""
    rows, size = x.shape
    for part in prange(gw.shape[0]):
        for r in range(part * block, min(part * block + block, rows)):
            c, a, p, q = mean[r], rstd[r], 0.0, 0.0
            for j in range(size):
                g = float(gy[r, j])
                normal = (x[r, j] - c) * a
                p += g * weight[j]
                q += g * weight[j] * normal
                gw[part, j] += g * normal
                gb[part, j] += g
            p, q = p / size, q / size
            for j in range(size):
                gx[r, j] = (gy[r, j] * weight[j] - p - (x[r, j] - c) * a * q) * a
