"""Convolution on tensor cores without columns in memory: the plan ``implicit_gemm`` (``implicit_gemm.cu``).

**Math** one product a group, whose column matrix is gathered from the image tile by tile:

    y[m, (n,i,j)]  = sum over (p,q,c) of W[m, (p,q,c)] x[n, c, the pixel tap (p,q) reads]
    gw[m, (c,p,q)] = sum over (n,i,j) of gy[m, (n,i,j)] x[n, c, the same pixel]

``gx`` at stride (sh, sw) is sh * sw interleaved images, one a *phase* (u mod sh, v mod sw). Each is a convolution of gy
with stride 1 and those taps that reach the phase: forward's kernel does it, and no inserted zeros are multiplied.

**Predicted, not measured**, for a block of 8 warps with a 128x128 tile, a stage (32 deep in half, 16 in TF32), an A100:

* tensor cores: 128 * 128 * 32 multiply-adds at 1024 a cycle and SM (TF32: half of both): 512 cycles.
* L1 and shared memory, at 128 bytes a cycle: warps read (64 + 32) rows of 64 bytes each, 384 cycles; 8 KiB each of
  filters and pixels arrive, 128; 128 loads of 32 halves, 128. Together 640: at best 80 % of the peak in forward and
  grad_x. grad_w fetches both operands as pairs, 256 loads of two rows and as many conflicts: about 40 %.
* L2: 16 KiB a stage, 25 bytes a cycle and SM, half of what it gives. Blocks that share pixels run side by side, so DRAM
  sees x about once.
* 40 KiB of shared memory, at most 128 registers a thread (NVRTC, int indices: convolve spills none, grad_w in half up
  to 24 bytes): 2 blocks an SM, and one multiplies while the other fetches or writes.

**See** Chetlur et al. 2014 (cuDNN); NVIDIA, CUTLASS, "Implicit GEMM Convolution".
"""

from collections.abc import Iterator
from math import gcd, prod
from typing import NamedTuple

import numpy as np

from minicnn.kernels.arrays import Array, allocate
from minicnn.kernels.launch import CudaSource
from minicnn.kernels.window import Window2d

LARGE = CudaSource(__file__, "implicit_gemm.cu", TILE_M=128, TILE_N=128, WARPS_M=2, WARPS_N=4)
SMALL = CudaSource(__file__, "implicit_gemm.cu", TILE_M=64, TILE_N=64, WARPS_M=2, WARPS_N=2)

BLOCKS = 256  # what fills a large GPU: below it smaller tiles, and more parts of the positions in grad_w
STAGE_BYTES = 64  # of depth in a stage: WORDS in the source
PART_STAGES = 16  # a part of grad_w is at least this deep, or adding the parts would cost as much as the product


class Axis(NamedTuple):
    """One axis: output ``start + i*pace`` (i < outputs) sums the pixels ``i*stride + first + t*step``, t < taps."""

    size: int  # of the image that is read
    taps: int
    first: int
    step: int
    stride: int
    outputs: int
    out: int  # size of the image that is written
    start: int
    pace: int


