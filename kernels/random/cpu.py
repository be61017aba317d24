"""Numba twins of the random masks. ``m`` runs over decisions, ``j`` over the elements that share one.

All integers of the hash are uint64: mixed with a signed one, Numba (as NumPy) would compute in float64.
"""

import numpy as np
from numba import prange

from minicnn.kernels.jit import helper, kernel

GOLDEN, FIRST, SECOND = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
S30, S27, S31, S32 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(32)


@helper
def hash32(key, index):
    """The upper half of SplitMix64's ``index``-th output after ``key``."""
    z = key + (index + np.uint64(1)) * GOLDEN
    z = (z ^ (z >> S30)) * FIRST
    z = (z ^ (z >> S27)) * SECOND
    return (z ^ (z >> S31)) >> S32


@kernel()
def mask_forward(x, key, start, threshold, scale, y):
    """y[m, :] = x[m, :] * scale where hash32(key, start + m) >= threshold, else 0; x (decisions, shared)."""
    decisions, shared = x.shape
    factor = x.dtype.type(scale)
    for m in prange(decisions):
        keep = hash32(key, start + np.uint64(m)) >= threshold
        for j in range(shared):
            y[m, j] = x[m, j] * factor if keep else 0.0


@kernel(elementwise=True)
def mask_elements(x, key, start, threshold, scale, y):
    """``mask_forward`` with a decision an element: x (size,)."""
    factor = x.dtype.type(scale)
    for m in prange(x.size):
        keep = hash32(key, start + np.uint64(m)) >= threshold
        y[m] = x[m] * factor if keep else 0.0
