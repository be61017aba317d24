"""CUDA twins of the convolutions."""

from math import gcd

import numpy as np

from minicnn.kernels.arrays import Array, allocate
from minicnn.kernels.launch import CudaSource
from minicnn.kernels.window import Window2d

ROWS = 4  # of a column of outputs (or of pixels, backward) that a thread of the direct kernels owns
SOURCE = CudaSource(__file__, ROWS=ROWS)

# Entries a thread of the copying kernels moves: what it pays for finding its image is then small.
SHARE = 8
# Gradients of filters are sums over all positions. A block sums at most LONGEST of them, and when filters are few,
# fewer, down to SHORTEST, until there are BLOCKS blocks. By shapes alone, so that every GPU adds in the same order.
LONGEST, SHORTEST, BLOCKS = 16384, 1024, 2048


def im2col(x: Array, col: Array, window: tuple[int, ...], c0: int, first: int) -> None:
    """col (C/g*kh*kw, P)."""
    _im2col(x, col, (col.shape[1], col.shape[1], 0), Window2d(*window), c0, first)


def unfold(x: Array, col: Array, window: tuple[int, ...]) -> None:
    """col (N, C*kh*kw, OH*OW): the columns of all images at once."""
    _im2col(x, col, _every_image(col), Window2d(*window), 0, 0)


def _every_image(col: Array) -> tuple[int, int, int]:
    """Positions, from one row of columns to the next, and by how much an image's rows lie further than that says."""
    images, rows, pixels = col.shape
    return images * pixels, pixels, (rows - 1) * pixels


def _im2col(x: Array, col: Array, places: tuple[int, int, int], window: Window2d, c0: int, first: int) -> None:
    channels, share = col.shape[-2] // window.taps, -(-SHARE // window.taps)
    count = -(-channels // share) * places[0]
    sizes = (channels, *places, *window, c0, first, share)
    SOURCE.launch("im2col", x.dtype, count, x, x.shape[1], col, *sizes)


def col2im(col: Array, gx: Array, window: tuple[int, ...], c0: int, first: int) -> None:
    """col (C/g*kh*kw, P); adds to gx."""
    pixels = window[-2] * window[-1]
    n0, last = first // pixels, -(-(first + col.shape[1]) // pixels)
    _col2im(col, gx, (n0, last - n0), (col.shape[1], col.shape[1], 0), Window2d(*window), c0, first)


def fold(col: Array, x: Array, window: tuple[int, ...]) -> None:
    """col (N, C*kh*kw, OH*OW); adds to x, all images at once."""
    _col2im(col, x, (0, len(x)), _every_image(col), Window2d(*window), 0, 0)


def _col2im(
    col: Array,
    gx: Array,
    images: tuple[int, int],
    places: tuple[int, int, int],
    window: Window2d,
    c0: int,
    first: int,
) -> None:
    channels = col.shape[-2] // window.taps
    sizes = (gx.shape[1], channels, *images, *places, *window, *_steps(window), c0, first)
    SOURCE.launch("col2im", gx.dtype, images[1] * channels * window.h * window.w, col, gx, *sizes)


def _steps(window: Window2d) -> tuple[int, int, int, int]:
    """From one tap that reads a pixel to the next: so many taps on, so many outputs back; down, then across."""
    down, across = gcd(window.sh, window.dh), gcd(window.sw, window.dw)
    return window.sh // down, window.dh // down, window.sw // across, window.dw // across


def scatter(columns: Array, y: Array, bias: Array, k0: int, first: int) -> None:
    """columns (K/g, P), y (N, K, S)."""
    (rows, total), (_, filters, size) = columns.shape, y.shape
    sizes = (filters, size, bias, bias.size > 0, k0, first, SHARE)
    SOURCE.launch("scatter", y.dtype, -(-rows // SHARE) * total, columns, rows, total, y, *sizes)


def gather(gy: Array, columns: Array, k0: int, first: int) -> None:
    """gy (N, K, S), columns (K/g, P)."""
    (rows, total), (_, filters, size) = columns.shape, gy.shape
    SOURCE.launch(
        "gather", gy.dtype, -(-rows // SHARE) * total, gy, filters, size, columns, rows, total, k0, first, SHARE
    )


def direct_forward(x: Array, weight: Array, bias: Array, y: Array, window: tuple[int, ...], groups: int) -> None:
    """The kernel of the usual windows keeps pixels in registers; the other one takes any."""
    shape, rows = Window2d(*window), y.shape[2]
    kernel, strips = "direct_forward", rows
    if shape.kh in (3, 5, 7) and shape.sh in (1, 2) and shape.dh == 1:
        kernel, strips = "direct_forward_rows", -(-rows // ROWS)
    inputs = (x, x.shape[1], weight, *weight.shape[:2], bias, bias.size > 0)
    SOURCE.launch(kernel, y.dtype, len(y) * y.shape[1] * strips * y.shape[3], *inputs, y, len(y), *window, groups)


def direct_grad_x(gy: Array, weight: Array, gx: Array, window: tuple[int, ...], groups: int) -> None:
    """Overwrites gx."""
    images, planes, h, w = gx.shape
    sizes = (planes, images, *window, *_steps(Window2d(*window)), groups)
    count = images * planes * -(-h // ROWS) * w
    SOURCE.launch("direct_grad_x", gx.dtype, count, gy, weight, *weight.shape[:2], gx, *sizes)


def direct_grad_w(gy: Array, x: Array, gw: Array, window: tuple[int, ...], groups: int) -> None:
    """Two steps: sums over segments of the positions, then over the segments."""
    positions, rows = len(gy) * window[-2] * window[-1], gw.size // gw.shape[3]
    segments = max(-(-positions // LONGEST), min(-(-positions // SHORTEST), -(-BLOCKS // rows)))
    part = allocate(gw, (segments, gw.size), np.float64)
    sizes = (*gw.shape[:2], *window, groups, segments, -(-positions // max(segments, 1)))
    SOURCE.launch_blocks("direct_grad_w", x.dtype, segments * rows, gy, x, x.shape[1], len(x), part, *sizes)
    SOURCE.launch("sum_segments", gw.dtype, gw.size, part, segments, gw.size, gw)
