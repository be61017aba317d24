"""Numba kernels of Winograd's convolution (``winograd.py`` says what they compute and names V, U, M).

A *row* of tiles covers ``tile`` rows of one image's output; ``rows`` of them are a block, and p counts its tiles.
A transform of a tile is two times the same one-dimensional one, down the columns and along the rows; each runs over all
tiles of a block at once, so that neighbouring tiles lie in the lanes of a vector. The interpolation points are 0, 1, -1
and infinity for tile 2; 0, a, -a, b, -b and infinity with a = sqrt(1/2), b = sqrt(2) for tile 4.

Indices of inner loops are unsigned, and arrays flat, for the reasons ``cpu.py`` gives.
"""

import math

import numpy as np
from numba import prange

from minicnn.kernels.blas import one_blas_thread, workers
from minicnn.kernels.jit import helper, kernel
from minicnn.kernels.linear.product_cpu import product

__all__ = ["one_blas_thread", "product", "winograd_forward", "winograd_grad_w", "workers"]

ROOT_HALF, ROOT_TWO = math.sqrt(0.5), math.sqrt(2)


@helper
def _numbers(like):
    """What the transforms of tile 4 multiply by: 1/2, 2, 5/2, a, b, in the dtype of ``like``."""
    number = like.dtype.type
    return number(0.5), number(2.0), number(2.5), number(ROOT_HALF), number(ROOT_TWO)


# ---- one tile: B^T d, A^T m and A g, from a tuple to a tuple


@helper
def _image_of_2(d0, d1, d2, d3):
    return d2 - d0, d2 + d1, d2 - d1, d3 - d1


@helper
def _image_of_4(d0, d1, d2, d3, d4, d5, numbers):
    half, two, more, a, b = numbers
    even_a, odd_a = d4 - two * d2, a * (d3 - two * d1)
    even_b, odd_b = d4 - half * d2, b * (d3 - half * d1)
    return d0 - more * d2 + d4, even_a + odd_a, even_a - odd_a, even_b + odd_b, even_b - odd_b, d1 - more * d3 + d5


@helper
def _output_of_2(m0, m1, m2, m3):
    return m0 + (m1 + m2), (m1 - m2) + m3


@helper
def _output_of_4(m0, m1, m2, m3, m4, m5, numbers):
    half, two, _, a, b = numbers
    even_a, odd_a, even_b, odd_b = m1 + m2, a * (m1 - m2), m3 + m4, b * (m3 - m4)
    return m0 + even_a + even_b, odd_a + odd_b, half * even_a + two * even_b, half * odd_a + two * odd_b + m5


@helper
def _spread_of_2(g0, g1):
    return g0, g0 + g1, g0 - g1, g1


@helper
def _spread_of_4(g0, g1, g2, g3, numbers):
    half, two, _, a, b = numbers
    even_a, odd_a = g0 + half * g2, a * (g1 + half * g3)
    even_b, odd_b = g0 + two * g2, b * (g1 + two * g3)
    return g0, even_a + odd_a, even_a - odd_a, even_b + odd_b, even_b - odd_b, g3


# ---- many tiles: entry s of tile b is source[at + s*gap + b]


@helper
def _put_2(target, at, gap, values):
    target[at], target[at + gap] = values


@helper
def _put_4(target, at, gap, values):
    twice = gap + gap
    target[at], target[at + gap], target[at + twice], target[at + twice + gap] = values


@helper
def _put_6(target, at, gap, values):
    v0, v1, v2, v3, v4, v5 = values
    twice = gap + gap
    _put_4(target, at, gap, (v0, v1, v2, v3))
    _put_2(target, at + twice + twice, gap, (v4, v5))


@helper
def _get_4(source, at, gap):
    twice = gap + gap
    return source[at], source[at + gap], source[at + twice], source[at + twice + gap]


@helper
def _get_6(source, at, gap):
    last = at + (gap + gap) + (gap + gap)
    d0, d1, d2, d3 = _get_4(source, at, gap)
    return d0, d1, d2, d3, source[last], source[last + gap]


