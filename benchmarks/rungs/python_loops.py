"""The definition, word for word: seven nested loops of Python. Everything else must give what this gives."""

import numpy as np


def convolve(x: np.ndarray, weight: np.ndarray, padding: int) -> np.ndarray:
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    (images, channels, height, width), (filters, _, rows, columns) = x.shape, weight.shape
    y = np.zeros((images, filters, height - rows + 1, width - columns + 1), x.dtype)
    for n in range(images):
        for k in range(filters):
            for i in range(y.shape[2]):
                for j in range(y.shape[3]):
                    total = 0.0
                    for c in range(channels):
                        for a in range(rows):
                            for b in range(columns):
                                total += weight[k, c, a, b] * x[n, c, i + a, j + b]
                    y[n, k, i, j] = total
    return y
