"""Numba twins of the convolutions.

``window`` arrives as a plain tuple in the order of ``Window2d``. Output *positions* are counted through the batch,
``position = (n*oh + i)*ow + j``, so a chunk of columns is a range of positions and may hold a part of one image or
many small images. A row of columns is one tap, ``r = (c*kh + p)*kw + q``.

Loops run over slices from 0: only then does Numba drop its test for negative indices and LLVM vectorise.
"""

from numba import prange

from minicnn.kernels.jit import helper, kernel


@helper
def _inside(size, offset, step, count):
    """The outputs [low, high) of ``count`` whose tap ``i*step + offset`` falls on a pixel 0..size-1."""
    low = 0 if offset >= 0 else min(count, (step - 1 - offset) // step)
    high = 0 if offset >= size else min(count, (size - 1 - offset) // step + 1)
    return low, max(low, high)


@kernel()
def im2col(x, col, window, c0, first):
    """col[r, b] = the pixel that tap r of position first + b reads, 0 in the padding; channels from c0 on."""
    h, w, kh, kw, sh, sw, top, _, left, _, dh, dw, oh, ow = window
    for r in prange(col.shape[0]):
        c, p, q = c0 + r // (kh * kw), r // kw % kh, r % kw
        row, total, offset = col[r], col.shape[1], q * dw - left
        jlow, jhigh = _inside(w, offset, sw, ow)
        n, i, j = first // (oh * ow), first // ow % oh, first % ow
        at = 0
        while at < total:  # one output row of one image at a time
            count = min(ow - j, total - at)
            y = i * sh + p * dh - top
            low, high = j, j
            if 0 <= y < h:
                low = min(max(jlow, j), j + count)
                high = max(low, min(jhigh, j + count))
                source, target = x[n, c, y, low * sw + offset :], row[at + low - j :]
                if sw == 1:
                    for b in range(high - low):
                        target[b] = source[b]
                else:
                    for b in range(high - low):
                        target[b] = source[b * sw]
            for b in range(at, at + low - j):
                row[b] = 0.0
            for b in range(at + high - j, at + count):
                row[b] = 0.0
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
    for plane in prange(images * channels):
        n, c = n0 + plane // channels, plane % channels
        begin, end = max(first, n * oh * ow), min(first + total, (n + 1) * oh * ow)
        for tap in range(kh * kw):
            p, q = tap // kw, tap % kw
            row, offset = col[c * kh * kw + tap], q * dw - left
            jlow, jhigh = _inside(w, offset, sw, ow)
            position = begin
            while position < end:
                i, j = position // ow % oh, position % ow
                count = min(ow - j, end - position)
                y = i * sh + p * dh - top
                if 0 <= y < h:
                    low = min(max(jlow, j), j + count)
                    high = max(low, min(jhigh, j + count))
                    target = gx[n, c0 + c, y, low * sw + offset :]
                    source = row[position - first + low - j :]
                    if sw == 1:
                        for b in range(high - low):
                            target[b] += source[b]
                    else:
                        for b in range(high - low):
                            target[b * sw] += source[b]
                position += count


@kernel()
def scatter(columns, y, bias, k0, first):
    """y[n, k0 + k, s] = columns[k, b] + bias[k0 + k] for position first + b = n*S + s; y is (N, K, S)."""
    size = y.shape[2]
    for k in prange(columns.shape[0]):
        row, total = columns[k], columns.shape[1]
        shift = bias[k0 + k] if bias.size else y.dtype.type(0.0)
        n, s, at = first // size, first % size, 0
        while at < total:
            count = min(size - s, total - at)
            target, source = y[n, k0 + k, s:], row[at:]
            for b in range(count):
                target[b] = source[b] + shift
            n, s, at = n + 1, 0, at + count


@kernel()
def gather(gy, columns, k0, first):
    """columns[k, b] = gy[n, k0 + k, s]: the inverse of scatter."""
    size = gy.shape[2]
    for k in prange(columns.shape[0]):
        row, total = columns[k], columns.shape[1]
        n, s, at = first // size, first % size, 0
        while at < total:
            count = min(size - s, total - at)
            target, source = row[at:], gy[n, k0 + k, s:]
            for b in range(count):
                target[b] = source[b]
            n, s, at = n + 1, 0, at + count


@helper
def _add_row(target, source, weights, offset, dw, sw, low, high):
    """target[j] += sum_q weights[q] * source[j*sw + q*dw + offset], taps outside the row skipped.

    Three taps at stride 1 share one pass over [low, high), where all of them are inside.
    """
    fused = weights.size == 3 and sw == 1 and low < high
    if fused:
        a, b, c = weights[0], weights[1], weights[2]
        y, first = target[low:], source[low + offset :]
        second, third = source[low + offset + dw :], source[low + offset + 2 * dw :]
        for j in range(high - low):
            y[j] += a * first[j] + b * second[j] + c * third[j]
    for q in range(weights.size):
        begin, end = _inside(source.size, q * dw + offset, sw, target.size)
        v = weights[q]
        if not fused:
            y, x = target[begin:], source[begin * sw + q * dw + offset :]
            for j in range(end - begin):
                y[j] += v * x[j * sw]
        else:
            for j in range(begin, low):
                target[j] += v * source[j + q * dw + offset]
            for j in range(high, end):
                target[j] += v * source[j + q * dw + offset]


@kernel()
def direct_forward(x, weight, bias, y, window, groups):
    """y[n, k] = bias[k] + the taps of its group's channels; one iteration owns the plane (n, k)."""
    h, w, kh, kw, sh, sw, top, _, left, _, dh, dw, oh, ow = window
    filters, channels = weight.shape[0], weight.shape[1]
    low = _inside(w, -left, sw, ow)[0]
    high = _inside(w, (kw - 1) * dw - left, sw, ow)[1]
    for plane in prange(y.shape[0] * filters):
        n, k = plane // filters, plane % filters
        c0 = k // (filters // groups) * channels
        shift = bias[k] if bias.size else y.dtype.type(0.0)
        for i in range(oh):
            row = y[n, k, i]
            for j in range(ow):
                row[j] = shift
            for c in range(channels):
                for p in range(kh):
                    u = i * sh + p * dh - top
                    if 0 <= u < h:
                        _add_row(row, x[n, c0 + c, u], weight[k, c, p], -left, dw, sw, low, high)


@kernel()
def direct_grad_x(gy, weight, gx, window, groups):
    """gx[n, c] += weight * gy at every tap that read it; one iteration owns the plane (n, c)."""
    h, w, kh, kw, sh, sw, top, _, left, _, dh, dw, oh, ow = window
    planes, channels, filters = gx.shape[1], weight.shape[1], weight.shape[0] // groups
    for plane in prange(gx.shape[0] * planes):
        n, c = plane // planes, plane % planes
        k0 = c // channels * filters
        for k in range(k0, k0 + filters):
            for i in range(oh):
                for p in range(kh):
                    u = i * sh + p * dh - top
                    if 0 <= u < h:
                        for q in range(kw):
                            v = weight[k, c % channels, p, q]
                            low, high = _inside(w, q * dw - left, sw, ow)
                            target, source = gx[n, c, u, low * sw + q * dw - left :], gy[n, k, i, low:]
                            for j in range(high - low):
                                target[j * sw] += v * source[j]


@kernel()
def direct_grad_w(gy, x, gw, window, groups):
    """gw[k, c, p, q] = sum over n, i, j; rows are summed in the dtype, their sums in float64."""
    h, w, kh, kw, sh, sw, top, _, left, _, dh, dw, oh, ow = window
    channels, filters = gw.shape[1], gw.shape[0] // groups
    for r in prange(gw.shape[0] * channels * kh):
        k, c, p = r // (channels * kh), r // kh % channels, r % kh
        source_c = k // filters * channels + c
        ilow, ihigh = _inside(h, p * dh - top, sh, oh)
        for q in range(kw):
            low, high = _inside(w, q * dw - left, sw, ow)
            total = 0.0
            for n in range(gy.shape[0]):
                for i in range(ilow, ihigh):
                    g, source = gy[n, k, i, low:], x[n, source_c, i * sh + p * dh - top, low * sw + q * dw - left :]
                    row = gw.dtype.type(0.0)
                    for j in range(high - low):
                        row += g[j] * source[j * sw]
                    total += row
            gw[k, c, p, q] = total
