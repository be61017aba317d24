"""Numba twins of the reductions: ``n`` batch, ``k`` channel, ``j`` position. Sums are float64."""

import numpy as np
from numba import prange

from minicnn.kernels.jit import kernel

BLOCK = 1 << 16  # numbers of a matrix that one worker sums: a fact of shapes, not of threads


def channel_sum(x, y):
    """x (N, K, S) -> y (K,)."""
    n, k, s = x.shape
    if s == 1:
        rows = max(4, BLOCK // max(k, 1))
        parts = np.zeros((-(-n // rows), k))
        _add_columns(x.reshape(-1), rows, k, parts)
        y[...] = parts.sum(0)
    else:
        _add_rows(x.reshape(-1), n, s, y)


@kernel()
def _add_rows(x, images, size, y):
    """x (N*K*S) -> y (K)."""
    channels, length = np.uintp(y.size), np.uintp(size)
    for k in prange(y.size):
        total = 0.0
        for n in range(np.uintp(images)):
            start = (n * channels + np.uintp(k)) * length
            for j in range(start, start + length):
                total += np.float64(x[j])
        y[k] = total


@kernel()
def _add_columns(x, block, columns, parts):
    """x (N*K) -> parts (blocks, K), zero on entry: four rows at a time, a quarter of the traffic of a part."""
    wide, width = np.float64, np.uintp(columns)
    rows = x.size // max(columns, 1)
    for b in prange(len(parts)):
        first, end, part = b * block, min(b * block + block, rows), parts[b]
        fours = first + (end - first) // 4 * 4
        for n in range(first, fours, 4):
            at = np.uintp(n) * width
            below = at + width
            third = below + width
            last = third + width
            for k in range(width):
                part[k] += (wide(x[at + k]) + wide(x[below + k])) + (wide(x[third + k]) + wide(x[last + k]))
        for n in range(fours, end):
            at = np.uintp(n) * width
            for k in range(width):
                part[k] += wide(x[at + k])
