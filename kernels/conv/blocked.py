"""The plans ``im2col`` and ``pointwise`` on the CPU: how the work is cut into units; ``columns_cpu.py`` computes.

A unit is what one thread does at a time. Its columns should stay in a core's second-level cache and its product be
large enough for BLAS; there should be at least ``UNITS`` of them, so that threads share them evenly. How the work is
cut depends on shapes alone, so results have the same bits at any number of threads.
"""

import importlib
from functools import cache
from typing import Any, NamedTuple

from minicnn.kernels.arrays import Array
from minicnn.kernels.conv import tiles
from minicnn.kernels.conv.tiles import equal
from minicnn.kernels.conv.turned import backwards, turned
from minicnn.kernels.conv.workspace import scratch
from minicnn.kernels.window import Window2d

UNITS = 4
ENTRIES = 196_608  # of a unit's columns: 768 KiB of float32; half and double as much were within 5 %
BLOCK = 784  # positions in a product, at most (a whole image of 28x28)
SMALL = 256  # positions: of smaller images several share a product
IN_PLACE = 32  # positions: an image of fewer is gathered with others, even if it is its own column matrix
ROWS = 256  # of columns in a product for the filters' gradient, at most
PARTS, SUM_ENTRIES = 8, 1 << 21  # a sum over the images may be split into so many parts, with so many entries in all


class _Cut(NamedTuple):
    """A unit of forward: ``span`` images, or ``lines`` output rows of one, and ``share`` filters.

    Its products add up, ``depth`` channels at a time.
    """

    span: int
    lines: int
    depth: int
    share: int


def _span(n: int, window: Window2d) -> int:
    """How many images share a product: one, or so many that there is an even number of blocks."""
    size = window.oh * window.ow
    together = 1 if window.is_pointwise and size >= IN_PLACE else min(n, max(1, SMALL // size))
    return equal(n, together, 2) if together > 1 else 1


def _strips(window: Window2d, lines: int) -> int:
    """Entries of the strips of one plane for ``lines`` output rows."""
    reach = (window.kh - 1) * window.dh
    return window.kw * min(window.sh, reach + 1) * (lines + reach // window.sh) * window.ow


def _cut(n: int, k: int, channels: int, window: Window2d, groups: int) -> _Cut:
    """How forward is cut: ``n`` images, ``k`` filters and ``channels`` a group."""
    span = _span(n, window)
    lines = window.oh if span > 1 else equal(window.oh, BLOCK // window.ow)
    units = -(-n // span) * -(-window.oh // lines) * groups
    share = equal(k, max(32, k * units // UNITS))
    return _Cut(span, lines, equal(channels, ENTRIES // (span * lines * window.ow * window.taps)), share)


def forward(x: Array, weight: Array, bias: Array | None, window: Window2d, groups: int, y: Array) -> None:
    """``y (N, K, OH, OW)``."""
    if _is_linear(window, groups):
        _kernels().product(_matrix(x), 0, _matrix(weight), 1, _matrix(y))
        if bias is not None:
            y += bias[:, None, None]
        return
    if tiles.fits(window):
        tiles.forward(x, weight, bias, window, groups, y)
        return
    n, k = y.shape[:2]
    cut = _cut(n, k // groups, x.shape[1] // groups, window, groups)
    kernels, shift = _kernels(), x.reshape(-1)[:0] if bias is None else bias
    block = cut.span * cut.lines * window.ow
    room = cut.depth * window.taps * block + _strips(window, cut.lines) + (cut.share * block if cut.span > 1 else 0)
    with kernels.one_blas_thread():
        own = scratch(x, "columns", (kernels.workers(), room))
        kernels.columns_forward(x, weight, shift, y, tuple(window), groups, tuple(cut), own)


def grad_x(gy: Array, weight: Array, window: Window2d, groups: int, gx: Array) -> None:
    """``gx (N, C, H, W)``: at stride 1 a convolution of gy with the filters turned."""
    if _is_linear(window, groups):
        _kernels().product(_matrix(gy), 0, _matrix(weight), 0, _matrix(gx))
        return
    if (window.sh, window.sw) == (1, 1) and tiles.fits(backwards(window)):
        tiles.forward(gy, weight, None, backwards(window), groups, gx, flip=True)
        return
    if (window.sh, window.sw) == (1, 1):
        forward(gy, turned(weight, groups), None, backwards(window), groups, gx)
        return
    gx[...] = 0  # columns are added to it
    kernels, lines = _kernels(), equal(window.oh, BLOCK // window.ow)
    entries = lines * window.ow * window.taps
    depth = equal(weight.shape[1], ENTRIES // entries, UNITS if len(gx) * groups < UNITS else 1)
    with kernels.one_blas_thread():
        own = scratch(gy, "columns", (kernels.workers(), depth * entries + _strips(window, lines)))
        kernels.columns_grad_x(gy, weight, gx, tuple(window), groups, (lines, depth), own)


def grad_w(gy: Array, x: Array, window: Window2d, groups: int, gw: Array) -> None:
    """``gw (K, C/g, kh, kw)``, which comes zeroed."""
    if _is_linear(window, groups):
        _kernels().product(_matrix(gy), 1, _matrix(x), 0, _matrix(gw))
        return
    kernels, entries = _kernels(), gw.size
    size = window.oh * window.ow
    span = 1 if size >= IN_PLACE else min(len(gy), max(1, BLOCK // size))
    if span > 1:  # several images in a product
        gy = _gathered(gy, "upstream")
        if window.is_pointwise:
            size = gy.shape[3]
            x, window, span = _gathered(x, "images"), window._replace(h=1, w=size, oh=1, ow=size), 1
    lines = window.oh if span > 1 else equal(window.oh, BLOCK // window.ow)
    channels, rows = gw.shape[1], ROWS // window.taps
    depth = equal(channels, rows, 1 if channels < rows or groups >= UNITS else UNITS)
    blocks, shares = -(-len(x) // span) * -(-window.oh // lines), groups * -(-channels // depth)
    parts = 1 if shares >= UNITS else max(1, min(PARTS, blocks, SUM_ENTRIES // entries))
    sums = gw.reshape(1, entries) if parts == 1 else scratch(x, "sums", (parts, entries))
    room = depth * window.taps * span * lines * window.ow + _strips(window, lines)
    with kernels.one_blas_thread():
        own = scratch(x, "columns", (kernels.workers(), room))
        kernels.columns_grad_w(gy, x, sums, tuple(window), groups, (span, lines, depth), own)
    if parts > 1:
        kernels.add_up(sums, gw.reshape(-1))


def _is_linear(window: Window2d, groups: int) -> bool:
    """Whether images are single pixels, as in squeeze and excite: a fully connected layer."""
    return window.is_pointwise and window.h * window.w * groups == 1


def _matrix(array: Array) -> Array:
    return array.reshape(len(array), -1)


def _gathered(images: Array, purpose: str) -> Array:
    """(N, K, H, W) as the image (1, K, 1, N*H*W), in scratch memory."""
    n, k, h, w = images.shape
    matrix = scratch(images, purpose, (k, n * h * w))
    _kernels().gather(images.reshape(n, k, h * w), matrix, 0, 0)
    return matrix.reshape(1, k, 1, n * h * w)


@cache
def _kernels() -> Any:
    return importlib.import_module("minicnn.kernels.conv.columns_cpu")
