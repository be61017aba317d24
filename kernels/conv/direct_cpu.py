"""Numba kernels of the plan ``direct`` on the CPU: convolutions of many small groups, above all depthwise ones.

Sixteen groups, a *block*, lie side by side in the lanes of vectors (``lane_lines.py``). Lines are made just before they
are read, so that they are in the first-level cache. Groups of several channels and filters go ``grouped.py``'s way.

A unit of work is a *band* of rows of a block of an image (in grad_w one filter of a block). Sums do not depend on how
units are dealt out.
"""

from functools import cache
from itertools import chain

import numpy as np
from numba import prange

from minicnn.kernels.conv.lane_lines import place, turn, turn_back, vectors, whole, zero
from minicnn.kernels.conv.lane_taps import add_taps, correlate_taps
from minicnn.kernels.conv.turned import read_by
from minicnn.kernels.jit import helper, kernel
from minicnn.kernels.lanes import LANES, get, nothing, put
from minicnn.kernels.window import Window2d

# Entries of the lines that a band turns: they fit in half of a second-level cache.
BAND = 1 << 16
# Entries of the lines that a pass reads: with its outputs they fit in a first-level cache.
ROWS = 3072
# A thread keeps its scratch from one unit of work to the next; units are dealt out in at most so many parts.
PARTS = 64


