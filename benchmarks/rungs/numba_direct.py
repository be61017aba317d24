"""The seven loops again, compiled by Numba; one thread."""

from typing import Any

import numpy as np

from minicnn.kernels.jit import kernel


def convolve(x: np.ndarray, weight: np.ndarray, padding: int) -> np.ndarray:
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    (images, _, height, width), (filters, _, rows, columns) = x.shape, weight.shape
    y = np.empty((images, filters, height - rows + 1, width - columns + 1), x.dtype)
    _loops(x, weight, y)
    return y


@kernel(parallel=False)
def _loops(x: Any, weight: Any, y: Any) -> None:
    filters, channels, rows, columns = weight.shape
    for n in range(len(x)):
        for k in range(filters):
            for i in range(y.shape[2]):
                for j in range(y.shape[3]):
                    total = x.dtype.type(0)
                    for c in range(channels):
                        for a in range(rows):
                            for b in range(columns):
                                total += weight[k, c, a, b] * x[n, c, i + a, j + b]
                    y[n, k, i, j] = total
