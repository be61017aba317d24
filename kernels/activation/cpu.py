"""Numba twins of the activations.

Elementwise ones see flat arrays of one dtype; ``i`` runs over elements. Softmax sees (n, c, s): ``r`` = (n, i)
flattened is one distribution over ``c``.
"""

import numpy as np
from numba import prange

from minicnn.kernels.jit import helper, kernel


@kernel()
def relu_forward(x, y):
    for i in prange(x.size):
        v = x[i]
        y[i] = 0.0 if v <= 0 else v  # comparing this way round lets NaN through


@kernel()
def relu_grad_x(gy, y, gx):
    for i in prange(gy.size):
        gx[i] = gy[i] if y[i] > 0 else 0.0


@helper
def _top(x, n, i):
    """The largest x[n, :, i], NaN if one of them is."""
    top = x[n, 0, i]
    for c in range(1, x.shape[1]):
        v = x[n, c, i]
        if not v <= top and top == top:
            top = v
    return top


@kernel()
def softmax_forward(x, y):
    classes, positions = x.shape[1], x.shape[2]
    for r in prange(x.shape[0] * positions):
        n, i = r // positions, r % positions
        top = _top(x, n, i)
        total = 0.0
        for c in range(classes):
            y[n, c, i] = np.exp(x[n, c, i] - top)
            total += y[n, c, i]
        for c in range(classes):
            y[n, c, i] = y[n, c, i] / total


@kernel()
def softmax_grad_x(gy, y, gx):
    classes, positions = y.shape[1], y.shape[2]
    for r in prange(y.shape[0] * positions):
        n, i = r // positions, r % positions
        total = 0.0
        for c in range(classes):
            total += gy[n, c, i] * np.float64(y[n, c, i])
        for c in range(classes):
            gx[n, c, i] = y[n, c, i] * (gy[n, c, i] - total)


@kernel()
def log_softmax_forward(x, y):
    classes, positions = x.shape[1], x.shape[2]
    for r in prange(x.shape[0] * positions):
        n, i = r // positions, r % positions
        top = _top(x, n, i)
        total = 0.0
        for c in range(classes):
            total += np.exp(x[n, c, i] - top)
        log_total = np.log(total)
        for c in range(classes):
            y[n, c, i] = (x[n, c, i] - top) - log_total


@kernel()
def log_softmax_grad_x(gy, y, gx):
    classes, positions = y.shape[1], y.shape[2]
    for r in prange(y.shape[0] * positions):
        n, i = r // positions, r % positions
        total = 0.0
        for c in range(classes):
            total += gy[n, c, i]
        for c in range(classes):
            gx[n, c, i] = gy[n, c, i] - np.exp(y[n, c, i]) * total
