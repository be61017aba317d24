"""Tiles: four filters share every pixel that is read, and the innermost loop runs along a row, many pixels at once.

The tile of four output rows stays in the first-level cache until all channels and taps have been added to it.
"""

from typing import Any

import numba
import numpy as np

from minicnn.kernels.jit import kernel

TILE = 4  # filters


def convolve(x: np.ndarray, weight: np.ndarray, padding: int) -> np.ndarray:
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    (images, _, height, width), (filters, _, rows, columns) = x.shape, weight.shape
    tiles = -(-filters // TILE)
    whole = np.pad(weight, ((0, tiles * TILE - filters), (0, 0), (0, 0), (0, 0)))
    y = np.zeros((images, tiles * TILE, height - rows + 1, width - columns + 1), x.dtype)
    _tiles(x, whole, y)
    return y[:, :filters]


@kernel()
def _tiles(x: Any, weight: Any, y: Any) -> None:
    filters, channels, rows, columns = weight.shape
    oh, ow = y.shape[2:]
    tiles = filters // 4
    for work in numba.prange(len(x) * tiles * oh):
        n, k, i = work // (tiles * oh), 4 * (work // oh % tiles), work % oh
        y0, y1, y2, y3 = y[n, k, i], y[n, k + 1, i], y[n, k + 2, i], y[n, k + 3, i]
        for c in range(channels):
            for a in range(rows):
                for b in range(columns):
                    w0, w1 = weight[k, c, a, b], weight[k + 1, c, a, b]
                    w2, w3 = weight[k + 2, c, a, b], weight[k + 3, c, a, b]
                    for j in range(ow):
                        pixel = x[n, c, i + a, j + b]
                        y0[j] += w0 * pixel
                        y1[j] += w1 * pixel
                        y2[j] += w2 * pixel
                        y3[j] += w3 * pixel
