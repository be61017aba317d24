"""Numba twins of local response normalisation. Rows r = i * c + k are channel planes, ``q`` runs over the window's
channels, ``j`` over the pixels of a plane: the inner loops are contiguous, whatever the window.
"""

import numpy as np
from numba import prange

from minicnn.kernels.jit import helper, kernel


@helper
def window_sum(x, scale, k, c, first, before, after, total):
    """total[j] = k + scale * sum of x[q, j]^2 over the channels q from ``before`` below to ``after`` above row's."""
    low, high = max(first % c - before, 0), min(first % c + after, c - 1)
    for j in range(total.size):
        total[j] = 0.0
    for q in range(first - first % c + low, first - first % c + high + 1):
        for j in range(total.size):
            total[j] += x[q, j] * x[q, j]
    for j in range(total.size):
        total[j] = k + scale * total[j]


@helper
def inverse_power(d, beta):
    """d[j] = d[j]^-beta in place; 3/4, which everybody uses, by two square roots instead of a slow power."""
    if beta == 0.75:
        for j in range(d.size):
            root = np.sqrt(d[j])
            d[j] = d.dtype.type(1.0) / (root * np.sqrt(root))
    else:
        for j in range(d.size):
            d[j] = d[j] ** d.dtype.type(-beta)


@kernel()
def lrn_forward(x, channels, before, after, scale, beta, k, y):
    """x, y (N*C, S)."""
    kind = x.dtype.type
    for r in prange(x.shape[0]):
        window_sum(x, kind(scale), kind(k), channels, r, before, after, y[r])
        inverse_power(y[r], beta)
        for j in range(x.shape[1]):
            y[r, j] *= x[r, j]


@kernel()
def lrn_grad_x(gy, x, channels, before, after, scale, beta, k, ratio, gx):
    """``ratio`` (N*C, S) is scratch for ``gy x d^(-beta-1)``: each gx sums it over the windows its x belongs to."""
    kind = x.dtype.type
    for r in prange(x.shape[0]):
        window_sum(x, kind(scale), kind(k), channels, r, before, after, ratio[r])
        for j in range(x.shape[1]):
            gx[r, j] = ratio[r, j]
        inverse_power(gx[r], beta)
        for j in range(x.shape[1]):
            gx[r, j] *= gy[r, j]
            ratio[r, j] = gx[r, j] * x[r, j] / ratio[r, j]
    factor = kind(2.0 * scale * beta)
    for r in prange(x.shape[0]):
        channel = r % channels
        for q in range(r - min(channel, after), r + min(channels - 1 - channel, before) + 1):
            for j in range(x.shape[1]):
                gx[r, j] -= factor * x[r, j] * ratio[q, j]
