"""Numba twins of the normalisations. ``r`` runs over rows, ``j`` along a row; statistics and sums are float64.

A row is one channel of one image, (H*W) values, or for layer norm one normalised slice. Each row is read twice while
it is in cache: mean first, then squares of what remains, so a large mean costs no digits.
"""

from numba import prange

from minicnn.kernels.jit import kernel


@kernel()
def row_moments(x, mean, m2):
    """x (R, S) -> mean (R), m2 (R): the sum of squared deviations from the row's mean."""
    rows, size = x.shape
    for r in prange(rows):
        total = 0.0
        for j in range(size):
            total += float(x[r, j])
        center = total / size if size else 0.0
        squares = 0.0
        for j in range(size):
            deviation = x[r, j] - center
            squares += deviation * deviation
        mean[r] = center
        m2[r] = squares


@kernel()
def row_affine(x, center, scale, shift, y):
    """y = (x - center) * scale + shift, with center, scale, shift (R) in float64."""
    rows, size = x.shape
    for r in prange(rows):
        c, a, b = center[r], scale[r], shift[r]
        for j in range(size):
            y[r, j] = (x[r, j] - c) * a + b


@kernel()
def row_products(gy, x, center, plain, weighted):
    """plain = sum gy, weighted = sum gy * (x - center), both (R)."""
    rows, size = x.shape
    for r in prange(rows):
        c, p, q = center[r], 0.0, 0.0
        for j in range(size):
            g = float(gy[r, j])
            p += g
            q += g * (x[r, j] - c)
        plain[r] = p
        weighted[r] = q


@kernel()
def row_grad_x(gy, x, center, scale, common, slope, gx):
    """gx = gy * scale - common - (x - center) * slope, with the last four (R) in float64."""
    rows, size = x.shape
    for r in prange(rows):
        c, a, b, d = center[r], scale[r], common[r], slope[r]
        for j in range(size):
            gx[r, j] = gy[r, j] * a - b - (x[r, j] - c) * d


@kernel()
def layer_norm_forward(x, mean, rstd, weight, bias, y):
    """y = (x - mean) * rstd * weight + bias; x (R, S), mean and rstd (R), weight and bias (S)."""
    rows, size = x.shape
    for r in prange(rows):
        c, a = mean[r], rstd[r]
        for j in range(size):
            y[r, j] = (x[r, j] - c) * a * weight[j] + bias[j]


@kernel()
def layer_norm_grads(gy, x, mean, rstd, weight, block, gx, gw, gb):
    """gx (R, S), and for each block of rows its share of gw and gb, both (blocks, S) and zero on entry."""
    rows, size = x.shape
    for part in prange(gw.shape[0]):
        for r in range(part * block, min(part * block + block, rows)):
            c, a, p, q = mean[r], rstd[r], 0.0, 0.0
            for j in range(size):
                g = float(gy[r, j])
                normal = (x[r, j] - c) * a
                p += g * weight[j]
                q += g * weight[j] * normal
                gw[part, j] += g * normal
                gb[part, j] += g
            p, q = p / size, q / size
            for j in range(size):
                gx[r, j] = (gy[r, j] * weight[j] - p - (x[r, j] - c) * a * q) * a
