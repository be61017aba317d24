"""The convolution theorem: a product for every frequency, whatever the size of the filter.

**Math** ``y = F^-1(F(x) conj(F(w)))``; conjugated, because a network's convolution does not turn the filter round.
Only the places whose window lies inside the padded picture are kept, so that it does not matter that the transform
takes the picture as periodic. **See** Mathieu, Henaff, LeCun 2014.
"""

import numpy as np


def convolve(x: np.ndarray, weight: np.ndarray, padding: int) -> np.ndarray:
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    size, (rows, columns) = x.shape[2:], weight.shape[2:]
    spectrum = np.fft.rfft2(x).transpose(2, 3, 0, 1)  # (frequencies, N, C)
    filters = np.fft.rfft2(weight, s=size, axes=(2, 3)).conj().transpose(2, 3, 1, 0)  # (frequencies, C, K)
    y = np.fft.irfft2((spectrum @ filters).transpose(2, 3, 0, 1), s=size, axes=(2, 3))
    return np.ascontiguousarray(y[:, :, : size[0] - rows + 1, : size[1] - columns + 1])
