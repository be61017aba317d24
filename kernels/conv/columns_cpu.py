"""Numba kernels of convolution as matrix products (``columns.py`` says what they compute).

The products run inside the parallel loop: a thread makes some columns, which stay in its cache, and hands them to BLAS
itself. Where the image is its own column matrix (1x1, stride 1) the product reads it in place. ``rows_cpu.py`` says
what positions, rows of columns, and strips are.
"""

import numpy as np
from numba import prange

from minicnn.kernels.blas import gemm, one_blas_thread, workers
from minicnn.kernels.conv.cpu import gather
from minicnn.kernels.conv.rows_cpu import (
    add,
    add_strips,
    copy,
    fill,
    phases_and_rows,
    run_of,
    scatter_row,
    shift,
    strips_of,
)
from minicnn.kernels.jit import helper, kernel
from minicnn.kernels.linear.product_cpu import product

__all__ = [
    "add_up",
    "columns_forward",
    "columns_grad_w",
    "columns_grad_x",
    "gather",
    "one_blas_thread",
    "product",
    "turn",
    "workers",
]

LINE, FEW = 16, 8  # channels and filters turned together: cache lines of float32, no more than a set of the cache holds


@helper
def _is_matrix(window):
    """Whether an image is its own column matrix: 1x1, stride 1, and output (i, j) reads pixel (i, j).

    Equal sizes are not enough: a transposed convolution's paddings may shift the image, or make 1x2 of 2x1.
    """
    same = window[0] == window[12] and window[1] == window[13] and window[6] == 0 and window[8] == 0
    return same and window[2] * window[3] * window[4] * window[5] == 1


@helper
def _make_columns(pixels, planes, window, place, c0, some, own):
    """own[r, b] = the columns of ``some`` channels from c0 on, at the positions of ``place``; strips come behind them.

    ``place`` is (n, images, i0, lines): the first image and how many, the first output row and how many.
    """
    n, images, i0, lines = place
    taps, run, size = window[2] * window[3], lines * window[13], window[0] * window[1]
    strips, whole = some * taps * images * run, _is_matrix(window) and run == size
    for c in range(some):
        for b in range(images):
            plane, at = ((n + b) * planes + c0 + c) * size, (c * taps * images + b) * run
            if whole:
                copy(own, at, pixels, plane, 1, run)
            elif taps == 1:
                strips_of(pixels, plane, window, i0, lines, own, at)
            else:
                strips_of(pixels, plane, window, i0, lines, own, strips)
                for tap in range(taps):
                    copy(own, at + tap * images * run, own, strips + run_of(tap, window, lines), 1, run)


@helper
def _from_columns(own, window, place, c0, some, pixels, planes):
    """The transpose of ``_make_columns``, for one image: add the columns' entries to the pixels they were."""
    n, _, i0, lines = place
    taps, run, size = window[2] * window[3], lines * window[13], window[0] * window[1]
    phases, rows = phases_and_rows(window, lines)
    strips = some * taps * run
    for c in range(some):
        plane = (n * planes + c0 + c) * size
        if taps == 1:
            add_strips(own, c * run, window, i0, lines, pixels, plane)
            continue
        fill(own, strips, window[3] * phases * rows * window[13], 0.0)
        for tap in range(taps):
            add(own, strips + run_of(tap, window, lines), 1, own, (c * taps + tap) * run, run)
        add_strips(own, strips, window, i0, lines, pixels, plane)


