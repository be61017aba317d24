"""Pooling by a window that slides, on the CPU: one tap for a block of outputs at once, so that the loops are vectors.

The image, padded, is split by the strides into phases, ``phase[R % sh][c % sw][R // sh][c // sw] = padded[R][c]``: what
tap (p, q) reads for the outputs (i, j), (i, j + 1), ..., (i + 1, 0), ... are then neighbours, from
``phase[p % sh][q % sw][i + p // sh][q // sw + j]``, whatever the strides. Rows of a phase are ``pitch`` long, a little
longer than rows of outputs; what is computed for j >= ow is not used. Planes are parallel, one worker a plane.

Arrays are flat, for a slice of a row costs as much as its numbers. A place in one is an unsigned ``at``: of a signed
index Numba asks whether it is negative, and the loop is no vector.
"""

import numpy as np
from numba import prange

from minicnn.kernels.jit import helper, kernel

BLOCK = 1024  # outputs, about: their best values and phases stay in the first-level cache


@helper
def split(padded, stride, pitch, span, phases, at):
    """phases[at + c % stride * span + c // stride] = padded[c] for the columns c of one row."""
    size, span, at = np.uintp(pitch), np.uintp(span), np.uintp(at)
    if stride == 2:
        for t in range(size):
            phases[at + t] = padded[2 * t]
            phases[at + span + t] = padded[2 * t + 1]
    else:
        step = np.uintp(stride)
        for phase in range(step):
            for t in range(size):
                phases[at + phase * span + t] = padded[t * step + phase]


@helper
def join(phases, at, stride, pitch, span, padded):
    """The way back of ``split``."""
    size, span, at = np.uintp(pitch), np.uintp(span), np.uintp(at)
    if stride == 2:
        for t in range(size):
            padded[2 * t] = phases[at + t]
            padded[2 * t + 1] = phases[at + span + t]
    else:
        step = np.uintp(stride)
        for phase in range(step):
            for t in range(size):
                padded[t * step + phase] = phases[at + phase * span + t]


@helper
def copy_signed(x, x_at, sign, y, y_at, size):
    x_at, y_at = np.uintp(x_at), np.uintp(y_at)
    for j in range(np.uintp(size)):
        y[y_at + j] = sign * x[x_at + j]