@helper
def _layout(window, channels):
    """Pixels of a line, lines and rows of a band, how many bands, and rows of outputs at a time."""
    (kh, kw, sh, sw), (dh, dw, oh, ow) = window[2:6], window[10:]
    pitch, reach = whole((ow - 1) * sw + (kw - 1) * dw + 1), (kh - 1) * dh
    most = max(1, (BAND // (channels * pitch * LANES) - reach - 1) // sh)
    bands = -(-oh // most)
    rows = -(-oh // bands)
    return pitch, (rows - 1) * sh + reach + 1, rows, bands, max(1, ROWS // (channels * pitch * LANES * sh))


# ---- the kernels


@kernel()
def direct_forward(x, weight, bias, y, window, groups):
    """y[n, k] = bias[k] + the taps of its group's channels."""
    h, w, kh, kw, sh, sw, top, _, left, _, dh, dw, oh, ow = window
    images, channels, filters, taps = y.shape[0], weight.shape[1], weight.shape[0] // groups, kh * kw
    pitch, lines, rows, bands, some = _layout(window, channels)
    each, wide, among = filters * channels * taps, whole(ow), (kh, kw, dh * pitch * LANES, dw * LANES)
    source, target, entries = x.reshape(-1), y.reshape(-1), weight.reshape(-1)
    units = (groups + LANES - 1) // LANES * images * bands
    parts = min(units, PARTS)
    for part in prange(parts):
        pixels, out = vectors(source, channels * lines * pitch * LANES), vectors(source, some * wide * LANES)
        weights, shift = vectors(source, whole(each) * LANES), vectors(source, whole(filters) * LANES)
        zero(shift, 0, len(shift))
        held = -1
        for unit in range(units * part // parts, units * (part + 1) // parts):
            band, g, n, lanes = place(unit, images, bands, groups)
            if g != held:
                held = g
                turn(entries, (g * each, each, lanes), (1, each), (0, 0), (0, 1), weights, 0, whole(each))
                if bias.size:
                    turn(bias, (g * filters, filters, lanes), (1, filters), (0, 0), (0, 1), shift, 0, whole(filters))
            i0, done, first = band * rows, 0, n * groups + g
            for i in range(0, min(rows, oh - i0), some):
                size = min(some, min(rows, oh - i0) - i), ow
                until = (i + size[0] - 1) * sh + (kh - 1) * dh + 1
                for c in range(channels):
                    planes, corner = ((first * channels + c) * h * w, channels * h * w, lanes), (top - i0 * sh, left)
                    turn(source, planes, (h, w), corner, (done, until), pixels, c * lines * pitch * LANES, pitch)
                done = until
                for k in range(filters):
                    for c in range(channels):
                        where = (c * lines + i * sh) * pitch * LANES, sh * pitch * LANES, sw * LANES
                        v, start = (k * channels + c) * taps * LANES, get(shift, k * LANES)
                        add_taps(out, (0, wide * LANES, LANES), pixels, where, among, size, weights, v, c == 0, start)
                    at = ((first * filters + k) * oh + i0 + i) * ow
                    turn_back(target, (at, filters * oh * ow, lanes), size, out, 0, wide)


@kernel()
def direct_grad_w(gy, x, gw, window, groups):
    """gw[k, c, p, q] = sum over n, i, j; a band is summed in the dtype, their sums in float64."""
    h, w, kh, kw, sh, sw, top, _, left, _, dh, dw, oh, ow = window
    images, channels, filters, taps = gy.shape[0], gw.shape[1], gw.shape[0] // groups, kh * kw
    pitch, lines, rows, bands, some = _layout(window, channels)
    each, wide, among = channels * taps, whole(ow), (kh, kw, dh * pitch * LANES, dw * LANES)
    source, upstream, result = x.reshape(-1), gy.reshape(-1), gw.reshape(-1)
    for unit in prange((groups + LANES - 1) // LANES * filters):
        g, k = unit // filters * LANES, unit % filters
        lanes = min(LANES, groups - g)
        pixels, turned = vectors(source, channels * lines * pitch * LANES), vectors(source, some * wide * LANES)
        sums, totals = vectors(source, each * LANES), np.zeros(each * LANES)
        for band in range(images * bands):
            first, i0, done = band // bands * groups + g, band % bands * rows, 0
            zero(sums, 0, len(sums))
            for i in range(0, min(rows, oh - i0), some):
                size = min(some, min(rows, oh - i0) - i), ow
                until = (i + size[0] - 1) * sh + (kh - 1) * dh + 1
                planes = (first * filters + k) * oh * ow, filters * oh * ow, lanes
                turn(upstream, planes, (oh, ow), (-i0 - i, 0), (0, size[0]), turned, 0, wide)
                for c in range(channels):
                    planes, corner = ((first * channels + c) * h * w, channels * h * w, lanes), (top - i0 * sh, left)
                    turn(source, planes, (h, w), corner, (done, until), pixels, c * lines * pitch * LANES, pitch)
                    where = (c * lines + i * sh) * pitch * LANES, sh * pitch * LANES, sw * LANES
                    correlate_taps(turned, (0, wide * LANES, LANES), pixels, where, among, size, sums, c * taps * LANES)
                done = until
            for e in range(np.uintp(each * LANES)):
                totals[e] += sums[e]
        for l in range(lanes):
            for e in range(each):
                result[((g + l) * filters + k) * each + e] = totals[e * LANES + l]


def direct_grad_x(gy, weight, gx, window, groups):
    """gx[n, c] = weight * gy at every tap that read the pixel."""
    slid, phases, order = _phases(window)
    k, channels = weight.shape[:2]
    turned = weight.reshape(groups, k // groups, channels, -1).swapaxes(1, 2)[..., order]
    _grad_x(gy, np.ascontiguousarray(turned), gx, window[4:6], slid, phases)


@cache
def _phases(window):
    """Pixels (sh*i + a, sw*j + b) of gx are a correlation of gy at stride 1; each (a, b), a phase, has taps of its own.

    Returns the window that slides over gy for all of them; for each phase (first, count, step) of the lines of that
    window its taps read, and of the columns; and the taps of the filter in the order of the phases.
    """
    shape = Window2d(*window)
    down = [read_by(a, shape.kh, shape.sh, shape.top, shape.dh) for a in range(shape.sh)]
    across = [read_by(b, shape.kw, shape.sw, shape.left, shape.dw) for b in range(shape.sw)]
    (top, bottom), (left, right) = ((min(all_), max(all_)) for all_ in ([*chain(*axis)] for axis in (down, across)))
    phases = [(*_progression(rows, top), *_progression(columns, left)) for rows in down for columns in across]
    taps = [rows[r] * shape.kw + columns[c] for rows in down for columns in across for r in rows for c in columns]
    out = -(-shape.h // shape.sh), -(-shape.w // shape.sw)
    slid = Window2d(shape.oh, shape.ow, bottom - top + 1, right - left + 1, 1, 1, -top, 0, -left, 0, 1, 1, *out)
    return tuple(slid), np.array(phases), np.array(taps)


def _progression(shifts, lowest):
    """The first of ascending numbers less the lowest of all, how many there are, and from one to the next."""
    numbers = list(shifts)
    step = numbers[1] - numbers[0] if len(numbers) > 1 else 1
    return (numbers[0] - lowest if numbers else 0), len(numbers), step


@kernel()
def _grad_x(gy, weight, gx, strides, slid, phases):
    """``weight (groups, C/g, K/g, taps)``, taps sorted by phase; rows are those of phases."""
    (sh, sw), (oh, ow, kh, _, _, _, top, _, left, _, _, _, down, _) = strides, slid
    (groups, channels, filters, taps), (images, _, h, w) = weight.shape, gx.shape
    pitch, lines, rows, bands, some = _layout(slid, filters)
    each, wide = channels * filters * taps, whole(w)
    source, target, entries = gy.reshape(-1), gx.reshape(-1), weight.reshape(-1)
    units = (groups + LANES - 1) // LANES * images * bands
    parts = min(units, PARTS)
    for part in prange(parts):
        pixels, out = vectors(source, filters * lines * pitch * LANES), vectors(source, some * sh * wide * LANES)
        weights, held = vectors(source, whole(each) * LANES), -1
        for unit in range(units * part // parts, units * (part + 1) // parts):
            band, g, n, lanes = place(unit, images, bands, groups)
            if g != held:
                held = g
                turn(entries, (g * each, each, lanes), (1, each), (0, 0), (0, 1), weights, 0, whole(each))
            i0, done, first = band * rows, 0, n * groups + g
            for i in range(0, min(rows, down - i0), some):
                size = min(some, min(rows, down - i0) - i), w
                until = i + size[0] - 1 + kh
                for k in range(filters):
                    planes, corner = ((first * filters + k) * oh * ow, filters * oh * ow, lanes), (top - i0, left)
                    turn(source, planes, (oh, ow), corner, (done, until), pixels, k * lines * pitch * LANES, pitch)
                done, u0 = until, (i0 + i) * sh
                for c in range(channels):
                    at = c * filters * taps * LANES
                    for phase in range(sh * sw):
                        a, b = phase // sw, phase % sw
                        here = min(size[0], (h - a + sh - 1) // sh - i0 - i), (w - b + sw - 1) // sw
                        to = (a * wide + b) * LANES, sh * wide * LANES, sw * LANES
                        at = _add_phase(
                            out, to, pixels, i, (pitch, lines, filters, taps), phases[phase], here, weights, at
                        )
                    planes = ((first * channels + c) * h + u0) * w, channels * h * w, lanes
                    turn_back(target, planes, (min(size[0] * sh, h - u0), w), out, 0, wide)


@helper
def _add_phase(out, to, pixels, i, shape, phase, size, weights, at):
    """The pixels of one phase from all filters, whose weights begin at ``at``. Returns where the next phase's do."""
    pitch, lines, filters, taps = shape
    among = phase[1], phase[4], phase[2] * pitch * LANES, phase[5] * LANES
    for k in range(filters):
        where = ((k * lines + i + phase[0]) * pitch + phase[3]) * LANES, pitch * LANES, LANES
        v = at + k * taps * LANES
        add_taps(out, to, pixels, where, among, size, weights, v, k == 0, nothing(out))
    if among[0] * among[1] == 0:
        for r in range(size[0]):
            for b in range(size[1]):
                put(out, to[0] + r * to[1] + b * to[2], nothing(out))
    return at + among[0] * among[1] * LANES
