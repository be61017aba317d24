"""Numba kernels of rows: a thread takes a piece of a row at a time.

Arrays are flat. A ``pitch`` is how far apart the rows of an array begin; those of a result are end to end, but for
``copy``. What is added into has a kernel of its own: where two names may be one array, LLVM makes no vectors.
"""

import numpy as np
from numba import prange

from minicnn.kernels.jit import kernel

PIECE = 1 << 14  # numbers


@kernel()
def add(a, a_pitch, b, b_pitch, y, rows, length):
    """y (rows * length) = a + b."""
    pieces = (length + PIECE - 1) // PIECE
    for piece in prange(rows * pieces):
        r, first = piece // pieces, piece % pieces * PIECE
        i, j, at = np.uintp(r * a_pitch + first), np.uintp(r * b_pitch + first), np.uintp(r * length + first)
        for t in range(np.uintp(min(PIECE, length - first))):
            y[at + t] = a[i + t] + b[j + t]


@kernel()
def add_into(y, b, pitch, rows, length):
    """y (rows * length) += b."""
    pieces = (length + PIECE - 1) // PIECE
    for piece in prange(rows * pieces):
        r, first = piece // pieces, piece % pieces * PIECE
        j, at = np.uintp(r * pitch + first), np.uintp(r * length + first)
        for t in range(np.uintp(min(PIECE, length - first))):
            y[at + t] += b[j + t]


@kernel()
def copy(x, pitch, y, y_pitch, begin, rows, length):
    """y[begin + r * y_pitch + t] = x[r * pitch + t]."""
    pieces = (length + PIECE - 1) // PIECE
    for piece in prange(rows * pieces):
        r, first = piece // pieces, piece % pieces * PIECE
        i, at = np.uintp(r * pitch + first), np.uintp(begin + r * y_pitch + first)
        for t in range(np.uintp(min(PIECE, length - first))):
            y[at + t] = x[i + t]


@kernel()
def scale(x, factors, y):
    """x and y (R*S), factors (R)."""
    size = np.uintp(x.size // factors.size)
    for row in prange(factors.size):
        at, factor = np.uintp(row) * size, factors[row]
        for j in range(at, at + size):
            y[j] = x[j] * factor


@kernel()
def product_sums(a, b, y):
    """a and b (R*S), y (R); the sums are float64."""
    size = np.uintp(a.size // y.size)
    for row in prange(y.size):
        at, total = np.uintp(row) * size, 0.0
        for j in range(at, at + size):
            total += np.float64(a[j]) * np.float64(b[j])
        y[row] = total
