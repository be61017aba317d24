"""The plan ``direct`` on the CPU for groups of several channels and filters (ResNeXt's): tables for its kernels.

As in ``direct_cpu.py`` sixteen groups lie side by side in the lanes of vectors. Each pass is a matrix product of them

    forward  y[k, (i, j)]      = sum over the taps (c, p, q) of weight[k, (c, p, q)] * pixel
    grad_x   gx[c, (i, j)]     = sum over the taps (k, p, q) of weight[c, (k, p, q)] * pixel of gy
    grad_w   gw[k, (c, p, q)]  = sum over the outputs (i, j) of gy[k, (i, j)] * pixel

whose right factor, the columns, is never made: among padded lines (channels, lines, pitch) its entries lie at

    (c*lines + p*dh)*pitch + q*dw   +   i*sh*pitch + j*sw,

a sum of what the tap says and of what the output says, each read from a table. grad_x takes apart the pixels
(sh*i + a, sw*j + b) of each (a, b), a *phase*: they are a correlation of gy at stride 1, with taps of their own.

**See** Dukhan 2019, *The Indirect Convolution Algorithm*, arXiv:1907.02129 (one table of pointers for both).
"""

from functools import lru_cache
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from minicnn.kernels.arrays import Array
from minicnn.kernels.conv import grouped_cpu
from minicnn.kernels.conv.turned import read_by
from minicnn.kernels.conv.workspace import scratch
from minicnn.kernels.lanes import LANES, PIXELS
from minicnn.kernels.window import Window2d

# Entries of the lines that a band turns: they fit in half of a second-level cache.
BAND = 1 << 17
# Outputs at a time, about; their lines are made just before.
OUTPUTS = 128
# Filters for which grad_w turns the image once.
SHARE = 8

_Table = np.ndarray[Any, Any]
_kernels: Any = grouped_cpu  # whose types Numba infers


class _Cut(NamedTuple):
    """How outputs are cut into bands, a unit of work, and these into chunks."""

    pitch: int  # vectors from line to line
    plane: int  # vectors from plane to plane
    rows: int  # of outputs of a band
    bands: int
    some: int  # rows of outputs of a chunk


class _Tables(NamedTuple):
    """Where in vectors a pass finds its operands (``lane_products.add_product``)."""

    inside: _Table  # a tap's weight in a filter
    along: _Table  # a tap's pixel, of output 0
    across: _Table  # an output's pixel, of tap 0
    onto: _Table  # an output


class _Layout(NamedTuple):
    """What the kernel of forward and grad_x goes by: ``window`` slides over what it reads."""

    window: Window2d
    cut: _Cut
    phases: _Table  # rows: the first tap, behind the last, the first output of a chunk, outputs of a row, a
    tables: _Tables