@helper
def _image(tile, source, at, gap, target, to, far, count):
    """target[to + r*far + b] = (B^T d)_r of ``count`` tiles b."""
    s, g, t, f, numbers = np.uintp(at), np.uintp(gap), np.uintp(to), np.uintp(far), _numbers(source)
    if tile == 4:
        for b in range(np.uintp(count)):
            d0, d1, d2, d3, d4, d5 = _get_6(source, s + b, g)
            _put_6(target, t + b, f, _image_of_4(d0, d1, d2, d3, d4, d5, numbers))
    else:
        for b in range(np.uintp(count)):
            d0, d1, d2, d3 = _get_4(source, s + b, g)
            _put_4(target, t + b, f, _image_of_2(d0, d1, d2, d3))


@helper
def _spread(tile, source, at, gap, target, to, far, count):
    """target[to + r*far + b] = (A g)_r of ``count`` tiles b."""
    s, g, t, f, numbers = np.uintp(at), np.uintp(gap), np.uintp(to), np.uintp(far), _numbers(source)
    if tile == 4:
        for b in range(np.uintp(count)):
            g0, g1, g2, g3 = _get_4(source, s + b, g)
            _put_6(target, t + b, f, _spread_of_4(g0, g1, g2, g3, numbers))
    else:
        for b in range(np.uintp(count)):
            _put_4(target, t + b, f, _spread_of_2(source[s + b], source[s + b + g]))


@helper
def _output(tile, source, at, gap, target, to, far, count):
    """target[to + r*far + b] = (A^T m)_r of ``count`` tiles b."""
    s, g, t, f, numbers = np.uintp(at), np.uintp(gap), np.uintp(to), np.uintp(far), _numbers(source)
    if tile == 4:
        for b in range(np.uintp(count)):
            m0, m1, m2, m3, m4, m5 = _get_6(source, s + b, g)
            _put_4(target, t + b, f, _output_of_4(m0, m1, m2, m3, m4, m5, numbers))
    else:
        for b in range(np.uintp(count)):
            m0, m1, m2, m3 = _get_4(source, s + b, g)
            _put_2(target, t + b, f, _output_of_2(m0, m1, m2, m3))


# ---- one channel of the images of a block


@helper
def _read_border(pixels, at, w, tile, side, first, b, strip, to, gap):
    """strip[to + j*gap + b] = pixel ``first + tile*b + j`` of a row of ``w`` pixels, 0 outside it, for ``side`` j."""
    for j in range(side):
        q = first + tile * b + j
        strip[to + j * gap + b] = pixels[at + q] if 0 <= q < w else pixels.dtype.type(0.0)