@helper
def split_rows(x, image, h, w, i, n, window, span, fill, sign, padded, phases):
    """The phases of all rows that the outputs i to i + n see; ``padded`` is scratch, its borders ``fill``."""
    kh, _, sh, sw, top, left, pitch = window
    for a in range(min(kh, sh)):
        for b in range(n + (kh - 1 - a) // sh):  # row b of phase a
            r, target = (i + b) * sh + a - top, a * sw * span + b * pitch
            if 0 <= r < h:
                copy_signed(x, image + r * w, sign, padded, left, w)
                split(padded, sw, pitch, span, phases, target)
            else:
                for phase in range(sw):
                    for t in range(target + phase * span, target + phase * span + pitch):
                        phases[t] = fill


@helper
def raise_best(values, at, tap, size, best, where):
    """``v != v`` lets NaN through, and nothing is larger than NaN after."""
    at = np.uintp(at)
    for j in range(np.uintp(size)):
        v, b = values[at + j], best[j]
        better = (v > b) | (v != v)
        best[j] = v if better else b
        where[j] = tap if better else where[j]


@helper
def raise_value(values, at, size, best):
    at = np.uintp(at)
    for j in range(np.uintp(size)):
        v, b = values[at + j], best[j]
        best[j] = v if (v > b) | (v != v) else b


@helper
def add(values, at, size, total, total_at):
    at, total_at = np.uintp(at), np.uintp(total_at)
    for j in range(np.uintp(size)):
        total[total_at + j] += values[at + j]


@helper
def first_taps(i, n, ow, window, where):
    """The first tap inside the image: of pixels that are all -inf it wins."""
    _, kw, sh, sw, top, left, pitch = window
    for k in range(n):
        p, at = max(0, top - (i + k) * sh), np.uintp(k * pitch)
        for j in range(np.uintp(ow)):
            where[at + j] = p * kw + max(0, left - np.int64(j) * sw)


@helper
def places(where, at, corner, ow, w, window, index, index_at):
    """What is written of the winners of a row of outputs: the tap, if a byte has to do, or its place in the plane."""
    kw, sw = window[1], window[3]
    at, index_at = np.uintp(at), np.uintp(index_at)
    if index.itemsize == 1:
        for j in range(np.uintp(ow)):
            index[index_at + j] = where[at + j]
    else:
        for j in range(np.uintp(ow)):
            tap = where[at + j]
            index[index_at + j] = corner + np.int64(j) * sw + tap // kw * w + tap % kw


@kernel()
def window_extremes(x, h, w, oh, ow, window, sign, wanted, y, index):
    """x (planes*H*W), y and index (planes*OH*OW). An index of uint8 is that of the tap, ``p*kw + q``; of int32 the
    place in the plane, ``r*W + c``.
    """
    kh, kw, sh, sw, top, left, pitch = window
    block = min(oh, max(1, BLOCK // pitch))
    span = (block + (kh - 1) // sh) * pitch
    lowest = x.dtype.type(-np.inf)
    for plane in prange(y.size // (oh * ow)):
        padded, phases = np.full(sw * pitch, lowest), np.full(sh * sw * span + kw, lowest)
        best, where = np.empty(block * pitch, x.dtype), np.empty(block * pitch, np.int32)
        for i in range(0, oh, block):
            n = min(block, oh - i)
            split_rows(x, plane * h * w, h, w, i, n, window, span, lowest, sign, padded, phases)
            best[:] = lowest
            first_taps(i, n, ow, window, where)
            for p in range(kh):
                for q in range(kw):
                    at = (p % sh * sw + q % sw) * span + p // sh * pitch + q // sw
                    if wanted:
                        raise_best(phases, at, p * kw + q, n * pitch, best, where)
                    else:
                        raise_value(phases, at, n * pitch, best)
            for k in range(n):
                target = (plane * oh + i + k) * ow
                copy_signed(best, k * pitch, sign, y, target, ow)
                if wanted:
                    corner = ((i + k) * sh - top) * w - left
                    places(where, k * pitch, corner, ow, w, window, index, target)


@kernel()
def tap_grad_x(gy, taps, h, w, oh, ow, window, gx):
    """gy and taps (planes*OH*OW), gx (planes*H*W): gy goes to the tap that won, in scan order."""
    kh, kw, sh, sw, top, left, _ = window
    for plane in prange(gy.size // (oh * ow)):
        gx[plane * h * w : (plane + 1) * h * w] = 0.0
        place = np.empty(kh * kw, np.int64)
        for tap in range(kh * kw):
            place[tap] = tap // kw * w + tap % kw
        for i in range(oh):
            corner, at = plane * h * w + (i * sh - top) * w - left, np.uintp((plane * oh + i) * ow)
            for j in range(np.uintp(ow)):
                gx[np.uintp(corner + np.int64(j) * sw + place[taps[at + j]])] += gy[at + j]


@kernel()
def window_averages(x, h, w, rows, cols, window, y):
    """x (planes*H*W), y (planes*OH*OW); sums are float64. ``rows`` (OH) times ``cols`` (OW) are the divisors."""
    kh, kw, sh, sw, _, _, pitch = window
    oh, ow = rows.size, cols.size
    block = min(oh, max(1, BLOCK // pitch))
    span = (block + (kh - 1) // sh) * pitch
    zero, one = x.dtype.type(0), x.dtype.type(1)
    for plane in prange(y.size // (oh * ow)):
        padded, phases = np.full(sw * pitch, zero), np.full(sh * sw * span + kw, zero)
        total = np.empty(block * pitch)
        for i in range(0, oh, block):
            n = min(block, oh - i)
            split_rows(x, plane * h * w, h, w, i, n, window, span, zero, one, padded, phases)
            total[:] = 0.0
            for p in range(kh):
                for q in range(kw):
                    at = (p % sh * sw + q % sw) * span + p // sh * pitch + q // sw
                    add(phases, at, n * pitch, total, 0)
            for k in range(n):
                at, target, extent = np.uintp(k * pitch), np.uintp((plane * oh + i + k) * ow), rows[i + k]
                for j in range(np.uintp(ow)):
                    y[target + j] = total[at + j] / (extent * cols[j])


@kernel()
def window_average_grad_x(gy, h, w, rows, cols, window, gx):
    """gy (planes*OH*OW), gx (planes*H*W): each pixel adds its shares in scan order, so the last tap comes first."""
    kh, kw, sh, sw, top, left, pitch = window
    oh, ow = rows.size, cols.size
    span = max(oh + (kh - 1) // sh, (top + h - 1) // sh + 1) * pitch
    number = gx.dtype.type
    for plane in prange(gy.size // (oh * ow)):
        padded, phases = np.empty(sw * pitch, gx.dtype), np.zeros(sh * sw * span + kw, gx.dtype)
        shares = np.zeros(oh * pitch, gx.dtype)
        for i in range(oh):
            at, source, extent = np.uintp(i * pitch), np.uintp((plane * oh + i) * ow), rows[i]
            for j in range(np.uintp(ow)):
                shares[at + j] = number(gy[source + j] / (extent * cols[j]))
        for p in range(kh - 1, -1, -1):
            for q in range(kw - 1, -1, -1):
                at = (p % sh * sw + q % sw) * span + p // sh * pitch + q // sw
                add(shares, 0, oh * pitch, phases, at)
        for r in range(h):
            row = r + top
            join(phases, row % sh * sw * span + row // sh * pitch, sw, pitch, span, padded)
            copy_signed(padded, left, number(1), gx, (plane * h + r) * w, w)
