"""The Numba kernel of one large matrix product: BLAS in every thread, each on its own part of the result."""

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
