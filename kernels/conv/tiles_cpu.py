"""Numba kernels of convolution without columns: ``tiles.py`` says how the image is laid out.

A tile is FILTERS filters at two vectors of places (or, at an end, at one). Its sums stay in registers while the taps of
all channels are added: each needs the pixels from the cache and a weight a filter, spread over a vector.
"""

import numpy as np
from numba import prange

from minicnn.kernels.blas import workers
from minicnn.kernels.conv.rows_cpu import copy, fill, inside
from minicnn.kernels.jit import helper, kernel
from minicnn.kernels.lanes import LANES, get, multiply_add, put, spread

__all__ = ["pack", "tiles_forward", "workers"]

FILTERS, TILE = 8, 2 * LANES  # filters and places of a tile


@kernel()
def pack(weight, flip, packed):
    """packed[g, b, c*taps + t, f] = weight[g, b*FILTERS + f, c, t], 0 for filters that are not there.

    With ``flip`` it is weight[g, c, b*FILTERS + f, taps - 1 - t]: filters and channels exchanged, taps turned round.
    """
    groups, first, second, taps = weight.shape
    k, channels = (second, first) if flip else (first, second)
    blocks, entries, out = packed.shape[1], weight.reshape(-1), packed.reshape(-1)
    for block in prange(groups * blocks):
        g, k0 = block // blocks, block % blocks * FILTERS
        some = min(FILTERS, k - k0)
        if some < FILTERS:
            fill(out, block * channels * taps * FILTERS, channels * taps * FILTERS, 0.0)
        for c in range(channels):
            target = (block * channels + c) * taps * FILTERS
            for f in range(some):
                source = ((g * channels + c) * k + k0 + f if flip else (g * k + k0 + f) * channels + c) * taps
                for t in range(taps):
                    tap = taps - 1 - t if flip else t
                    out[np.uintp(target + t * FILTERS + f)] = entries[np.uintp(source + tap)]


@helper
def _lay_out(pixels, plane, window, i0, layout, own, at):
    """own[at + ((a*across + b)*rows + r)*pitch + j] = pixel (sh*(i0 + r) + a - top, sw*j + b - left), or 0."""
    h, w, sh, sw, top, left = window[0], window[1], window[4], window[5], window[6], window[8]
    down, across, rows, pitch = layout
    for phase in range(down * across):
        a, offset = phase // across, phase % across - left
        low, high = inside(w, offset, sw, pitch)
        for r in range(rows):
            u = sh * (i0 + r) + a - top
            if u < 0 or u >= h or low == high:
                fill(own, at, pitch, 0.0)
            else:
                fill(own, at, low, 0.0)
                copy(own, at + low, pixels, plane + u * w + low * sw + offset, sw, high - low)
                fill(own, at + high, pitch - high, 0.0)
            at += pitch


@helper
def _spread_eight(source, at):
    four = spread(source, at), spread(source, at + 1), spread(source, at + 2), spread(source, at + 3)
    at += 4
    return (*four, spread(source, at), spread(source, at + 1), spread(source, at + 2), spread(source, at + 3))


@helper
def _add_eight(sums, weights, at, pixels):
    """sums[f] + weights[at + f] * pixels."""
    return (
        multiply_add(spread(weights, at), pixels, sums[0]),
        multiply_add(spread(weights, at + 1), pixels, sums[1]),
        multiply_add(spread(weights, at + 2), pixels, sums[2]),
        multiply_add(spread(weights, at + 3), pixels, sums[3]),
        multiply_add(spread(weights, at + 4), pixels, sums[4]),
        multiply_add(spread(weights, at + 5), pixels, sums[5]),
        multiply_add(spread(weights, at + 6), pixels, sums[6]),
        multiply_add(spread(weights, at + 7), pixels, sums[7]),
    )


@helper
def _put_eight(target, at, apart, sums):
    put(target, at, sums[0])
    put(target, at + apart, sums[1])
    put(target, at + 2 * apart, sums[2])
    put(target, at + 3 * apart, sums[3])
    put(target, at + 4 * apart, sums[4])
    put(target, at + 5 * apart, sums[5])
    put(target, at + 6 * apart, sums[6])
    put(target, at + 7 * apart, sums[7])


