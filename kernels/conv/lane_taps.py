"""Passes of the plan ``direct``: multiply-adds of whole vectors over some taps of some rows of outputs.

A pass takes as many taps as there are registers for their weights (or, in grad_w, sums). Those of a row are neighbours,
so that their pixels lie at fixed distances from one address. Squares of 5, 3 and 2 taps have passes of their own.

``to`` and ``where`` say where output (i, b) and its first pixel lie: (start, row to row, output to output). ``gap`` is
from one row of taps to the next; ``v`` is where the weights or sums of the first tap lie, LANES from one to the next.
"""

from minicnn.kernels.jit import helper
from minicnn.kernels.lanes import LANES, add, get, multiply_add, nothing, put

# ---- taps side by side, as tuples


@helper
def _get_3(source, at):
    return get(source, at), get(source, at + LANES), get(source, at + 2 * LANES)


@helper
def _get_5(source, at):
    return (*_get_3(source, at), get(source, at + 3 * LANES), get(source, at + 4 * LANES))


@helper
def _get_9(source, at):
    return _get_3(source, at) + _get_3(source, at + 3 * LANES) + _get_3(source, at + 6 * LANES)


@helper
def _get_25(source, at):
    first, second = _get_5(source, at) + _get_5(source, at + 5 * LANES), _get_5(source, at + 10 * LANES)
    return first + second + _get_5(source, at + 15 * LANES) + _get_5(source, at + 20 * LANES)


@helper
def _put_3(target, at, v):
    put(target, at, v[0])
    put(target, at + LANES, v[1])
    put(target, at + 2 * LANES, v[2])


@helper
def _put_5(target, at, v):
    _put_3(target, at, v[:3])
    put(target, at + 3 * LANES, v[3])
    put(target, at + 4 * LANES, v[4])


@helper
def _sum_2(total, w, pixels, at):
    """total + the sum of w[q] * pixel q."""
    return multiply_add(w[1], get(pixels, at + LANES), multiply_add(w[0], get(pixels, at), total))


@helper
def _sum_3(total, w, pixels, at):
    return multiply_add(w[2], get(pixels, at + 2 * LANES), _sum_2(total, w[:2], pixels, at))


@helper
def _sum_5(total, w, pixels, at):
    return _sum_2(_sum_3(total, w[:3], pixels, at), w[3:], pixels, at + 3 * LANES)


@helper
def _each_3(sums, g, pixels, at):
    """sums[q] + g * pixel q."""
    return (
        multiply_add(g, get(pixels, at), sums[0]),
        multiply_add(g, get(pixels, at + LANES), sums[1]),
        multiply_add(g, get(pixels, at + 2 * LANES), sums[2]),
    )


@helper
def _each_5(sums, g, pixels, at):
    last = multiply_add(g, get(pixels, at + 4 * LANES), sums[4])
    return (*_each_3(sums[:3], g, pixels, at), multiply_add(g, get(pixels, at + 3 * LANES), sums[3]), last)


# ---- out += the sum of weight * pixel; ``fresh`` sums begin with ``start``, others with what is there


@helper
def _add_1(out, to, pixels, where, size, weights, v, fresh, start):
    w = get(weights, v)
    for i in range(size[0]):
        for b in range(size[1]):
            o, at = to[0] + i * to[1] + b * to[2], where[0] + i * where[1] + b * where[2]
            put(out, o, multiply_add(w, get(pixels, at), start if fresh else get(out, o)))


@helper
def _add_2x2(out, to, pixels, where, gap, size, weights, v, fresh, start):
    w = (*_get_3(weights, v), get(weights, v + 3 * LANES))
    for i in range(size[0]):
        for b in range(size[1]):
            o, at = to[0] + i * to[1] + b * to[2], where[0] + i * where[1] + b * where[2]
            total = _sum_2(start if fresh else get(out, o), w[:2], pixels, at)
            put(out, o, _sum_2(total, w[2:], pixels, at + gap))


@helper
def _add_3x3(out, to, pixels, where, gap, size, weights, v, fresh, start):
    w = _get_9(weights, v)
    for i in range(size[0]):
        for b in range(size[1]):
            o, at = to[0] + i * to[1] + b * to[2], where[0] + i * where[1] + b * where[2]
            total = _sum_3(start if fresh else get(out, o), w[:3], pixels, at)
            total = _sum_3(total, w[3:6], pixels, at + gap)
            put(out, o, _sum_3(total, w[6:], pixels, at + 2 * gap))


