"""Numba twins of the normalisations. Rows are one channel of one image, (H*W) values, or one slice of a layer norm.

A worker takes all that shares a statistic, ``images`` rows a channel or ``each`` neighbours a group, so what a gradient
reads twice is still in its cache. Sums are float64, of differences from the first value: a large mean costs no digits.
Each value is computed in the dtype of ``x``, from a mean in two parts, ``high`` and what that rounded away. Arrays are
flat; ``r`` runs over rows, ``at`` is an unsigned place, of which Numba does not ask whether it is negative.
"""

from math import isfinite

import numpy as np
from numba import prange

from minicnn.kernels.jit import helper, kernel

LAYER_NORM_BLOCK = 64  # rows whose weight gradients are summed by one worker: a fact of shapes, not of threads


def _layout(x, statistic):
    """Rows of x (N, C, S): those of the statistic t are ``t * first + i * step`` for i < count; and channels, size."""
    n, c, size = x.shape
    each = c // statistic.shape[1]
    return (1, c, n, c, size) if statistic.shape[0] == 1 and n != 1 else (each, 1, each, c, size)


def _given(weight, size, dtype, otherwise):
    """Weights, or what stands for none."""
    return np.full(size, otherwise, dtype) if weight is None else weight.reshape(-1)


def moments(x, eps, mean, var, rstd):
    """x (N, C, S); the others (1, C) or (N, G)."""
    normalise(x, None, None, eps, mean, var, rstd, np.empty((0, 0, 0), x.dtype))


def normalise(x, weight, bias, eps, mean, var, rstd, y):
    """``moments`` and ``channels_forward`` in one visit; a ``y`` without elements is not written."""
    c = x.shape[1]
    weight, bias = _given(weight, c, x.dtype, 1), _given(bias, c, x.dtype, 0)
    flat = (array.reshape(-1) for array in (mean, var, rstd, y))
    _normalise(x.reshape(-1), weight, bias, _layout(x, mean), eps, *flat)


def channels_forward(x, mean, rstd, weight, bias, y):
    """x, y (N, C, S), mean and rstd (1, C) or (N, G), weight and bias (C) or None."""
    c = x.shape[1]
    weight, bias = _given(weight, c, x.dtype, 1), _given(bias, c, x.dtype, 0)
    flat = (array.reshape(-1) for array in (x, mean, rstd))
    _channels_forward(*flat, weight, bias, _layout(x, mean), y.reshape(-1))


def channels_grads(gy, x, mean, rstd, weight, frozen, gx, gw, gb):
    """gy, x, gx (N, C, S), gw and gb (C); the last three None where not wanted."""
    if frozen and gx is not None:
        channels_forward(gy, np.zeros_like(mean), rstd, weight, None, gx)
    learning = gw is not None or gb is not None
    if not learning and (frozen or gx is None):
        return
    n, c = x.shape[:2]
    wanted = gx is not None and not frozen
    written = gx.reshape(-1) if wanted else np.empty(0, x.dtype)
    plain, weighted = np.empty((n, c)), np.empty((n, c))
    flat = (array.reshape(-1) for array in (gy, x, mean, rstd))
    scale = _given(weight, c, x.dtype, 1)
    _channels_grads(*flat, scale, _layout(x, mean), wanted, written, plain.reshape(-1), weighted.reshape(-1))
    if gw is not None:
        gw[...] = weighted.sum(0)
    if gb is not None:
        gb[...] = plain.sum(0)


def update_running(running, value, momentum, factor):
    """running and value (C,)."""
    running *= 1 - momentum
    running += momentum * (value.astype(running.dtype) * factor)


def layer_norm_forward(x, weight, bias, eps, mean, rstd, y):
    """x, y (R, S), mean and rstd (R), weight and bias (S) or None."""
    size = x.shape[1]
    weight, bias = _given(weight, size, x.dtype, 1), _given(bias, size, x.dtype, 0)
    _slices_forward(x.reshape(-1), weight, bias, eps, mean, rstd, y.reshape(-1))