@helper
def _read(pixels, at, w, tile, side, first, across, strip, to, gap):
    """``_read_border`` for all ``across`` tiles b, many inner ones at a time."""
    low = min(across, max(0, (tile - 1 - first) // tile))
    high = max(low, min(across, (w - side - first) // tile + 1))
    for b in range(low):
        _read_border(pixels, at, w, tile, side, first, b, strip, to, gap)
    s, t, g = np.uintp(at + first + tile * low), np.uintp(to + low), np.uintp(gap)
    if side == 6:
        for b in range(np.uintp(high - low)):
            i, k = s + np.uintp(4) * b, t + b
            one, two, four = np.uintp(1), np.uintp(2), np.uintp(4)
            strip[k], strip[k + g] = pixels[i], pixels[i + one]
            strip[k + two * g], strip[k + (two + one) * g] = pixels[i + two], pixels[i + two + one]
            strip[k + four * g], strip[k + (four + one) * g] = pixels[i + four], pixels[i + four + one]
    elif tile == 4:
        for b in range(np.uintp(high - low)):
            i, k, one, two = s + np.uintp(4) * b, t + b, np.uintp(1), np.uintp(2)
            strip[k], strip[k + g] = pixels[i], pixels[i + one]
            strip[k + two * g], strip[k + (two + one) * g] = pixels[i + two], pixels[i + two + one]
    else:
        for j in range(np.uintp(side)):
            for b in range(np.uintp(high - low)):
                strip[t + j * g + b] = pixels[s + np.uintp(2) * b + j]
    for b in range(high, across):
        _read_border(pixels, at, w, tile, side, first, b, strip, to, gap)


@helper
def _read_tiles(side, tile, images, channel, shift, first, rows, across, strip):
    """strip[s, j, p] = pixel (s, j) of the square of ``side`` x ``side`` pixels under tile p of a block."""
    (top, left, down), (h, w), pixels = shift, images.shape[2:], images.reshape(-1)
    lanes = rows * across
    for row in range(rows):
        n, i = (first + row) // down, (first + row) % down
        for s in range(side):
            u, at = tile * i + s - top, s * side * lanes + row * across
            if 0 <= u < h:
                pixel = ((n * images.shape[1] + channel) * h + u) * w
                _read(pixels, pixel, w, tile, side, -left, across, strip, at, lanes)
            else:
                for j in range(side):
                    for b in range(np.uintp(at + j * lanes), np.uintp(at + j * lanes + across)):
                        strip[b] = 0.0


@helper
def _into_tiles(spread, tile, images, channel, place, shift, first, rows, across, entries, strip, halfway):
    """entries[e, place, p] = (B^T d_p B)_e, or with ``spread`` (A g_p A^T)_e, for one channel of a block.

    ``first`` is the block's first row of tiles, ``rows`` how many, each ``across`` tiles; ``shift`` is the padding
    (top, left) and how many rows of tiles an image has.
    """
    side, lanes, flat, far = tile + 2, rows * across, entries.reshape(-1), entries.shape[1] * entries.shape[2]
    read = tile if spread else side
    _read_tiles(read, tile, images, channel, shift, first, rows, across, strip)
    run = read * lanes
    if spread:
        _spread(tile, strip, 0, run, halfway, 0, run, run)
    else:
        _image(tile, strip, 0, run, halfway, 0, run, run)
    for r in range(side):
        to = r * side * far + place * lanes
        if spread:
            _spread(tile, halfway, r * run, lanes, flat, to, far, lanes)
        else:
            _image(tile, halfway, r * run, lanes, flat, to, far, lanes)


@helper
def _write(tile, strip, at, gap, pixels, to, ow, bias):
    """pixels[to + tile*b + j] = strip[at + j*gap + b] + bias, ``ow`` pixels."""
    whole = ow // tile
    s, t, g, one, two = np.uintp(at), np.uintp(to), np.uintp(gap), np.uintp(1), np.uintp(2)
    if tile == 4:
        for b in range(np.uintp(whole)):
            i, k = t + np.uintp(4) * b, s + b
            pixels[i], pixels[i + one] = strip[k] + bias, strip[k + g] + bias
            pixels[i + two], pixels[i + two + one] = strip[k + two * g] + bias, strip[k + (two + one) * g] + bias
    else:
        for b in range(np.uintp(whole)):
            i, k = t + two * b, s + b
            pixels[i], pixels[i + one] = strip[k] + bias, strip[k + g] + bias
    for j in range(ow - whole * tile):
        pixels[to + whole * tile + j] = strip[at + j * gap + whole] + bias


@helper
def _out_of_tiles(tile, products, filter_, y, k, bias, down, first, rows, across, strip, halfway):
    """The pixels A^T m_p A of filter ``k`` of a block, whose products are products[e, filter_, p]; plus ``bias``."""
    side, lanes = tile + 2, rows * across
    count, oh, ow = y.shape[1:]
    flat, pixels, gap = products.reshape(-1), y.reshape(-1), products.shape[1] * lanes
    for j in range(side):
        _output(tile, flat, j * gap + filter_ * lanes, side * gap, halfway, j * lanes, side * lanes, lanes)
    for r in range(tile):
        _output(tile, halfway, r * side * lanes, lanes, strip, r * tile * lanes, lanes, lanes)
    for row in range(rows):
        n, i = (first + row) // down, (first + row) % down
        for r in range(min(tile, oh - tile * i)):
            to, at = ((n * count + k) * oh + tile * i + r) * ow, r * tile * lanes + row * across
            _write(tile, strip, at, lanes, pixels, to, ow, bias)


# ---- the kernels


@kernel()
def winograd_forward(x, filters, bias, y, begin, tile, top, left, rows, share, own):
    """y (N, K, OH, OW) of x and filters U (t*t, K, C), by units of ``rows`` rows of tiles and ``share`` filters.

    The channels and filters are those from ``begin`` on, a pair: one group of several.

    Worker w of the ``len(own)`` takes units one after another and keeps V and M of each in ``own[w]``.
    """
    (count, channels), (oh, ow) = filters.shape[1:], y.shape[2:]
    down, across, side = (oh + tile - 1) // tile, (ow + tile - 1) // tile, tile + 2
    blocks = (len(x) * down + rows - 1) // rows
    units, workers = blocks * ((count + share - 1) // share), len(own)
    for worker in prange(workers):
        strip, halfway = np.empty((2, side * side * min(rows, len(x) * down) * across), x.dtype)
        for unit in range(units * worker // workers, units * (worker + 1) // workers):
            first, k0 = unit % blocks * rows, unit // blocks * share
            some, k1 = min(rows, len(x) * down - first), min(count, k0 + share)
            tiles = some * across
            size = side * side * channels * tiles
            images = own[worker, :size].reshape((side * side, channels, tiles))
            products = own[worker, size : size + side * side * (k1 - k0) * tiles].reshape((side * side, k1 - k0, tiles))
            for c in range(channels):
                plane = begin[0] + c
                _into_tiles(False, tile, x, plane, c, (top, left, down), first, some, across, images, strip, halfway)
            for e in range(side * side):
                np.dot(filters[e, k0:k1], images[e], products[e])
            for k in range(k0, k1):
                b = bias[begin[1] + k] if len(bias) else bias.dtype.type(0.0)
                _out_of_tiles(tile, products, k - k0, y, begin[1] + k, b, down, first, some, across, strip, halfway)


@kernel()
def winograd_grad_w(gy, x, sums, begin, tile, top, left, rows, entries, own):
    """sums[e] (K, C) = sum over the tiles p of (A gy_p A^T)[e] V[e]^T, a block of ``rows`` rows of tiles at a time.

    ``entries`` holds both factors of a block, ``own[w]`` what worker w adds to its sums.
    """
    (count, channels), (oh, ow) = sums.shape[1:], gy.shape[2:]
    down, across, side = (oh + tile - 1) // tile, (ow + tile - 1) // tile, tile + 2
    squares, workers = side * side, len(own)
    for first in range(0, len(x) * down, rows):
        some = min(rows, len(x) * down - first)
        tiles = some * across
        size = squares * channels * tiles
        images = entries[:size].reshape((squares, channels, tiles))
        spread = entries[size : size + squares * count * tiles].reshape((squares, count, tiles))
        for plane in prange(channels + count):
            strip, halfway = np.empty((2, side * side * min(rows, len(x) * down) * across), x.dtype)
            if plane < channels:
                c, pad = begin[0] + plane, (top, left, down)
                _into_tiles(False, tile, x, c, plane, pad, first, some, across, images, strip, halfway)
            else:
                k, pad = plane - channels, (0, 0, down)
                _into_tiles(True, tile, gy, begin[1] + k, k, pad, first, some, across, spread, strip, halfway)
        for worker in prange(workers):
            part = own[worker].reshape((count, channels))
            for e in range(squares * worker // workers, squares * (worker + 1) // workers):
                if first == 0:
                    np.dot(spread[e], images[e].T, sums[e])
                else:
                    np.dot(spread[e], images[e].T, part)
                    sums[e] += part
