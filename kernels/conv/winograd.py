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
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from math import sqrt
from typing import Any, NamedTuple

import numpy as np

from minicnn.kernels.arrays import Array
from minicnn.kernels.conv.direct import backwards
from minicnn.kernels.conv.workspace import scratch
from minicnn.kernels.window import Window2d

POINTS = {2: (0.0, 1.0, -1.0), 4: (0.0, sqrt(0.5), -sqrt(0.5), sqrt(2), -sqrt(2))}  # and infinity

# Bytes and fewest tiles of a block. Forward's V and M should stay in a core's cache, but a product over few tiles reads
# its filters too often. All threads share a block of grad_w, and each block is added to all sums.
BLOCK, SHARED_BLOCK = (1 << 20, 32), (2 << 20, 128)
# Forward makes at least so many units of work, where there are few blocks by splitting the filters; each part then
# transforms the images again, which on small maps costs as much as the products of some hundred filters.
UNITS = 4
SHARE = 64  # filters that share the transform of their images are at least this many
# Making and reading U costs about as much as the products over this many tiles (estimated from memory traffic).
FILTER_TILES = 32


class _Layout(NamedTuple):
    """How the output is cut: tiles of ``tile`` pixels, ``down`` rows of ``across`` tiles an image."""

    tile: int
    down: int
    across: int

    @property
    def squares(self) -> int:
        """t*t, the number of products."""
        return (self.tile + 2) ** 2

    def cost(self, n: int) -> int:
        """Multiply-adds for each pair of channel and filter, with those that the transform of U is worth."""
        return self.squares * (n * self.down * self.across + FILTER_TILES)

    def rows_a_block(self, n: int, row_bytes: int, block: tuple[int, int]) -> int:
        """How many rows of tiles, each ``row_bytes`` in V and M, make a block; blocks are nearly equal."""
        size, tiles = block
        rows = max(size // row_bytes, -(-tiles // self.across))
        blocks = -(-n * self.down // rows)
        return -(-n * self.down // blocks)


def _layout(n: int, window: Window2d) -> _Layout:
    """The cheaper tile: 4 but for small maps, strips, and few tiles altogether."""
    layouts = [_Layout(tile, -(-window.oh // tile), -(-window.ow // tile)) for tile in (2, 4)]
    return min(layouts, key=lambda layout: layout.cost(n))


@cache
def filter_matrix(tile: int) -> np.ndarray[Any, Any]:
    """``G`` (t, 3): row i is ``(1, x_i, x_i^2) / prod_{j != i} (x_i - x_j)``, at infinity ``(0, 0, 1)``."""
    points = np.array(POINTS[tile])
    gaps = points[:, None] - points + np.eye(len(points))
    return np.vstack([points[:, None] ** np.arange(3) / gaps.prod(1)[:, None], [0.0, 0.0, 1.0]])


def _both_ways(tile: int, dtype: Any) -> np.ndarray[Any, Any]:
    """``G (x) G`` (t*t, 9): applied to a flat filter it is ``G g G^T``, flat."""
    return np.kron(filter_matrix(tile), filter_matrix(tile)).astype(dtype)


def forward(x: Array, weight: Array, bias: Array | None, window: Window2d, groups: int, y: Array) -> None:
    """Plan winograd: ``y (N, K, OH, OW)``."""
    if not y.size:
        return
    (n, channels), k = x.shape[:2], len(weight)
    a, kernels = _layout(n, window), _kernels()
    filters = scratch(x, "winograd filters", (a.squares, k * channels))
    np.matmul(_both_ways(a.tile, x.dtype), weight.reshape(k * channels, 9).T, out=filters)
    rows = a.rows_a_block(n, a.squares * (channels + k) * a.across * x.itemsize, BLOCK)
    blocks = -(-n * a.down // rows)
    share = min(k, max(SHARE, -(-k * blocks // UNITS)))
    with _one_blas_thread():
        own = scratch(x, "winograd tiles", (_workers(), a.squares * (channels + share) * rows * a.across))
        shift = x.reshape(-1)[:0] if bias is None else bias
        u = filters.reshape(a.squares, k, channels)
        kernels.winograd_forward(x, u, shift, y, a.tile, window.top, window.left, rows, share, own)


def grad_x(gy: Array, weight: Array, window: Window2d, groups: int, gx: Array) -> None:
    """Plan winograd: ``gx (N, C, H, W)``, the convolution of gy with the filters turned by 180 degrees."""
    turned = np.ascontiguousarray(weight[..., ::-1, ::-1].swapaxes(0, 1))
    forward(gy, turned, None, backwards(window), groups, gx)


def grad_w(gy: Array, x: Array, window: Window2d, groups: int, gw: Array) -> None:
    """Plan winograd: ``gw (K, C, 3, 3)``; blocks of tiles are added in their order."""
    if not gy.size:
        return  # gw comes zeroed
    (n, channels), k = x.shape[:2], len(gw)
    a, kernels = _layout(n, window), _kernels()
    rows = a.rows_a_block(n, a.squares * (channels + k) * a.across * x.itemsize, SHARED_BLOCK)
    sums = scratch(x, "winograd filters", (a.squares, k * channels))
    entries = scratch(x, "winograd tiles", (a.squares * (channels + k), rows * a.across)).reshape(-1)
    with _one_blas_thread():
        own = scratch(x, "winograd part", (_workers(), k * channels))
        u = sums.reshape(a.squares, k, channels)
        kernels.winograd_grad_w(gy, x, u, a.tile, window.top, window.left, rows, entries, own)
    np.matmul(sums.T, _both_ways(a.tile, x.dtype), out=gw.reshape(k * channels, 9))


@cache
def _kernels() -> Any:
    return importlib.import_module("minicnn.kernels.conv.winograd_cpu")


def _workers() -> int:
    """How many share the units of work; no result depends on it."""
    return int(importlib.import_module("numba").get_num_threads())


@cache
def _blas_pools() -> list[Any]:
    """The thread pools of every BLAS, among them SciPy's, which is the one that Numba calls."""
    importlib.import_module("scipy.linalg.cython_blas")
    controller = importlib.import_module("threadpoolctl").ThreadpoolController()
    return list(controller.select(user_api="blas").lib_controllers)


_limited = threading.Lock()  # the size of a pool belongs to the process


@contextmanager
def _one_blas_thread() -> Iterator[None]:
    """The products inside run in the thread that asks for them."""
    with _limited:
        before = [(pool, pool.get_num_threads()) for pool in _blas_pools()]
        try:
            for pool, _ in before:
                pool.set_num_threads(1)
            yield
        finally:
            for pool, threads in before:
                pool.set_num_threads(threads)
