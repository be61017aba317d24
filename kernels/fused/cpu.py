"""Numba twins of the fused passes. ``n`` runs over images, ``c`` over channels, ``j`` along the pixels of one channel.

The backward pass of a norm takes a channel at a time: what its sums have read is still in the cache when its gradient
is written. Statistics and sums are float64.
"""

import numpy as np
from numba import prange

from minicnn.kernels.jit import helper, kernel


def norm_forward(x, mean, rstd, weight, bias, other, low, high, y):
    """x, y and other (N, C, S), mean and rstd (1, C), weight and bias (C) or None."""
    scale = rstd[0] if weight is None else rstd[0] * weight
    shift = np.zeros(scale.shape) if bias is None else bias.astype(float)
    rows = x.shape[0] * x.shape[1]
    pixels = x.shape[2]
    added = None if other is None else other.reshape(rows, pixels)
    _norm_forward(x.reshape(rows, pixels), mean[0], scale, shift, added, low, high, y.reshape(rows, pixels))


def norm_grads(gy, y, x, mean, rstd, weight, frozen, low, high, gx, gother, gw, gb):
    """gy, y, x, gx and gother (N, C, S), gw and gb (C); the last four None where not wanted."""
    scale = rstd[0] if weight is None else rstd[0] * weight
    plain, weighted = np.empty(scale.shape), np.empty(scale.shape)
    large = tuple(None if array is None else array.reshape(-1) for array in (gy, y, x, gx, gother))
    images, sums = x.shape[0], (plain, weighted)
    _norm_grads(*large[:3], mean[0], rstd[0], scale, images, frozen, low, high, *large[3:], *sums)
    if gw is not None:
        gw[...] = weighted * rstd[0]
    if gb is not None:
        gb[...] = plain


@helper
def _bounded(v, low, high):
    return low if v <= low else high if v >= high else v


@helper
def _inside(g, y, low, high):
    """The gradient that passes the bounds, as a float64."""
    return 0.0 if y <= low or y >= high else float(g)


@kernel()
def bounded_forward(x, other, low, high, y):
    bottom, top = x.dtype.type(low), x.dtype.type(high)
    for i in prange(x.size):
        if other is None:
            y[i] = _bounded(x[i], bottom, top)
        else:
            y[i] = _bounded(x[i] + other[i], bottom, top)


@kernel()
def bounded_grad(gy, y, low, high, g):
    bottom, top = y.dtype.type(low), y.dtype.type(high)
    for i in prange(gy.size):
        g[i] = 0.0 if y[i] <= bottom or y[i] >= top else gy[i]


@kernel()
def _norm_forward(x, mean, scale, shift, other, low, high, y):
    """x, other and y (N * C, S); mean, scale and shift (C) in float64."""
    rows, size = x.shape
    channels = len(mean)
    for r in prange(rows):
        c = r % channels
        center, a, b = mean[c], scale[c], shift[c]
        for j in range(size):
            v = (x[r, j] - center) * a + b
            if other is not None:
                v += other[r, j]
            y[r, j] = _bounded(v, low, high)


@kernel()
def _norm_grads(gy, y, x, mean, rstd, scale, images, frozen, low, high, gx, gother, plain, weighted):
    """The arrays flat, the others (C): plain = sum g, weighted = sum g * (x - mean), and with them the gradients."""
    channels, every = np.uintp(len(mean)), np.uintp(images)
    size = np.uintp(x.size) // max(every * channels, np.uintp(1))
    bottom, top = y.dtype.type(low), y.dtype.type(high)
    for channel in prange(len(mean)):
        c, p, q = np.uintp(channel), 0.0, 0.0
        center = mean[c]
        for n in range(every):
            first = (n * channels + c) * size
            for j in range(first, first + size):
                g = _inside(gy[j], y[j], bottom, top)
                p += g
                q += g * (x[j] - center)
                if gother is not None:
                    gother[j] = g
        plain[c], weighted[c] = p, q
        if gx is not None:
            a = scale[c]
            share = 0.0 if frozen else a / max(images * float(size), 1.0)
            b, d = share * p, share * q * rstd[c] * rstd[c]
            for n in range(every):
                first = (n * channels + c) * size
                for j in range(first, first + size):
                    gx[j] = _inside(gy[j], y[j], bottom, top) * a - b - (x[j] - center) * d
