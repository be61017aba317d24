"""The windows as a view of six axes, which costs nothing, contracted with the weights by one call.

``tensordot`` still writes the columns out before it multiplies: what is saved is code, not memory.
"""

import numpy as np


def convolve(x: np.ndarray, weight: np.ndarray, padding: int) -> np.ndarray:
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    windows = np.lib.stride_tricks.sliding_window_view(x, weight.shape[2:], axis=(2, 3))  # (N, C, OH, OW, R, S)
    y = np.tensordot(windows, weight, axes=((1, 4, 5), (1, 2, 3)))  # (N, OH, OW, K)
    return np.ascontiguousarray(y.transpose(0, 3, 1, 2))