@kernel()
def columns_forward(x, weight, bias, y, window, groups, cut, own):
    """y = W @ columns + bias, by units of a block of positions and ``share`` filters of a group.

    A block is ``span`` whole images, or, where span is 1, ``lines`` output rows of one. ``cut`` is (span, lines, depth,
    share): a unit adds up products with the columns of ``depth`` channels at a time. ``own[worker]`` has room for the
    columns with their strips or, where span is more than 1, for these behind the products.
    """
    pixels, weights, out = x.reshape(-1), weight.reshape(-1), y.reshape(-1)
    (span, lines, depth, share), in_place = cut, _is_matrix(window) and cut[0] == 1
    planes, count, (oh, ow) = x.shape[1], y.shape[1], window[12:]
    k, inside, taps, size = count // groups, planes // groups, window[2] * window[3], oh * ow
    pieces, total = (oh + lines - 1) // lines, inside * taps
    blocks, shares = (len(x) + span - 1) // span * pieces, (k + share - 1) // share
    units, teams = blocks * groups * shares, len(own)
    for worker in prange(teams):
        mine = own[worker]
        behind = mine[share * span * size :] if span > 1 else mine
        for unit in range(units * worker // teams, units * (worker + 1) // teams):
            b, g, k0 = unit % blocks, unit // blocks % groups, unit // (blocks * groups) * share
            n, i0, some = b // pieces * span, b % pieces * lines, min(share, k - k0)
            images, down = min(span, len(x) - n), min(lines, oh - i0)
            positions = images * down * ow
            target, at, apart = mine, 0, positions
            if span == 1:
                target, at, apart = out, (n * count + g * k + k0) * size + i0 * ow, size
            for c0 in range(0, inside, depth):
                channels = min(depth, inside - c0)
                source, right = behind, (0, positions, 0)
                if in_place:
                    source, right = pixels, ((n * planes + g * inside + c0) * size + i0 * ow, size, 0)
                else:
                    _make_columns(pixels, planes, window, (n, images, i0, down), g * inside + c0, channels, behind)
                left = ((g * k + k0) * total + c0 * taps, total, 0)
                result = (at, apart, int(c0 > 0))
                gemm((some, positions, channels * taps), weights, left, source, right, target, result)
            for f in range(g * k + k0, g * k + k0 + some):
                b0 = bias[f] if bias.size else bias.dtype.type(0.0)
                if span > 1:
                    scatter_row(target, (f - g * k - k0) * positions, out, count, size, f, n, images, b0)
                elif bias.size:
                    shift(out, (n * count + f) * size + i0 * ow, positions, b0)


@kernel()
def columns_grad_x(gy, weight, gx, window, groups, cut, own):
    """gx += col2im(W^T @ gy): a unit owns ``depth`` channels of one image and takes ``lines`` output rows at a time.

    ``cut`` is (lines, depth); ``own[worker]`` has room for the columns' gradient and for strips.
    """
    upstream, weights, pixels = gy.reshape(-1), weight.reshape(-1), gx.reshape(-1)
    planes, count = gx.shape[1], gy.shape[1]
    (lines, depth), (oh, ow) = cut, window[12:]
    inside, k, taps, size = planes // groups, count // groups, window[2] * window[3], oh * ow
    parts = (inside + depth - 1) // depth
    units, teams = len(gx) * groups * parts, len(own)
    for worker in prange(teams):
        for unit in range(units * worker // teams, units * (worker + 1) // teams):
            n, g, c0 = unit // (groups * parts), unit // parts % groups, unit % parts * depth
            some = min(depth, inside - c0)
            left = ((g * k * inside + c0) * taps, inside * taps, 1)
            for i0 in range(0, oh, lines):
                down = min(lines, oh - i0)
                right, result = ((n * count + g * k) * size + i0 * ow, size, 0), (0, down * ow, 0)
                gemm((some * taps, down * ow, k), weights, left, upstream, right, own[worker], result)
                _from_columns(own[worker], window, (n, 1, i0, down), g * inside + c0, some, pixels, planes)


@kernel()
def columns_grad_w(gy, x, sums, window, groups, cut, own):
    """sums[part] (K, R) = gy @ columns^T over the blocks of each part, in their order.

    ``cut`` is (span, lines, depth): a block is ``span`` images, whose gy is gathered, (K, N*OH*OW), or, where span is
    1, ``lines`` output rows of one. A unit owns the columns of ``depth`` channels of a part; they and their strips are
    in ``own[worker]``.
    """
    upstream, pixels, entries = gy.reshape(-1), x.reshape(-1), sums.reshape(-1)
    (span, lines, depth), in_place = cut, _is_matrix(window)
    (oh, ow), planes, taps = window[12:], x.shape[1], window[2] * window[3]
    inside, size, images = planes // groups, oh * ow, len(x)
    count = gy.size // (images * size)
    k, total, parts = count // groups, inside * taps, len(sums)
    shares, pieces = (inside + depth - 1) // depth, (oh + lines - 1) // lines
    blocks = (images + span - 1) // span * pieces
    units, teams = parts * groups * shares, len(own)
    for worker in prange(teams):
        for unit in range(units * worker // teams, units * (worker + 1) // teams):
            part, g, c0 = unit // (groups * shares), unit // shares % groups, unit % shares * depth
            some, begin = min(depth, inside - c0), blocks * part // parts
            for b in range(begin, blocks * (part + 1) // parts):
                n, i0 = b // pieces * span, b % pieces * lines
                together, down = min(span, images - n), min(lines, oh - i0)
                positions = together * down * ow
                left = ((n * count + g * k) * size + i0 * ow, size, 0)
                if span > 1:
                    left = (g * k * images * size + n * size, images * size, 0)
                source, right = own[worker], (0, positions, 1)
                if in_place:
                    source, right = pixels, ((n * planes + g * inside + c0) * size + i0 * ow, size, 1)
                else:
                    _make_columns(pixels, planes, window, (n, together, i0, down), g * inside + c0, some, own[worker])
                result = ((part * count + g * k) * total + c0 * taps, total, int(b > begin))
                gemm((k, some * taps, positions), upstream, left, source, right, entries, result)


@kernel()
def turn(weight, filters):
    """filters[g, c, k, t] = weight[g, k, c, taps - 1 - t]: (groups, K/groups, C/groups, taps), then K and C change."""
    groups, k, channels, taps = weight.shape
    entries, out = weight.reshape(-1), filters.reshape(-1)
    pieces = (channels + LINE - 1) // LINE
    for piece in prange(groups * pieces):
        g, c0 = piece // pieces, piece % pieces * LINE
        for k0 in range(0, k, FEW):
            for c in range(c0, min(channels, c0 + LINE)):
                for f in range(k0, min(k, k0 + FEW)):
                    source, target = ((g * k + f) * channels + c) * taps, ((g * channels + c) * k + f) * taps
                    for t in range(taps):
                        out[np.uintp(target + t)] = entries[np.uintp(source + taps - 1 - t)]


@kernel()
def add_up(sums, total):
    """total += sums[0] + sums[1] + ..., entry by entry, in that order."""
    for i in prange(total.size):
        for part in range(len(sums)):
            total[i] += sums[part, i]
