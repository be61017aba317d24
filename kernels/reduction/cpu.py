"""Numba twins of the reductions: ``n`` batch, ``k`` channel, ``j`` position. Sums are float64.

Serial: memory is what they wait for, and they read it in its order.
"""

import numpy as np

from minicnn.kernels.jit import kernel


def channel_sum(x, y):
    """x (N, K, S) -> y (K,)."""
    total = np.zeros(y.size)
    if x.shape[2] == 1:
        _add_columns(x.reshape(x.shape[:2]), total)
    else:
        _add_rows(x, total)
    y[...] = total


@kernel(parallel=False)
def _add_rows(x, total):
    """total (K) += sums over n and j of x (N, K, S)."""
    for n in range(x.shape[0]):
        for k in range(x.shape[1]):
            row = 0.0
            for j in range(x.shape[2]):
                row += np.float64(x[n, k, j])
            total[k] += row


@kernel(parallel=False)
def _add_columns(x, total):
    """total (K) += sums over n of x (N, K), four rows at a time: a quarter of the traffic of ``total``."""
    rows, wide = x.shape[0], np.float64
    for n in range(0, rows - rows % 4, 4):
        for k in range(x.shape[1]):
            total[k] += (wide(x[n, k]) + wide(x[n + 1, k])) + (wide(x[n + 2, k]) + wide(x[n + 3, k]))
    for n in range(rows - rows % 4, rows):
        for k in range(x.shape[1]):
            total[k] += wide(x[n, k])
