"""Products of matrices of vectors (``kernels/lanes.py``) whose right factor is not made, but found among pixels.

    sums[f, b] += sum over m of left[f, m] * pixels[start + along[m] + across[b]]

Entry by entry of a vector: LANES products side by side. ``along`` and ``across`` are tables: in a convolution the pixel
that a tap of an output reads lies at the sum of what the tap says and of what the output says.
"""

import numpy as np

from minicnn.kernels.jit import helper
from minicnn.kernels.lanes import get, multiply_add, put, rolled

# A tile of sums, ROWS x COLUMNS of them, stays in registers while m runs: each vector that is read serves several.
ROWS, COLUMNS = 4, 5
# Values of m at a time: what they read of ROWS rows of ``left`` stays in a first-level cache for all tiles.
DEPTH = 40


@helper
def _get_5(source, start, at):
    return (
        get(source, start + at[0]),
        get(source, start + at[1]),
        get(source, start + at[2]),
        get(source, start + at[3]),
        get(source, start + at[4]),
    )


@helper
def _put_5(target, start, at, v):
    put(target, start + at[0], v[0])
    put(target, start + at[1], v[1])
    put(target, start + at[2], v[2])
    put(target, start + at[3], v[3])
    put(target, start + at[4], v[4])


@helper
def _add_5(sums, a, b):
    """sums[i] + a * b[i]."""
    return (
        multiply_add(a, b[0], sums[0]),
        multiply_add(a, b[1], sums[1]),
        multiply_add(a, b[2], sums[2]),
        multiply_add(a, b[3], sums[3]),
        multiply_add(a, b[4], sums[4]),
    )


@helper
def _tile(left, rows, inside, pixels, columns, along, begin, end, sums, to, onto):
    s0, s1 = _get_5(sums, to[0], onto), _get_5(sums, to[1], onto)
    s2, s3 = _get_5(sums, to[2], onto), _get_5(sums, to[3], onto)
    for m in range(np.uintp(begin), np.uintp(end)):
        rolled()
        a, b = inside[m], _get_5(pixels, along[m], columns)
        s0 = _add_5(s0, get(left, rows[0] + a), b)
        s1 = _add_5(s1, get(left, rows[1] + a), b)
        s2 = _add_5(s2, get(left, rows[2] + a), b)
        s3 = _add_5(s3, get(left, rows[3] + a), b)
    _put_5(sums, to[0], onto, s0)
    _put_5(sums, to[1], onto, s1)
    _put_5(sums, to[2], onto, s2)
    _put_5(sums, to[3], onto, s3)


@helper
def _four(first, step, count):
    """Where four rows begin; the last of ``count`` stands in for those that are not there."""
    last = count - 1
    return first, first + min(1, last) * step, first + min(2, last) * step, first + min(3, last) * step


@helper
def _five(table, start, b, last):
    """Five entries of a table from b on; the last stands in for those behind it, whose sums are then its own again."""
    return (
        start + table[b],
        start + table[min(b + 1, last)],
        start + table[min(b + 2, last)],
        start + table[min(b + 3, last)],
        start + table[min(b + 4, last)],
    )


@helper
def add_product(left, rows, terms, pixels, start, places, sums, to):
    """Add to at most ROWS rows of sums.

    ``rows`` of left: (where the first begins, from one to the next, how many). ``terms``: (where in a row of left each
    m lies, ``along``, the first m, behind the last). ``places``: (``across``, where in a row of sums each b lies, the
    first b, behind the last). ``to``: (where the first row of sums begins, from one to the next).
    """
    (inside, along, begin, end), (across, onto, low, high) = terms, places
    beginnings, targets = _four(*rows), _four(to[0], to[1], rows[2])
    pieces = (end - begin + DEPTH - 1) // DEPTH
    for piece in range(pieces):
        m, until = begin + (end - begin) * piece // pieces, begin + (end - begin) * (piece + 1) // pieces
        for b in range(low, high, COLUMNS):
            columns, into = _five(across, start, b, high - 1), _five(onto, 0, b, high - 1)
            _tile(left, beginnings, inside, pixels, columns, along, m, until, sums, targets, into)