def forward(x: Array, weight: Array, bias: Array | None, window: Window2d, groups: int, y: Array) -> None:
    """Plan implicit_gemm: ``y (N, K, OH, OW)``."""
    a = window
    filters = weight.reshape(groups, len(weight) // groups, *weight.shape[1:])
    vertical = Axis(a.h, a.kh, -a.top, a.dh, a.sh, a.oh, a.oh, 0, 1)
    horizontal = Axis(a.w, a.kw, -a.left, a.dw, a.sw, a.ow, a.ow, 0, 1)
    _convolve(x, filters, bias, vertical, horizontal, y)


def grad_x(gy: Array, weight: Array, window: Window2d, groups: int, gx: Array) -> None:
    """Plan implicit_gemm: ``gx (N, C, H, W)``; pixels that no tap reads are 0."""
    gx[...] = 0
    a = window
    turned = weight.reshape(groups, len(weight) // groups, *weight.shape[1:]).swapaxes(1, 2)
    for vertical_taps, vertical in _phases(a.h, a.kh, a.sh, a.top, a.dh, a.oh):
        for horizontal_taps, horizontal in _phases(a.w, a.kw, a.sw, a.left, a.dw, a.ow):
            _convolve(gy, turned[..., vertical_taps, horizontal_taps], None, vertical, horizontal, gx)


def _phases(size: int, taps: int, stride: int, before: int, dilation: int, out: int) -> Iterator[tuple[slice, Axis]]:
    """The phases of one axis of gx: pixels ``start + i*stride``, and the taps t that read them.

    Tap t of output o reads pixel ``o*stride + t*dilation - before``: ``o = i + (start + before - t*dilation)/stride``
    where that divides, for every ``stride/gcd(stride, dilation)``-th tap.
    """
    every = stride // gcd(stride, dilation)
    for start in range(min(stride, size)):
        reaching = [t for t in range(taps) if (start + before - t * dilation) % stride == 0]
        if reaching:
            first, step = (start + before - reaching[0] * dilation) // stride, -(every * dilation // stride)
            outputs = -(-(size - start) // stride)
            yield (
                slice(reaching[0], None, every),
                Axis(out, len(reaching), first, step, 1, outputs, size, start, stride),
            )


def _convolve(x: Array, filters: Array, bias: Array | None, vertical: Axis, horizontal: Axis, y: Array) -> None:
    """Launch ``convolve``; ``filters`` (groups, rows, channels, taps, taps) may be any view."""
    groups, rows, channels = filters.shape[:3]
    matrix = _matrix(filters)
    positions = len(x) * vertical.outputs * horizontal.outputs
    source, (tiles_m, tiles_n) = _tiles(rows, positions, groups)
    sizes = (len(x), groups, rows, channels, matrix.shape[-1])
    blocks = tiles_m * tiles_n * groups
    arguments = (x, matrix, bias, y, *sizes, *vertical, *horizontal)
    source.launch_blocks("convolve", x.dtype, blocks, *arguments, threads=_threads(source))


def _matrix(filters: Array) -> Array:
    """``filters`` as (groups, rows, taps, taps, channels), the channels filled with zeros to whole runs of 16 bytes.

    Always a copy: the 16-byte copies of the kernel need an aligned one.
    """
    channels, run = filters.shape[2], 16 // filters.dtype.itemsize
    padded = -(-channels // run) * run
    shape = (*filters.shape[:2], *filters.shape[3:], padded)
    matrix = allocate(filters, shape, fill=0 if padded > channels else None)
    matrix[..., :channels] = filters.transpose(0, 1, 3, 4, 2)
    return matrix


def grad_w(gy: Array, x: Array, window: Window2d, groups: int, gw: Array) -> None:
    """Plan implicit_gemm: ``gw (K, C/g, kh, kw)``; the sums of parts of the positions, added in a fixed order."""
    a, (k, channels) = window, gw.shape[:2]
    positions, rows = len(x) * a.oh * a.ow, k // groups
    if not positions:
        return  # gw comes zeroed
    source, (tiles_m, tiles_n) = _tiles(rows, channels * a.taps, groups, split=True)
    stages = -(-positions * x.dtype.itemsize // STAGE_BYTES)
    tiles = tiles_m * tiles_n * groups
    steps = max(PART_STAGES, -(-stages * tiles // BLOCKS))
    cuts = -(-stages // steps)
    parts = allocate(x, (cuts, gw.size), np.float32)
    sizes = (cuts, steps, len(x), groups, rows, channels)
    geometry = (a.h, a.w, a.kh, a.kw, a.sh, a.sw, a.top, a.left, a.dh, a.dw, a.oh, a.ow)
    source.launch_blocks(
        "grad_w", x.dtype, tiles * cuts, gy, x, parts, *sizes, *geometry, threads=_threads(source), count=positions
    )
    source.launch("add_parts", x.dtype, gw.size, parts, cuts, gw.size, gw)


def _tiles(rows: int, columns: int, groups: int, split: bool = False) -> tuple[CudaSource, tuple[int, int]]:
    """The source with the tile to use, and how many tiles rows and columns have; ``split``: the depth is cut too."""
    large = _counts(LARGE, rows, columns)
    fills = split or prod(large) * groups >= BLOCKS
    if fills and min(rows, columns) > SMALL.defines["TILE_M"]:
        return LARGE, large
    return SMALL, _counts(SMALL, rows, columns)


def _counts(source: CudaSource, rows: int, columns: int) -> tuple[int, int]:
    return -(-rows // source.defines["TILE_M"]), -(-columns // source.defines["TILE_N"])


def _threads(source: CudaSource) -> int:
    return 32 * source.defines["WARPS_M"] * source.defines["WARPS_N"]