def direct_forward(x: Array, weight: Array, bias: Array, y: Array, window: tuple[int, ...], groups: int) -> None:
    """``y[n, k] = bias[k] +`` the taps of its group's channels; no entries of bias are zeros."""
    weights, pitch = _turned(weight, groups)
    layout = _forward_layout(Window2d(*window), weight.shape[1])
    _slide(x, weights, pitch, bias, y, (groups, weight.shape[1], len(weight) // groups, 1), layout)


def direct_grad_x(gy: Array, weight: Array, gx: Array, window: tuple[int, ...], groups: int) -> None:
    """``gx[n, c] =`` weight * gy at every tap that read the pixel."""
    weights, pitch = _turned(weight, groups)
    shape, filters = Window2d(*window), len(weight) // groups
    layout, no_bias = _grad_x_layout(shape, filters, pitch), gy.reshape(-1)[:0]
    _slide(gy, weights, shape.taps, no_bias, gx, (groups, filters, weight.shape[1], shape.sh), layout)


def direct_grad_w(gy: Array, x: Array, gw: Array, window: tuple[int, ...], groups: int) -> None:
    """``gw[k, c, p, q] =`` the sum over n, i, j of gy * the pixel that the tap reads."""
    _, cut, _, tables = _forward_layout(Window2d(*window), gw.shape[1])
    filters, each = len(gw) // groups, gw[0].size
    share = min(SHARE, filters)
    room = gw.shape[1] * cut.plane + share * (_whole(cut.some * window[13]) + _whole(each))
    own = scratch(x, "direct lines", (_kernels.workers(), room * LANES))
    _kernels.correlate(gy, x, gw, window, groups, share, tuple(cut), tuple(tables), own)


def _slide(
    source: Array,
    weights: Array,
    apart: int,
    bias: Array,
    target: Array,
    sizes: tuple[int, int, int, int],
    layout: _Layout,
) -> None:
    """Forward and grad_x; ``apart`` and ``sizes`` as in ``grouped_cpu.slide``."""
    _, planes, results, step = sizes
    window, cut, phases, tables = layout
    span = _whole(cut.some * step * target.shape[3])
    room = planes * cut.plane + _kernels.ROWS * span + _whole(results)
    own = scratch(source, "direct lines", (_kernels.workers(), room * LANES))
    how = tuple(window), sizes, tuple(cut), phases, tuple(tables)
    _kernels.slide(source, weights, apart, bias, target, *how, own)


def _turned(weight: Array, groups: int) -> tuple[Array, int]:
    """Weights in lanes, (blocks, filters, pitch, LANES) flat, and the pitch."""
    filters, pitch = len(weight) // groups, _whole(weight[0].size)
    weights = scratch(weight, "direct weights", (-(-groups // LANES), filters * pitch * LANES))
    _kernels.turn_weights(weight.reshape(groups, filters, -1), weights)
    return weights, pitch


def _whole(count: int) -> int:
    """``count`` rounded up to what is turned at once."""
    return -(-count // PIXELS) * PIXELS


def _cut(window: Window2d, planes: int) -> _Cut:
    reach = (window.kh - 1) * window.dh
    # Odd, for lines at a distance of a power of two would share few places of a first-level cache.
    pitch = ((window.ow - 1) * window.sw + (window.kw - 1) * window.dw + 1) | 1
    most = max(1, (BAND // (planes * pitch * LANES) - reach - 1) // window.sh + 1)
    bands = -(-window.oh // most)
    rows = -(-window.oh // bands)
    some = -(-rows // -(-rows * window.ow // OUTPUTS))
    lines = (rows - 1) * window.sh + reach + 1
    return _Cut(pitch, lines * pitch + PIXELS, rows, bands, some)  # the last line is turned to behind its end


@lru_cache(maxsize=256)
def _forward_layout(window: Window2d, channels: int) -> _Layout:
    """One phase of all taps."""
    cut = _cut(window, channels)
    c, p, q = np.indices((channels, window.kh, window.kw))
    i, j = np.indices((cut.some, window.ow))
    along = c * cut.plane + p * window.dh * cut.pitch + q * window.dw
    across = i * window.sh * cut.pitch + j * window.sw
    tables = _joined([(np.arange(along.size), along, across, np.arange(across.size))])
    return _Layout(window, cut, np.array([(0, along.size, 0, window.ow, 0)]), tables)


@lru_cache(maxsize=256)
def _grad_x_layout(window: Window2d, filters: int, pitch: int) -> _Layout:
    """The window that slides over gy for all phases; ``pitch`` is from filter to filter of the weights."""
    down = [read_by(a, window.kh, window.sh, window.top, window.dh) for a in range(window.sh)]
    right = [read_by(b, window.kw, window.sw, window.left, window.dw) for b in range(window.sw)]
    (y0, y1), (x0, x1) = ((min(all_), max(all_)) for all_ in ([*chain(*axis)] for axis in (down, right)))
    out = -(-window.h // window.sh), -(-window.w // window.sw)
    slid = Window2d(window.oh, window.ow, y1 - y0 + 1, x1 - x0 + 1, 1, 1, -y0, 0, -x0, 0, 1, 1, *out)
    cut, k = _cut(slid, filters), np.arange(filters)[:, None]
    parts: list[tuple[_Table, ...]] = []
    phases, first, begin = [], 0, 0
    for a, b in np.ndindex(window.sh, window.sw):
        taps = [(u - y0, v - x0, down[a][u] * window.kw + right[b][v]) for u in down[a] for v in right[b]]
        u, v, tap = np.array(taps, np.int64).reshape(-1, 3).T
        i, j = np.indices((cut.some, len(range(b, window.w, window.sw))))
        onto = (i * window.sh + a) * window.w + j * window.sw + b
        parts.append((k * pitch + tap, k * cut.plane + u * cut.pitch + v, i * cut.pitch + j, onto))
        phases.append((first, first + filters * len(taps), begin, i.shape[1], a))
        first, begin = first + filters * len(taps), begin + i.size
    return _Layout(slid, cut, np.array(phases), _joined(parts))


def _joined(parts: list[tuple[_Table, ...]]) -> _Tables:
    """The tables of all phases, in entries."""
    return _Tables(*(LANES * np.concatenate([part.ravel() for part in table]) for table in zip(*parts, strict=True)))
