"""Numba kernels of the plan ``direct`` for groups of several channels and filters (``grouped.py`` says what they do).

Sixteen groups, a *block*, lie in the lanes of vectors. A unit of work is a band of rows of a block of an image (in
grad_w some filters of a block); its lines are turned just before they are read. ``own[worker]`` is the memory a thread
keeps from one unit to the next. Sums do not depend on how units are dealt out.
"""

import numpy as np
from numba import prange

from minicnn.kernels.blas import workers
from minicnn.kernels.conv.lane_lines import place, turn, turn_back, whole, zero
from minicnn.kernels.conv.lane_products import ROWS, add_product
from minicnn.kernels.jit import helper, kernel
from minicnn.kernels.lanes import LANES, get, put

__all__ = ["ROWS", "correlate", "slide", "turn_weights", "workers"]

# grad_w sums about so many outputs in the dtype, those sums in float64.
IN_DTYPE = 1024


@kernel()
def turn_weights(weight, weights):
    """``weight (groups, filters, entries)`` as vectors, ``weights (blocks, filters*whole(entries)*LANES)``."""
    groups, filters, each = weight.shape
    source, target, pitch = weight.reshape(-1), weights.reshape(-1), whole(each)
    for unit in prange(len(weights) * filters):
        g, k = unit // filters * LANES, unit % filters
        planes = (g * filters + k) * each, filters * each, min(LANES, groups - g)
        turn(source, planes, (1, each), (0, 0), (0, 1), target, unit * pitch * LANES, pitch)