def layer_norm_grads(gy, x, mean, rstd, weight, gx, gw, gb):
    """gy, x, gx (R, S), mean and rstd (R), weight (S) or None, gw and gb (S)."""
    rows, size = x.shape
    blocks = -(-rows // LAYER_NORM_BLOCK)
    gw_parts, gb_parts = np.zeros((2, blocks, size), x.dtype)
    inputs = (gy.reshape(-1), x.reshape(-1), mean, rstd, _given(weight, size, x.dtype, 1))
    _slices_grads(*inputs, LAYER_NORM_BLOCK, gx.reshape(-1), gw_parts.reshape(-1), gb_parts.reshape(-1))
    gw[...], gb[...] = gw_parts.sum(0, dtype=float), gb_parts.sum(0, dtype=float)


@helper
def _pivot(x, at):
    """The first value, or 0 where it is not finite: the difference of two infinities would be NaN."""
    pivot = np.float64(x[np.uintp(at)])
    return pivot if isfinite(pivot) else 0.0


@helper
def _row_sums(x, at, size, pivot):
    """The sums of ``d = x - pivot`` and of its square over a row."""
    at, total, squares = np.uintp(at), 0.0, 0.0
    for j in range(at, at + np.uintp(size)):
        d = x[j] - pivot
        total += d
        squares += d * d
    return total, squares


@helper
def _spread_of(total, squares, count, pivot):
    """Mean and biased variance from the sums of all that shares them."""
    shift = total / count
    var = squares / count - shift * shift
    return pivot + shift, 0.0 if var < 0.0 else var


@helper
def _parts(center, like):
    """``center`` as a number of the type of ``like``, and what is left of it."""
    high = like.dtype.type(center)
    return high, center - high if isfinite(high) else 0.0


@helper
def _affine(x, at, size, center, scale, shift, y):
    """y = (x - center) * scale + shift for one row."""
    kind = x.dtype.type
    high, rest = _parts(center, x)
    a, b = kind(scale), kind(shift - rest * scale)
    at = np.uintp(at)
    for j in range(at, at + np.uintp(size)):
        y[j] = (x[j] - high) * a + b


@kernel()
def _normalise(x, weight, bias, layout, eps, mean, var, rstd, y):
    """x and y (N*C*S), weight and bias (C), the others one number a statistic; none to average gives 0 and 0."""
    first, step, count, channels, size = layout
    for t in prange(mean.size):
        center, spread = 0.0, 0.0
        if count * size:
            pivot, total, squares = _pivot(x, t * first * size), 0.0, 0.0
            for i in range(count):
                row_total, row_squares = _row_sums(x, (t * first + i * step) * size, size, pivot)
                total += row_total
                squares += row_squares
            center, spread = _spread_of(total, squares, count * size, pivot)
        mean[t], var[t], rstd[t] = center, spread, 1.0 / np.sqrt(spread + eps)
        if y.size:
            for i in range(count):
                r = t * first + i * step
                c = r % channels
                _affine(x, r * size, size, center, rstd[t] * weight[c], np.float64(bias[c]), y)


@kernel()
def _channels_forward(x, mean, rstd, weight, bias, layout, y):
    """x and y (N*C*S), mean and rstd one number a statistic, weight and bias (C)."""
    first, _, _, channels, size = layout
    rows = x.size // max(size, 1)
    images_differ = mean.size * first == rows
    for r in prange(rows):
        c = r % channels
        t = r // first if images_differ else c
        _affine(x, r * size, size, mean[t], rstd[t] * weight[c], np.float64(bias[c]), y)


@helper
def _row_products(gy, x, at, size, center):
    """The sums of gy and of gy * (x - center) over a row."""
    at, plain, weighted = np.uintp(at), 0.0, 0.0
    for j in range(at, at + np.uintp(size)):
        g = np.float64(gy[j])
        plain += g
        weighted += g * (x[j] - center)
    return plain, weighted


@helper
def _row_grad_x(gy, x, at, size, center, scale, common, slope, gx):
    """gx = gy * scale - common - (x - center) * slope for one row."""
    kind = x.dtype.type
    high, rest = _parts(center, x)
    a, b, d = kind(scale), kind(common - rest * slope), kind(slope)
    at = np.uintp(at)
    for j in range(at, at + np.uintp(size)):
        gx[j] = gy[j] * a - b - (x[j] - high) * d


@kernel()
def _channels_grads(gy, x, mean, rstd, weight, layout, wanted, gx, plain, weighted):
    """gy, x and gx (N*C*S), mean and rstd one number a statistic, weight (C); a row's share of gb and gw (N*C)."""
    first, step, count, channels, size = layout
    for t in prange(mean.size):
        center, normal, common, slope = mean[t], rstd[t], 0.0, 0.0
        for i in range(count):
            r = t * first + i * step
            p, q = _row_products(gy, x, r * size, size, center)
            plain[r], weighted[r] = p, q * normal
            common += p * weight[r % channels]
            slope += q * weight[r % channels]
        if wanted and count * size:
            share = normal / (count * size)
            for i in range(count):
                r = t * first + i * step
                scale = normal * weight[r % channels]
                _row_grad_x(gy, x, r * size, size, center, scale, common * share, slope * share * normal * normal, gx)


@kernel()
def _slices_forward(x, weight, bias, eps, mean, rstd, y):
    """x and y (R*S), mean and rstd (R), weight and bias (S): y = (x - mean) * rstd * weight + bias."""
    size, kind = np.uintp(weight.size), x.dtype.type
    for r in prange(mean.size):
        at = np.uintp(r) * size
        pivot = _pivot(x, at)
        total, squares = _row_sums(x, at, size, pivot)
        center, var = _spread_of(total, squares, size, pivot)
        mean[r], rstd[r] = center, 1.0 / np.sqrt(var + eps)
        high, rest = _parts(center, x)
        a, b = kind(rstd[r]), kind(-rest * rstd[r])
        for j in range(size):
            y[at + j] = ((x[at + j] - high) * a + b) * weight[j] + bias[j]


@kernel()
def _slices_grads(gy, x, mean, rstd, weight, block, gx, gw, gb):
    """gx (R*S), and for each block of rows its share of gw and gb, both (blocks*S) of the dtype of x, zero on entry."""
    size, kind = np.uintp(weight.size), x.dtype.type
    for part in prange(gw.size // weight.size):
        start = np.uintp(part) * size
        for r in range(part * block, min(part * block + block, mean.size)):
            at, normal, p, q = np.uintp(r) * size, rstd[r], 0.0, 0.0
            high, rest = _parts(mean[r], x)
            a, b = kind(normal), kind(-rest * normal)
            for j in range(size):
                g, z = gy[at + j], (x[at + j] - high) * a + b
                weighted = g * weight[j]
                p += np.float64(weighted)
                q += np.float64(weighted * z)
                gw[start + j] += g * z
                gb[start + j] += g
            c, d = kind(p / size * normal), kind(q / size * normal)
            for j in range(size):
                gx[at + j] = gy[at + j] * weight[j] * a - c - ((x[at + j] - high) * a + b) * d
