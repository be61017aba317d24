"""Numba twins of the convolutions.

``window`` arrives as a plain tuple in the order of ``Window2d``. Output *positions* are counted through the batch,
``position = (n*oh + i)*ow + j``, so a chunk of columns is a range of positions and may hold a part of one image or
many small images. A row of columns is one tap, ``r = (c*kh + p)*kw + q``.

Inner loops are the helpers of ``rows_cpu.py``, which says why they look as they do.
"""

import numpy as np
from numba import prange

from minicnn.kernels.conv.rows_cpu import add, copy, fill, inside
from minicnn.kernels.jit import kernel


@kernel()
def im2col(x, col, window, c0, first):
    """col[r, b] = the pixel that tap r of position first + b reads, 0 in the padding; channels from c0 on."""
    h, w, kh, kw, sh, sw, top, _, left, _, dh, dw, oh, ow = window
    channels, total = x.shape[1], col.shape[1]
    pixels, entries = x.reshape(-1), col.reshape(-1)
    for r in prange(col.shape[0]):
        c, p, q = c0 + r // (kh * kw), r // kw % kh, r % kw
        offset = q * dw - left
        jlow, jhigh = inside(w, offset, sw, ow)
        n, i, j = first // (oh * ow), first // ow % oh, first % ow
        at, end = r * total, (r + 1) * total
        while at < end:  # one output row of one image at a time
            count = min(ow - j, end - at)
            u = i * sh + p * dh - top
            low, high = j, j
            if 0 <= u < h:
                low = min(max(jlow, j), j + count)
                high = max(low, min(jhigh, j + count))
                start = ((n * channels + c) * h + u) * w + low * sw + offset
                copy(entries, at + low - j, pixels, start, sw, high - low)
            fill(entries, at, low - j, 0.0)
            fill(entries, at + high - j, j + count - high, 0.0)
            at, j, i = at + count, 0, i + 1
            if i == oh:
                i, n = 0, n + 1


@kernel()
def col2im(col, gx, window, c0, first):
    """Add to every pixel the entries of ``col`` whose tap read it: the transpose of im2col.

    One iteration owns one (n, c) plane and walks its taps in a fixed order.
    """
    h, w, kh, kw, sh, sw, top, _, left, _, dh, dw, oh, ow = window
    total, channels = col.shape[1], col.shape[0] // (kh * kw)
    n0 = first // (oh * ow)
    images = (first + total + oh * ow - 1) // (oh * ow) - n0
    entries, pixels = col.reshape(-1), gx.reshape(-1)
    for plane in prange(images * channels):
        n, c = n0 + plane // channels, plane % channels
        begin, end = max(first, n * oh * ow), min(first + total, (n + 1) * oh * ow)
        pixel = (n * gx.shape[1] + c0 + c) * h * w
        for tap in range(kh * kw):
            p, q = tap // kw, tap % kw
            row, offset = (c * kh * kw + tap) * total - first, q * dw - left
            jlow, jhigh = inside(w, offset, sw, ow)
            i, j, position = begin // ow % oh, begin % ow, begin
            while position < end:
                count = min(ow - j, end - position)
                u = i * sh + p * dh - top
                low = min(max(jlow, j), j + count)
                high = max(low, min(jhigh, j + count))
                if 0 <= u < h and low < high:
                    target = pixel + u * w + low * sw + offset
                    add(pixels, target, sw, entries, row + position + low - j, high - low)
                position, j, i = position + count, 0, i + 1


def unfold(x, col, window):
    """im2col of every image: col (N, C*kh*kw, OH*OW)."""
    for n in range(col.shape[0]):
        im2col(x, col[n], window, 0, n * col.shape[2])


def fold(col, x, window):
    """col2im of every image: col (N, C*kh*kw, OH*OW)."""
    for n in range(col.shape[0]):
        col2im(col[n], x, window, 0, n * col.shape[2])


@kernel()
def scatter(columns, y, bias, k0, first):
    """y[n, k0 + k, s] = columns[k, b] + bias[k0 + k] for position first + b = n*S + s; y is (N, K, S)."""
    size, filters, total = y.shape[2], y.shape[1], columns.shape[1]
    entries, pixels = columns.reshape(-1), y.reshape(-1)
    for k in prange(columns.shape[0]):
        shift = bias[k0 + k] if bias.size else y.dtype.type(0.0)
        n, s, at, end = first // size, first % size, k * total, (k + 1) * total
        while at < end:
            count = min(size - s, end - at)
            target, source = np.uintp((n * filters + k0 + k) * size + s), np.uintp(at)
            for b in range(np.uintp(count)):
                pixels[target + b] = entries[source + b] + shift
            n, s, at = n + 1, 0, at + count


@kernel()
def gather(gy, columns, k0, first):
    """columns[k, b] = gy[n, k0 + k, s]: the inverse of scatter."""
    size, filters, total = gy.shape[2], gy.shape[1], columns.shape[1]
    entries, pixels = columns.reshape(-1), gy.reshape(-1)
    for k in prange(columns.shape[0]):
        n, s, at, end = first // size, first % size, k * total, (k + 1) * total
        while at < end:
            count = min(size - s, end - at)
            copy(entries, at, pixels, (n * filters + k0 + k) * size + s, 1, count)
            n, s, at = n + 1, 0, at + count
