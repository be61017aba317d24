"""Lines of planes turned into vectors and back, for the plan ``direct`` on the CPU.

Sixteen groups, a *block*, lie side by side in the lanes of vectors (``kernels/lanes.py``). What a pass reads is turned
so, line by line, with zeros for the padding: ``pixels[line, column, lane]``. Every tap of every output then is one
multiply-add of vectors, whatever kernel, stride and dilation are; borders are no special case, and the sums of grad_w
need no sum over lanes. Lines are made just before they are read, so that they are in a near cache.

``planes`` is (where the first begins, from one to the next, how many there are), their size (rows, columns).
"""

import numpy as np

from minicnn.kernels.jit import helper
from minicnn.kernels.lanes import LANES, PIXELS, gather, scatter


@helper
def whole(count):
    """``count`` rounded up to what is turned at once."""
    return (count + PIXELS - 1) // PIXELS * PIXELS


@helper
def vectors(like, count):
    """An array whose vectors do not straddle two lines of the cache."""
    array = np.empty(count + LANES, like.dtype)
    start = -array.ctypes.data % 64 // array.itemsize
    return array[start : start + count]


@helper
def zero(target, at, count):
    t = np.uintp(at)
    for b in range(np.uintp(count)):
        target[t + b] = 0.0


@helper
def turn(source, planes, size, corner, lines, pixels, at, pitch):
    """pixels[at + LANES*(r*pitch + b) + l] = pixel (r - top, b - left) of plane l, 0 outside it, for the lines r."""
    (plane, apart, lanes), (h, w), (top, left) = planes, size, corner
    for r in range(lines[0], lines[1]):
        u = r - top
        for b in range(0, pitch, PIXELS):
            to, start = at + (r * pitch + b) * LANES, plane + u * w + b - left
            low, high = left - b, left + w - b
            if u < 0 or u >= h or high <= 0 or low >= PIXELS:
                zero(pixels, to, PIXELS * LANES)
            elif lanes == LANES:  # known to the compiler, which then asks no more which planes are there
                gather(pixels, to, source, start, apart, low, high, LANES)
            else:
                gather(pixels, to, source, start, apart, low, high, lanes)


@helper
def turn_back(target, planes, size, pixels, at, pitch):
    """Pixel (r, b) of plane l = pixels[at + LANES*(r*pitch + b) + l]."""
    (plane, apart, lanes), (h, w) = planes, size
    for r in range(h):
        for b in range(0, w, PIXELS):
            to, start = plane + r * w + b, at + (r * pitch + b) * LANES
            if lanes == LANES:
                scatter(target, to, apart, w - b, LANES, pixels, start)
            else:
                scatter(target, to, apart, w - b, lanes, pixels, start)


@helper
def place(unit, images, bands, groups):
    """Band, group and image of the first lane of a unit, and how many lanes have groups. Units of a block follow."""
    band, n, group = unit % bands, unit // bands % images, unit // bands // images * LANES
    return band, group, n, min(LANES, groups - group)