@helper
def _tile(pixels, at, channels, plane, offsets, weights, v, bias, b0, target, to, apart):
    """target[to + f*apart + b] = bias[b0 + f] + the sum over channels c and taps t of a weight and a pixel.

    The pixel is pixels[at + c*plane + offsets[t] + b].
    """
    first = _spread_eight(bias, b0)
    second = first
    for c in range(channels):
        for t in range(len(offsets)):
            pixel = at + c * plane + offsets[t]
            first = _add_eight(first, weights, v, get(pixels, pixel))
            second = _add_eight(second, weights, v, get(pixels, pixel + LANES))
            v += FILTERS
    _put_eight(target, to, apart, first)
    _put_eight(target, to + LANES, apart, second)


@helper
def _half_tile(pixels, at, channels, plane, offsets, weights, v, bias, b0, target, to, apart):
    """As ``_tile``, at one vector of places."""
    sums = _spread_eight(bias, b0)
    for c in range(channels):
        for t in range(len(offsets)):
            sums = _add_eight(sums, weights, v, get(pixels, at + c * plane + offsets[t]))
            v += FILTERS
    _put_eight(target, to, apart, sums)


@helper
def _tiles(pixels, at, places, within, channels, plane, offsets, weights, v, bias, b0, target, to, apart):
    """All tiles of a block of filters at ``places``; ``within``, the last begins earlier so that it ends with them."""
    for begin in range(0, places, TILE):
        if places - begin > LANES:
            b = min(begin, places - TILE) if within else begin
            _tile(pixels, at + b, channels, plane, offsets, weights, v, bias, b0, target, to + b, apart)
        else:
            b = places - LANES if within else begin
            _half_tile(pixels, at + b, channels, plane, offsets, weights, v, bias, b0, target, to + b, apart)


@helper
def _without_gaps(own, start, pitch, lines, ow, out, at):
    """out[at + i*ow + j] = own[start + i*pitch + j]."""
    for i in range(lines):
        copy(out, at + i * ow, own, start + i * pitch, 1, ow)


@kernel()
def tiles_forward(x, packed, bias, y, window, groups, cut, layout, offsets, own):
    """y = conv(x) + bias, by units: ``lines`` output rows of ``span`` images, ``share`` blocks of filters of a group.

    ``cut`` is (span, lines, share, in_place), ``layout`` (phases down, across, rows, pitch) and ``offsets`` what a tap
    adds to a place. ``own[worker]`` has room for the images of a unit, a line of zeros, and the sums of some filters.
    """
    pixels, weights, out = x.reshape(-1), packed.reshape(-1), y.reshape(-1)
    (span, lines, share, in_place), pitch = cut, layout[3]
    planes, count, oh, ow, full = x.shape[1], y.shape[1], window[12], window[13], window[0] * window[1]
    k, channels, size = count // groups, planes // groups, oh * ow
    blocks, plane = (k + FILTERS - 1) // FILTERS, layout[0] * layout[1] * layout[2] * pitch
    pieces, shares = (oh + lines - 1) // lines, (blocks + share - 1) // share
    parts = (len(x) + span - 1) // span * pieces
    units, teams = parts * groups * shares, len(own)
    for worker in prange(teams):
        mine, zeros = own[worker], span * channels * plane
        sums, apart = zeros + pitch, (own.shape[1] - zeros - pitch) // FILTERS
        for unit in range(units * worker // teams, units * (worker + 1) // teams):
            b, g, s = unit % parts, unit // parts % groups, unit // (parts * groups)
            n, i0 = b // pieces * span, b % pieces * lines
            images, down = min(span, len(x) - n), min(lines, oh - i0)
            places = (down - 1) * pitch + ow
            read = in_place and places >= TILE
            if not read:
                for c in range(images * channels):
                    first = ((n + c // channels) * planes + g * channels + c % channels) * full
                    _lay_out(pixels, first, window, i0, layout, mine, c * plane)
                fill(mine, images * channels * plane, pitch, 0.0)  # what the last line shares with the next
            source = pixels if read else mine
            step = full if read else plane
            for block in range(s * share, min(blocks, (s + 1) * share)):
                b0, some = (g * blocks + block) * FILTERS, min(FILTERS, k - block * FILTERS)
                v, straight = b0 * channels * len(offsets), read and some == FILTERS
                for image in range(images):
                    at = ((n + image) * planes + g * channels) * full + i0 * ow if read else image * channels * plane
                    end = ((n + image) * count + g * k + block * FILTERS) * size + i0 * ow
                    target = out if straight else mine
                    to, gap = (end, size) if straight else (sums, apart)
                    _tiles(source, at, places, read, channels, step, offsets, weights, v, bias, b0, target, to, gap)
                    if not straight:
                        for f in range(some):
                            _without_gaps(mine, sums + f * apart, pitch, down, ow, out, end + f * size)