@kernel()
def slide(source, weights, apart, bias, target, window, sizes, cut, phases, tables, own):
    """The planes of ``target`` from all planes of ``source`` of their group: forward and grad_x.

    ``sizes``: (groups, planes of source and of target a group, rows of target to a row of outputs); rows of weights
    are ``apart`` vectors. ``own[worker]`` has room for lines, ROWS rows of a product, and the bias.
    """
    (h, w, kh, _, sh, _, top, _, left, _, dh, _, down, _), (pitch, plane, rows, bands, some) = window, cut
    (groups, channels, results, step), (inside, along, across, onto) = sizes, tables
    images, _, tall, wide = target.shape
    pixels, entries, out = source.reshape(-1), weights.reshape(-1), target.reshape(-1)
    units, teams, span = (groups + LANES - 1) // LANES * images * bands, len(own), whole(some * step * wide) * LANES
    sums = channels * plane * LANES
    shift = sums + ROWS * span
    for worker in prange(teams):
        mine = own[worker]
        for unit in range(units * worker // teams, units * (worker + 1) // teams):
            band, g, n, lanes = place(unit, images, bands, groups)
            _turn_bias(bias, g * results, results, lanes, mine, shift)
            i0, done, first = band * rows, 0, n * groups + g
            for i in range(0, min(rows, down - i0), some):
                size, u = min(some, min(rows, down - i0) - i), (i0 + i) * step
                until, count = (i + size - 1) * sh + (kh - 1) * dh + 1, min(size * step, tall - u) * wide
                for c in range(channels):
                    planes, corner = ((first * channels + c) * h * w, channels * h * w, lanes), (top - i0 * sh, left)
                    turn(pixels, planes, (h, w), corner, (done, until), mine, c * plane * LANES, pitch)
                done = until
                for r in range(0, results, ROWS):
                    several, weight = min(ROWS, results - r), g // LANES * weights.shape[1] + r * apart * LANES
                    _fill(mine, sums, span, several, count, shift + r * LANES)
                    for phase in range(len(phases)):
                        m, end, b, width, a = phases[phase]
                        behind = b + min(size, (tall - a + step - 1) // step - i0 - i) * width
                        terms, places = (inside, along, m, end), (across, onto, b, behind)
                        rows_of = weight, apart * LANES, several
                        add_product(entries, rows_of, terms, mine, i * sh * pitch * LANES, places, mine, (sums, span))
                    for t in range(several):
                        at = ((first * results + r + t) * tall + u) * wide
                        turn_back(out, (at, results * tall * wide, lanes), (1, count), mine, sums + t * span, 0)


@helper
def _turn_bias(bias, at, count, lanes, target, to):
    """target[to + LANES*k + l] = the bias of filter k of the group in lane l, or 0."""
    if bias.size:
        turn(bias, (at, count, lanes), (1, count), (0, 0), (0, 1), target, to, whole(count))
    else:
        zero(target, to, whole(count) * LANES)


@helper
def _fill(sums, to, span, rows, count, value):
    """Every vector of row t is the one at sums[value + t*LANES]."""
    for t in range(rows):
        start = get(sums, value + t * LANES)
        for b in range(count):
            put(sums, to + t * span + b * LANES, start)


@kernel()
def correlate(gy, x, gw, window, groups, share, cut, tables, own):
    """grad_w: a unit is ``share`` filters of a block; ``own[worker]`` has room for lines, gy of a chunk, and sums."""
    (h, w, kh, _, sh, _, top, _, left, _, dh, _, oh, ow), (pitch, plane, rows, bands, some) = window, cut
    (inside, along, across, onto), images, channels, filters = tables, len(x), gw.shape[1], len(gw) // groups
    pixels, upstream, result = x.reshape(-1), gy.reshape(-1), gw.reshape(-1)
    shares, each, span = (filters + share - 1) // share, len(along), whole(some * ow) * LANES
    units, teams, apart = (groups + LANES - 1) // LANES * shares, len(own), whole(len(along)) * LANES
    turned = channels * plane * LANES
    sums = turned + share * span
    for worker in prange(teams):
        mine, totals = own[worker], np.empty(share * apart)
        for unit in range(units * worker // teams, units * (worker + 1) // teams):
            g, k0, since = unit // shares * LANES, unit % shares * share, 0
            lanes, several = min(LANES, groups - g), min(share, filters - k0)
            zero(totals, 0, share * apart)
            zero(mine, sums, share * apart)
            for band in range(images * bands):
                first, i0, done = band // bands * groups + g, band % bands * rows, 0
                for i in range(0, min(rows, oh - i0), some):
                    size = min(some, min(rows, oh - i0) - i)
                    until, count = (i + size - 1) * sh + (kh - 1) * dh + 1, size * ow
                    for k in range(several):
                        planes = ((first * filters + k0 + k) * oh + i0 + i) * ow, filters * oh * ow, lanes
                        turn(upstream, planes, (1, count), (0, 0), (0, 1), mine, turned + k * span, whole(count))
                    for c in range(channels):
                        planes, at = ((first * channels + c) * h * w, channels * h * w, lanes), c * plane * LANES
                        turn(pixels, planes, (h, w), (top - i0 * sh, left), (done, until), mine, at, pitch)
                    done, since = until, since + count
                    for k in range(0, several, ROWS):
                        rows_of, to = (turned + k * span, span, min(ROWS, several - k)), (sums + k * apart, apart)
                        terms, places = (onto, across, 0, count), (along, inside, 0, each)
                        add_product(mine, rows_of, terms, mine, i * sh * pitch * LANES, places, mine, to)
                    if since >= IN_DTYPE:
                        since = 0
                        _move(mine, sums, totals)
            _move(mine, sums, totals)
            for e in range(np.uintp(share * apart)):
                mine[np.uintp(sums) + e] = totals[e]
            for k in range(several):
                planes = (g * filters + k0 + k) * each, filters * each, lanes
                turn_back(result, planes, (1, each), mine, sums + k * apart, 0)


@helper
def _move(source, at, totals):
    """Add the sums to the totals, and begin them again."""
    a = np.uintp(at)
    for e in range(np.uintp(len(totals))):
        totals[e] += source[a + e]
        source[a + e] = 0.0
