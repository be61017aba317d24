"""Convolution with fewer multiplications, Winograd's minimal filtering: the plan ``winograd``, for 3x3 at stride 1.

**Math** an output tile Y of m x m pixels needs the t x t input pixels d under it, t = m + 2, and is

    Y = A^T [ sum_c (G g_c G^T) * (B^T d_c B) ] A

with ``*`` entry by entry: t*t products instead of 9 m*m. Over all tiles p, entry e of the t*t is one matrix product,

    M[e] (K, P) = U[e] (K, C) @ V[e] (C, P),     U = G g G^T of the filters,  V = B^T d B of the tiles,

followed by ``Y_p = A^T M[:, k, p] A``. m = 4 takes 36 products where 144 were (4 times fewer), m = 2 16 for 36.

The gradient of the image is the same convolution of gy, with the filters turned by 180 degrees. That of the filters is
the algorithm transposed: ``gW = G^T [ sum_p (A gy_p A^T)[e,k,p] V[e,c,p] ] G``.

**Derivation** of one dimension: a product of polynomials is known from its values at enough points x, where it is a
product of numbers; G and A evaluate (rows ``1, x, x^2, ...``; at infinity the last coefficient), B interpolates. Points
decide the rounding: ``0, +-sqrt(1/2), +-sqrt(2)``, infinity for m = 4 err five times less than ``0, +-1, +-2``.

**Error**, the largest over the largest result, measured for normal images and filters with 1 to 512 channels, in all
three passes: in float32 at most 1e-6 (m = 2) and 4e-6 (m = 4), where im2col has 6e-7; in float64 2e-14. The tests hold
it below 2e-6, 1e-5 and 1e-12. NaN and inf spread over their tile.

**See** Winograd 1980, *Arithmetic Complexity of Computations*; Lavin, Gray 2016, arXiv:1509.09308; Alam et al. 2022,
*Winograd Convolution for Deep Neural Networks: Efficient Point Selection* (the points -c, -1/c, 1/c, c).
"""

import importlib
from functools import cache
from math import sqrt
from typing import Any, NamedTuple

import numpy as np

from minicnn.kernels.arrays import Array
from minicnn.kernels.conv.turned import backwards, turned
from minicnn.kernels.conv.workspace import scratch
from minicnn.kernels.window import Window2d

POINTS = {2: (0.0, 1.0, -1.0), 4: (0.0, sqrt(0.5), -sqrt(0.5), sqrt(2), -sqrt(2))}  # and infinity

# Bytes and fewest tiles of a block. Forward's V and M should stay in a core's cache, but a product over few tiles reads
# its filters too often. All threads share a block of grad_w, and each block is added to all sums.
BLOCK, SHARED_BLOCK = (2 << 20, 64), (2 << 20, 128)
# Forward makes at least so many units of work, where there are few blocks by splitting the filters; each part then
# transforms the images again, which on small maps costs as much as the products of some hundred filters.
UNITS = 2
SHARE = 64  # filters that share the transform of their images are at least this many
# What it costs to make an entry of V, to use one of M, and to make and read one of U, in multiply-adds of the products
# (measured: 1.6, 0.5 and 2 nanoseconds, where a multiply-add takes 0.02).
INTO, OUT_OF, FILTERS = 80, 25, 100


