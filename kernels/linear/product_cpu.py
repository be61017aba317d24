"""The Numba kernels of one large matrix product and of many: BLAS in each thread, on its own part of the result."""

import math

import numpy as np
from numba import prange

from minicnn.kernels.blas import gemm, one_blas_thread
from minicnn.kernels.jit import kernel

UNITS = 4  # parts of a product at least, so that threads share them evenly
WORTH = 1 << 19  # multiply-adds; less is not worth cutting (about 10 microseconds)
NARROW = 32  # rows or columns of a part, at least


@kernel()
def product_in_parts(a, a_flip, b, b_flip, c, rows, columns):
    """c (m, n) = A (m, k) @ B (k, n), a part of ``rows`` x ``columns`` at a time; flipped, a is (k, m), b is (n, k)."""
    left, right, out = a.reshape(-1), b.reshape(-1), c.reshape(-1)
    (m, n), k = c.shape, a.shape[0] if a_flip else a.shape[1]
    down, across = (m + rows - 1) // rows, (n + columns - 1) // columns
    for part in prange(down * across):
        i, j = part // across * rows, part % across * columns
        a_place = (i, m, 1) if a_flip else (i * k, k, 0)
        b_place = (j * k, k, 1) if b_flip else (j, n, 0)
        sizes = (min(rows, m - i), min(columns, n - j), k)
        gemm(sizes, left, a_place, right, b_place, out, (i * n + j, n, 0))


def product(a, a_flip, b, b_flip, c):
    """As ``product_in_parts``, cut by the shape alone, along the longer side; the sum over k is never cut."""
    (m, n), k = c.shape, a.shape[0] if a_flip else a.shape[1]
    rows, columns = m, n
    if m * n * k > WORTH and m > n:
        rows = max(NARROW, -(-m // UNITS))
    elif m * n * k > WORTH:
        columns = max(NARROW, -(-n // UNITS))
    with one_blas_thread():
        product_in_parts(a, a_flip, b, b_flip, c, rows, columns)


@kernel()
def products_in_parts(a, a_flip, a_at, b, b_flip, b_at, c, rows, sizes):
    """c (batch * m * n), for each matrix the product of those that lie at ``a_at`` of a and ``b_at`` of b, all flat."""
    m, n, k = sizes
    down = (m + rows - 1) // rows
    for part in prange(a_at.size * down):
        matrix, i = part // down, part % down * rows
        a_place = (a_at[matrix] + i, m, 1) if a_flip else (a_at[matrix] + i * k, k, 0)
        b_place = (b_at[matrix], k, 1) if b_flip else (b_at[matrix], n, 0)
        gemm((min(rows, m - i), n, k), a, a_place, b, b_place, c, ((matrix * m + i) * n, n, 0))


def products(a, a_flip, b, b_flip, c):
    """c (*, m, n) = a (*, m, k) @ b (*, k, n), broadcast; flipped, a is (*, k, m), b is (*, n, k)."""
    lead, (m, n), k = c.shape[:-2], c.shape[-2:], a.shape[-2] if a_flip else a.shape[-1]

    def places(x):
        first = np.arange(math.prod(x.shape[:-2])).reshape(x.shape[:-2]) * (x.shape[-2] * x.shape[-1])
        return np.ascontiguousarray(np.broadcast_to(first, lead)).reshape(-1)

    few = math.prod(lead) < UNITS and m * n * k > WORTH
    rows = max(NARROW, -(-m // UNITS)) if few else m
    flat = [x.reshape(-1) for x in (a, b, c)]
    with one_blas_thread():
        products_in_parts(flat[0], a_flip, places(a), flat[1], b_flip, places(b), flat[2], rows, (m, n, k))
