"""Write every window out as a column; the convolution is then one matrix product an image.

**See** Chellapilla, Puri, Simard 2006; the way of Caffe.
"""

import numpy as np


def convolve(x: np.ndarray, weight: np.ndarray, padding: int) -> np.ndarray:
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    (images, channels, height, width), (filters, _, rows, columns) = x.shape, weight.shape
    oh, ow = height - rows + 1, width - columns + 1
    col = np.empty((images, channels, rows, columns, oh, ow), x.dtype)
    for a in range(rows):
        for b in range(columns):
            col[:, :, a, b] = x[:, :, a : a + oh, b : b + ow]
    y = weight.reshape(filters, -1) @ col.reshape(images, -1, oh * ow)  # (K, C*R*S) @ (N, C*R*S, pixels)
    return y.reshape(images, filters, oh, ow)
