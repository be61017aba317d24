"""Convolution without columns, on processors with enough registers: forward, and at stride 1 the image's gradient.

A plane is laid out so that what a tap reads of all outputs is one run of memory. At stride (sh, sw) it is taken apart
into its *phases*: pixel (sh*r + a, sw*j + b) is entry (r, j) of phase (a, b). Output (i, j) is *place* ``i*pitch + j``,
and tap (p, q) reads of it the entry ``place + offset`` with

    p*dh = m*sh + a,    q*dw = l*sw + b,    offset = ((a*across + b)*rows + m)*pitch + l.

Zeros right of one line are also those left of the next. Places between the lines are computed and left out. A 1x1
convolution at stride 1 reads the image where it lies, and its places are the outputs.
"""

import importlib
from functools import cache, lru_cache
from typing import Any, NamedTuple

import numpy as np

from minicnn.kernels.arrays import Array
from minicnn.kernels.conv.workspace import scratch
from minicnn.kernels.window import Window2d

PLACES = 32  # with fewer outputs an image does not pay for packing the filters
POINTWISE_PLACES = 512  # what BLAS reads in place, it multiplies faster up to here
ENTRIES = 196_608  # that a unit lays out: 768 KiB of float32
UNITS = 4


class _Layout(NamedTuple):
    """Phases down and across a plane, and each one's lines and their length."""

    down: int
    across: int
    rows: int
    pitch: int


@cache
def enough_registers() -> bool:
    """Whether they hold a tile's sums, 16 vectors of 16 numbers; where they do not, BLAS is faster."""
    return bool(importlib.import_module("llvmlite.binding").get_host_cpu_features().get("avx512f"))


def fits(window: Window2d) -> bool:
    """Whether a convolution has enough outputs for tiles, and this processor the registers."""
    enough = POINTWISE_PLACES if window.is_pointwise else PLACES
    return window.oh * window.ow >= enough and enough_registers()


def _layout(window: Window2d, lines: int) -> _Layout:
    """How planes lie for ``lines`` output rows."""
    reach_h, reach_w = (window.kh - 1) * window.dh, (window.kw - 1) * window.dw
    wide = window.ow + reach_w // window.sw
    zeros_left, zeros_right = window.left // window.sw, wide + -(window.w + window.left) // window.sw
    shared = max(0, min(zeros_left, zeros_right, reach_w // window.sw))
    phases = min(window.sh, reach_h + 1), min(window.sw, reach_w + 1)
    return _Layout(*phases, lines + reach_h // window.sh, wide - shared)


@lru_cache(maxsize=256)
def _offsets(window: Window2d, layout: _Layout) -> np.ndarray[Any, Any]:
    """What tap ``p*kw + q`` adds to a place."""
    p, q = np.divmod(np.arange(window.taps), window.kw)
    (m, a), (l, b) = np.divmod(p * window.dh, window.sh), np.divmod(q * window.dw, window.sw)
    return ((a * layout.across + b) * layout.rows + m) * layout.pitch + l


def equal(total: int, most: int, multiple: int = 1) -> int:
    """The largest of nearly equal pieces of at most ``most``; how many there are is a multiple of ``multiple``."""
    pieces = -(-total // (max(1, most) * multiple)) * multiple
    return max(1, -(-total // pieces))


def _cut(n: int, channels: int, blocks: int, window: Window2d, groups: int) -> tuple[int, int, int]:
    """The images, output rows and blocks of filters of a unit."""
    layout = _layout(window, window.oh)
    line = channels * layout.down * layout.across * layout.pitch
    lines = equal(window.oh, ENTRIES // line - (layout.rows - window.oh))
    span = equal(n, ENTRIES // (line * layout.rows), 2) if lines == window.oh else 1
    units = -(-n // span) * -(-window.oh // lines) * groups
    return span, lines, equal(blocks, blocks * units // UNITS)


def forward(
    x: Array, weight: Array, bias: Array | None, window: Window2d, groups: int, y: Array, flip: bool = False
) -> None:
    """``y (N, K, OH, OW)``; with ``flip`` of the filters turned (``turned.py``), which are not made."""
    kernels, n, k, channels = _kernels(), len(x), y.shape[1] // groups, x.shape[1] // groups
    blocks = -(-k // kernels.FILTERS)
    packed = scratch(x, "packed filters", (groups * blocks, channels * window.taps * kernels.FILTERS))
    ordered = weight.reshape(groups, len(weight) // groups, weight.shape[1], window.taps)
    kernels.pack(ordered, flip, packed.reshape(groups, blocks, -1, kernels.FILTERS))
    start = np.zeros((groups, blocks * kernels.FILTERS), x.dtype)
    if bias is not None:
        start[:, :k] = bias.reshape(groups, k)
    span, lines, share = _cut(n, channels, blocks, window, groups)
    layout = _layout(window, lines)
    places = -(-(lines * layout.pitch) // kernels.TILE) * kernels.TILE
    plane = layout.down * layout.across * layout.rows * layout.pitch
    room = span * channels * plane + layout.pitch + kernels.FILTERS * places
    own, cut = scratch(x, "tiles", (kernels.workers(), room)), (span, lines, share, window.is_pointwise)
    offsets = _offsets(window, layout)
    kernels.tiles_forward(x, packed, start.reshape(-1), y, tuple(window), groups, cut, tuple(layout), offsets, own)


@cache
def _kernels() -> Any:
    return importlib.import_module("minicnn.kernels.conv.tiles_cpu")