@helper
def _add_5x5(out, to, pixels, where, gap, size, weights, v, fresh, start):
    """Three sums side by side: one would wait for each of its multiply-adds."""
    w = _get_25(weights, v)
    for i in range(size[0]):
        for b in range(size[1]):
            o, at = to[0] + i * to[1] + b * to[2], where[0] + i * where[1] + b * where[2]
            one = _sum_5(start if fresh else get(out, o), w[:5], pixels, at)
            two = _sum_5(nothing(out), w[5:10], pixels, at + gap)
            three = _sum_5(nothing(out), w[10:15], pixels, at + 2 * gap)
            one = _sum_5(one, w[15:20], pixels, at + 3 * gap)
            two = _sum_5(two, w[20:], pixels, at + 4 * gap)
            put(out, o, add(add(one, two), three))


@helper
def add_taps(out, to, pixels, where, taps, size, weights, v, fresh, start):
    """``taps``: how many rows and columns of them, and from one to the next, down and across."""
    rows, columns, gap, across = taps
    square = rows if rows == columns and (across == LANES or columns == 1) else 0
    if square == 5:
        _add_5x5(out, to, pixels, where, gap, size, weights, v, fresh, start)
    elif square == 3:
        _add_3x3(out, to, pixels, where, gap, size, weights, v, fresh, start)
    elif square == 2:
        _add_2x2(out, to, pixels, where, gap, size, weights, v, fresh, start)
    else:
        for t in range(rows * columns):
            one = where[0] + t // columns * gap + t % columns * across, where[1], where[2]
            _add_1(out, to, pixels, one, size, weights, v + t * LANES, fresh and t == 0, start)


# ---- sums += gy * pixel, over all outputs


@helper
def _correlate_1(gy, to, pixels, where, size, sums, v):
    s = get(sums, v)
    for i in range(size[0]):
        for b in range(size[1]):
            g, at = get(gy, to[0] + i * to[1] + b * to[2]), where[0] + i * where[1] + b * where[2]
            s = multiply_add(g, get(pixels, at), s)
    put(sums, v, s)


@helper
def _correlate_3x3(gy, to, pixels, where, gap, size, sums, v):
    s0, s1, s2 = _get_3(sums, v), _get_3(sums, v + 3 * LANES), _get_3(sums, v + 6 * LANES)
    for i in range(size[0]):
        for b in range(size[1]):
            g, at = get(gy, to[0] + i * to[1] + b * to[2]), where[0] + i * where[1] + b * where[2]
            s0 = _each_3(s0, g, pixels, at)
            s1 = _each_3(s1, g, pixels, at + gap)
            s2 = _each_3(s2, g, pixels, at + 2 * gap)
    _put_3(sums, v, s0)
    _put_3(sums, v + 3 * LANES, s1)
    _put_3(sums, v + 6 * LANES, s2)


@helper
def _correlate_5x5(gy, to, pixels, where, gap, size, sums, v):
    s0, s1, s2 = _get_5(sums, v), _get_5(sums, v + 5 * LANES), _get_5(sums, v + 10 * LANES)
    s3, s4 = _get_5(sums, v + 15 * LANES), _get_5(sums, v + 20 * LANES)
    for i in range(size[0]):
        for b in range(size[1]):
            g, at = get(gy, to[0] + i * to[1] + b * to[2]), where[0] + i * where[1] + b * where[2]
            s0 = _each_5(s0, g, pixels, at)
            s1 = _each_5(s1, g, pixels, at + gap)
            s2 = _each_5(s2, g, pixels, at + 2 * gap)
            s3 = _each_5(s3, g, pixels, at + 3 * gap)
            s4 = _each_5(s4, g, pixels, at + 4 * gap)
    _put_5(sums, v, s0)
    _put_5(sums, v + 5 * LANES, s1)
    _put_5(sums, v + 10 * LANES, s2)
    _put_5(sums, v + 15 * LANES, s3)
    _put_5(sums, v + 20 * LANES, s4)


@helper
def correlate_taps(gy, to, pixels, where, taps, size, sums, v):
    rows, columns, gap, across = taps
    if rows == 5 and columns == 5 and across == LANES:
        _correlate_5x5(gy, to, pixels, where, gap, size, sums, v)
    elif rows == 3 and columns == 3 and across == LANES:
        _correlate_3x3(gy, to, pixels, where, gap, size, sums, v)
    else:
        for t in range(rows * columns):
            one = where[0] + t // columns * gap + t % columns * across, where[1], where[2]
            _correlate_1(gy, to, pixels, one, size, sums, v + t * LANES)
