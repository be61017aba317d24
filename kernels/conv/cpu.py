"""Numba twins of the convolutions.

``window`` arrives as a plain tuple in the order of ``Window2d``. Output *positions* are counted through the batch,
``position = (n*oh + i)*ow + j``, so a chunk of columns is a range of positions and may hold a part of one image or
many small images. A row of columns is one tap, ``r = (c*kh + p)*kw + q``.

Inner loops run over flat arrays in the helpers below, with unsigned indices: a slice of an array costs more than a
short row (its reference count is atomic), and the test for negative indices would keep the loops from vectorising.
"""

import numpy as np
from numba import prange

from minicnn.kernels.jit import helper, kernel


@helper
def _inside(size, offset, step, count):
    """The outputs [low, high) of ``count`` whose tap ``i*step + offset`` falls on a pixel 0..size-1."""
    low = 0 if offset >= 0 else min(count, (step - 1 - offset) // step)
    high = 0 if offset >= size else min(count, (size - 1 - offset) // step + 1)
    return low, max(low, high)


@helper
def _fill(target, at, count, value):
    t = np.uintp(at)
    for b in range(np.uintp(count)):
        target[t + b] = value


@helper
def _copy(target, at, source, start, step, count):
    """target[at + b] = source[start + b*step]."""
    t, s, d = np.uintp(at), np.uintp(start), np.uintp(step)
    if step == 1:
        for b in range(np.uintp(count)):
            target[t + b] = source[s + b]
    else:
        for b in range(np.uintp(count)):
            target[t + b] = source[s + b * d]


@helper
def _add(target, at, target_step, source, start, source_step, count, factor):
    """target[at + b*target_step] += factor * source[start + b*source_step]."""
    t, s, dt, ds = np.uintp(at), np.uintp(start), np.uintp(target_step), np.uintp(source_step)
    if target_step == 1 and source_step == 1:
        for b in range(np.uintp(count)):
            target[t + b] += factor * source[s + b]
    else:
        for b in range(np.uintp(count)):
            target[t + b * dt] += factor * source[s + b * ds]


@helper
def _add_three(target, at, source, start, gap, count, v0, v1, v2):
    """target[at + b] += v0*source[start + b] + v1*source[start + gap + b] + v2*source[start + 2*gap + b]."""
    t, s0, s1, s2 = np.uintp(at), np.uintp(start), np.uintp(start + gap), np.uintp(start + 2 * gap)
    for b in range(np.uintp(count)):
        target[t + b] += v0 * source[s0 + b] + v1 * source[s1 + b] + v2 * source[s2 + b]


@helper
def _dot(a, at, b, start, step, count):
    """The sum of a[at + j] * b[start + j*step], in the dtype of ``a``."""
    t, s, d = np.uintp(at), np.uintp(start), np.uintp(step)
    total = a.dtype.type(0.0)
    if step == 1:
        for j in range(np.uintp(count)):
            total += a[t + j] * b[s + j]
    else:
        for j in range(np.uintp(count)):
            total += a[t + j] * b[s + j * d]
    return total


@kernel()
def im2col(x, col, window, c0, first):
    """col[r, b] = the pixel that tap r of position first + b reads, 0 in the padding; channels from c0 on."""
    h, w, kh, kw, sh, sw, top, _, left, _, dh, dw, oh, ow = window
    channels, total = x.shape[1], col.shape[1]
    pixels, entries = x.reshape(-1), col.reshape(-1)
    for r in prange(col.shape[0]):
        c, p, q = c0 + r // (kh * kw), r // kw % kh, r % kw
        offset = q * dw - left
        jlow, jhigh = _inside(w, offset, sw, ow)
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
                _copy(entries, at + low - j, pixels, start, sw, high - low)
            _fill(entries, at, low - j, 0.0)
            _fill(entries, at + high - j, j + count - high, 0.0)
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
    entries, pixels, one = col.reshape(-1), gx.reshape(-1), gx.dtype.type(1.0)
    for plane in prange(images * channels):
        n, c = n0 + plane // channels, plane % channels
        begin, end = max(first, n * oh * ow), min(first + total, (n + 1) * oh * ow)
        pixel = (n * gx.shape[1] + c0 + c) * h * w
        for tap in range(kh * kw):
            p, q = tap // kw, tap % kw
            row, offset = (c * kh * kw + tap) * total - first, q * dw - left
            jlow, jhigh = _inside(w, offset, sw, ow)
            i, j, position = begin // ow % oh, begin % ow, begin
            while position < end:
                count = min(ow - j, end - position)
                u = i * sh + p * dh - top
                low = min(max(jlow, j), j + count)
                high = max(low, min(jhigh, j + count))
                if 0 <= u < h and low < high:
                    target = pixel + u * w + low * sw + offset
                    _add(pixels, target, sw, entries, row + position + low - j, 1, high - low, one)
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
            _copy(entries, at, pixels, (n * filters + k0 + k) * size + s, 1, count)
            n, s, at = n + 1, 0, at + count


@helper
def _three_taps(target, at, source, start, w, weights, v, ilow, ihigh, row_step, gap, offset, ow):
    """Three neighbouring taps of a row of filters, stride 1, on the output rows [ilow, ihigh) of a plane.

    Where all three fall inside they share one pass; at the borders each tap runs over its own outputs.
    """
    v0, v1, v2 = weights[v], weights[v + 1], weights[v + 2]
    low, high = _inside(w, offset, 1, ow)[0], _inside(w, offset + 2 * gap, 1, ow)[1]
    if low < high:
        for i in range(ilow, ihigh):
            _add_three(
                target, at + i * ow + low, source, start + i * row_step + offset + low, gap, high - low, v0, v1, v2
            )
    else:
        low = high = ow
    for t in range(3):
        begin, end = _inside(w, offset + t * gap, 1, ow)
        before, after = max(0, min(low, end) - begin), max(high, begin)
        for i in range(ilow, ihigh):
            row, pixel = at + i * ow, start + i * row_step + offset + t * gap
            _add(target, row + begin, 1, source, pixel + begin, 1, before, weights[v + t])
            _add(target, row + after, 1, source, pixel + after, 1, max(0, end - after), weights[v + t])


@kernel()
def direct_forward(x, weight, bias, y, window, groups):
    """y[n, k] = bias[k] + the taps of its group's channels; one iteration owns the plane (n, k)."""
    h, w, kh, kw, sh, sw, top, _, left, _, dh, dw, oh, ow = window
    filters, channels, planes = weight.shape[0], weight.shape[1], x.shape[1]
    source, target, weights = x.reshape(-1), y.reshape(-1), weight.reshape(-1)
    for plane in prange(y.shape[0] * filters):
        n, k = plane // filters, plane % filters
        c0 = k // (filters // groups) * channels
        at = plane * oh * ow
        _fill(target, at, oh * ow, bias[k] if bias.size else y.dtype.type(0.0))
        for r in range(channels * kh):
            c, p = r // kh, r % kh
            ilow, ihigh = _inside(h, p * dh - top, sh, oh)
            # the pixel in column 0 that output row 0 reads: may lie before the image, rows from ilow on do not
            start = ((n * planes + c0 + c) * h + p * dh - top) * w
            q, v = 0, (k * channels * kh + r) * kw
            while q < kw:
                offset = q * dw - left
                if sw == 1 and q + 2 < kw:
                    _three_taps(target, at, source, start, w, weights, v + q, ilow, ihigh, sh * w, dw, offset, ow)
                    q += 3
                else:
                    low, high = _inside(w, offset, sw, ow)
                    for i in range(ilow, ihigh):
                        pixel = start + i * sh * w + low * sw + offset
                        _add(target, at + i * ow + low, 1, source, pixel, sw, high - low, weights[v + q])
                    q += 1


@kernel()
def direct_grad_x(gy, weight, gx, window, groups):
    """gx[n, c] += weight * gy at every tap that read it; one iteration owns the plane (n, c)."""
    h, w, kh, kw, sh, sw, top, _, left, _, dh, dw, oh, ow = window
    planes, channels, filters = gx.shape[1], weight.shape[1], weight.shape[0] // groups
    source, target, weights = gy.reshape(-1), gx.reshape(-1), weight.reshape(-1)
    for plane in prange(gx.shape[0] * planes):
        n, c = plane // planes, plane % planes
        k0 = c // channels * filters
        for k in range(k0, k0 + filters):
            start = (n * weight.shape[0] + k) * oh * ow
            for tap in range(kh * kw):
                p, q = tap // kw, tap % kw
                v = weights[(k * channels + c % channels) * kh * kw + tap]
                ilow, ihigh = _inside(h, p * dh - top, sh, oh)
                low, high = _inside(w, q * dw - left, sw, ow)
                for i in range(ilow, ihigh):
                    at = (plane * h + i * sh + p * dh - top) * w + low * sw + q * dw - left
                    _add(target, at, sw, source, start + i * ow + low, 1, high - low, v)


@kernel()
def direct_grad_w(gy, x, gw, window, groups):
    """gw[k, c, p, q] = sum over n, i, j; rows are summed in the dtype, their sums in float64."""
    h, w, kh, kw, sh, sw, top, _, left, _, dh, dw, oh, ow = window
    channels, filters, planes = gw.shape[1], gw.shape[0] // groups, x.shape[1]
    upstream, source = gy.reshape(-1), x.reshape(-1)
    for r in prange(gw.shape[0] * channels * kh):
        k, c, p = r // (channels * kh), r // kh % channels, r % kh
        ilow, ihigh = _inside(h, p * dh - top, sh, oh)
        for q in range(kw):
            low, high = _inside(w, q * dw - left, sw, ow)
            total = 0.0
            for n in range(gy.shape[0]):
                start = ((n * planes + k // filters * channels + c) * h + p * dh - top) * w + low * sw + q * dw - left
                at = (n * gy.shape[1] + k) * oh * ow + low
                for i in range(ilow, ihigh):
                    total += _dot(upstream, at + i * ow, source, start + i * sh * w, sw, high - low)
            gw[k, c, p, q] = total