class _Layout(NamedTuple):
    """How the output is cut: tiles of ``tile`` pixels, ``down`` rows of ``across`` tiles an image."""

    tile: int
    down: int
    across: int

    @property
    def squares(self) -> int:
        """t*t, the number of products."""
        return (self.tile + 2) ** 2

    def cost(self, n: int, channels: int, filters: int) -> float:
        """What a convolution of n images costs, in multiply-adds."""
        tiles, products = n * self.down * self.across, channels * filters
        moved = INTO * channels + OUT_OF * filters
        return self.squares * (tiles * (products + moved) + FILTERS * products)

    def rows_a_block(self, n: int, row_bytes: int, block: tuple[int, int]) -> int:
        """How many rows of tiles, each ``row_bytes`` in V and M, make a block; blocks are nearly equal."""
        size, tiles = block
        rows = max(size // row_bytes, -(-tiles // self.across))
        blocks = -(-n * self.down // rows)
        return -(-n * self.down // blocks)


def layout(n: int, window: Window2d, channels: int, filters: int) -> _Layout:
    """The cheaper tile: 4 but for small maps, strips, and few tiles altogether."""
    layouts = [_Layout(tile, -(-window.oh // tile), -(-window.ow // tile)) for tile in (2, 4)]
    return min(layouts, key=lambda layout: layout.cost(n, channels, filters))


@cache
def filter_matrix(tile: int) -> np.ndarray[Any, Any]:
    """``G`` (t, 3): row i is ``(1, x_i, x_i^2) / prod_{j != i} (x_i - x_j)``, at infinity ``(0, 0, 1)``."""
    points = np.array(POINTS[tile])
    gaps = points[:, None] - points + np.eye(len(points))
    return np.vstack([points[:, None] ** np.arange(3) / gaps.prod(1)[:, None], [0.0, 0.0, 1.0]])


@cache
def _both_ways(tile: int, dtype: Any) -> np.ndarray[Any, Any]:
    """``G (x) G`` (t*t, 9): applied to a flat filter it is ``G g G^T``, flat."""
    return np.kron(filter_matrix(tile), filter_matrix(tile)).astype(dtype)


def forward(x: Array, weight: Array, bias: Array | None, window: Window2d, groups: int, y: Array) -> None:
    """Plan winograd: ``y (N, K, OH, OW)``."""
    (k, channels), n, kernels = weight.shape[:2], len(x), _kernels()
    k //= groups
    a = layout(n, window, channels, k)
    filters = scratch(x, "winograd filters", (a.squares, len(weight) * channels))
    kernels.product(_both_ways(a.tile, x.dtype), 0, weight.reshape(-1, 9), 1, filters)
    u = filters.reshape(a.squares, groups, k, channels)
    rows = a.rows_a_block(n, a.squares * (channels + k) * a.across * x.itemsize, BLOCK)
    blocks = -(-n * a.down // rows)
    share = min(k, max(SHARE, -(-k * blocks // UNITS)))
    with kernels.one_blas_thread():
        own = scratch(x, "winograd tiles", (kernels.workers(), a.squares * (channels + share) * rows * a.across))
        shift = x.reshape(-1)[:0] if bias is None else bias
        for g in range(groups):
            begin, one = (g * channels, g * k), np.ascontiguousarray(u[:, g])
            kernels.winograd_forward(x, one, shift, y, begin, a.tile, window.top, window.left, rows, share, own)


def grad_x(gy: Array, weight: Array, window: Window2d, groups: int, gx: Array) -> None:
    """Plan winograd: ``gx (N, C, H, W)``, the convolution of gy with the filters turned by 180 degrees."""
    forward(gy, turned(weight, groups), None, backwards(window), groups, gx)


def grad_w(gy: Array, x: Array, window: Window2d, groups: int, gw: Array) -> None:
    """Plan winograd: ``gw (K, C/groups, 3, 3)``; blocks of tiles are added in their order."""
    (k, channels), n, kernels = gw.shape[:2], len(x), _kernels()
    k //= groups
    a = layout(n, window, channels, k)
    rows = a.rows_a_block(n, a.squares * (channels + k) * a.across * x.itemsize, SHARED_BLOCK)
    sums = scratch(x, "winograd filters", (a.squares, k * channels))
    entries = scratch(x, "winograd tiles", (a.squares * (channels + k), rows * a.across)).reshape(-1)
    own, u = scratch(x, "winograd part", (kernels.workers(), k * channels)), sums.reshape(a.squares, k, channels)
    for g in range(groups):
        begin = (g * channels, g * k)
        with kernels.one_blas_thread():
            kernels.winograd_grad_w(gy, x, u, begin, a.tile, window.top, window.left, rows, entries, own)
        kernels.product(sums, 1, _both_ways(a.tile, x.dtype), 0, gw[g * k : (g + 1) * k].reshape(k * channels, 9))


@cache
def _kernels() -> Any:
    return importlib.import_module("minicnn.kernels.conv.winograd_cpu")
