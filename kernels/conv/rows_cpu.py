"""Copies between images and matrices, for the Numba kernels of convolution as matrix products; inlined into them.

*Positions* are output pixels, counted ``(n*oh + i)*ow + j``. The columns of some channels have a row a tap, ``(c*kh +
p)*kw + q``, and along it the pixels that the tap reads at some positions: all of several images, or ``lines`` output
rows of one. A plane is copied once for every column of taps, each copy shifted so that tap and output meet, with zeros
for padding:

    strip[q, a, r, j] = x[sh*(i0 + r) + a - top, sw*j + q*dw - left]

where a counts the phases of rows that are used, at most sh. With ``p*dh = m*sh + a`` the row of tap (p, q) is one run
of the strips, which begins at ``strip[q, a, m, 0]``: only the strips know borders and strides.

Loops run over flat arrays, with unsigned indices: a slice of an array costs more than a short row (its reference count
is atomic), and the test for negative indices would keep the loops from vectorising.

**See** Cho, Brand 2017, *MEC: Memory-efficient Convolution for Deep Neural Network* (columns along one axis only).
"""

import numpy as np

from minicnn.kernels.jit import helper


@helper
def inside(size, offset, step, count):
    """The outputs [low, high) of ``count`` whose tap ``i*step + offset`` falls on a pixel 0..size-1."""
    low = 0 if offset >= 0 else min(count, (step - 1 - offset) // step)
    high = 0 if offset >= size else min(count, (size - 1 - offset) // step + 1)
    return low, max(low, high)


@helper
def fill(target, at, count, value):
    """target[at + b] = value."""
    t = np.uintp(at)
    for b in range(np.uintp(count)):
        target[t + b] = value


@helper
def copy(target, at, source, start, step, count):
    """target[at + b] = source[start + b*step]."""
    t, s, d = np.uintp(at), np.uintp(start), np.uintp(step)
    if step == 1:
        for b in range(np.uintp(count)):
            target[t + b] = source[s + b]
    elif step == 2:
        for b in range(np.uintp(count)):
            target[t + b] = source[s + np.uintp(2) * b]
    else:
        for b in range(np.uintp(count)):
            target[t + b] = source[s + b * d]


@helper
def add(target, at, step, source, start, count):
    """target[at + b*step] += source[start + b]."""
    t, s, d = np.uintp(at), np.uintp(start), np.uintp(step)
    if step == 1:
        for b in range(np.uintp(count)):
            target[t + b] += source[s + b]
    elif step == 2:
        for b in range(np.uintp(count)):
            target[t + np.uintp(2) * b] += source[s + b]
    else:
        for b in range(np.uintp(count)):
            target[t + b * d] += source[s + b]


@helper
def shift(target, at, count, value):
    """target[at + b] += value."""
    t = np.uintp(at)
    for b in range(np.uintp(count)):
        target[t + b] += value


@helper
def phases_and_rows(window, lines):
    """The sizes of axes a and r of the strips for ``lines`` output rows."""
    reach, sh = (window[2] - 1) * window[10], window[4]
    return min(sh, reach + 1), lines + reach // sh


@helper
def strips_of(pixels, plane, window, i0, lines, strips, at):
    """Fill the strips, at strips[at], of the plane at pixels[plane] for output rows i0 .. i0 + lines."""
    h, w, _, kw, sh, sw, top, _, left, _, _, dw, _, ow = window
    phases, rows = phases_and_rows(window, lines)
    for q in range(kw):
        offset = q * dw - left
        low, high = inside(w, offset, sw, ow)
        for a in range(phases):
            for r in range(rows):
                u = sh * (i0 + r) + a - top
                if u < 0 or u >= h or low == high:
                    fill(strips, at, ow, 0.0)
                else:
                    fill(strips, at, low, 0.0)
                    copy(strips, at + low, pixels, plane + u * w + low * sw + offset, sw, high - low)
                    fill(strips, at + high, ow - high, 0.0)
                at += ow


@helper
def add_strips(strips, at, window, i0, lines, pixels, plane):
    """The transpose of ``strips_of``: every pixel of the plane gets the entries of the strips that were it."""
    h, w, _, kw, sh, sw, top, _, left, _, _, dw, _, ow = window
    phases, rows = phases_and_rows(window, lines)
    for q in range(kw):
        offset = q * dw - left
        low, high = inside(w, offset, sw, ow)
        for a in range(phases):
            for r in range(rows):
                u = sh * (i0 + r) + a - top
                if 0 <= u < h and low < high:
                    add(pixels, plane + u * w + low * sw + offset, sw, strips, at + low, high - low)
                at += ow


@helper
def run_of(tap, window, lines):
    """Where in the strips the row of a tap begins."""
    p, q, sh, dh, ow = tap // window[3], tap % window[3], window[4], window[10], window[13]
    phases, rows = phases_and_rows(window, lines)
    return ((q * phases + p * dh % sh) * rows + p * dh // sh) * ow


@helper
def scatter_row(entries, at, pixels, filters, size, k, n, images, value):
    """y[n + b, k] = entries[at + b*size ...] + value for ``images`` planes b of ``size`` pixels."""
    for b in range(images):
        target, source = np.uintp(((n + b) * filters + k) * size), np.uintp(at + b * size)
        for s in range(np.uintp(size)):
            pixels[target + s] = entries[source + s] + value
