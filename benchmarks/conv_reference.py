"""A convolution in float64 that shares no code with the kernels: what every measured result is held against.

One product a tap, over the pixels that the tap reads: ``y += W[:, :, p, q] @ x[p::s, q::s]`` and its two transposes.
"""

from collections.abc import Iterator

import numpy as np
from conv_shapes import Conv


def reference(which: str, conv: Conv, x: np.ndarray, weight: np.ndarray, gy: np.ndarray) -> np.ndarray:
    """The result of one pass (``"forward"``, ``"grad_x"``, ``"grad_w"``) in float64."""
    n, groups, p = len(x), conv.groups, conv.padding
    pixels = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (p, p), (p, p)))
    image = pixels.reshape(n, groups, -1, *pixels.shape[2:])
    filters = weight.astype(np.float64).reshape(groups, conv.filters // groups, *conv.weight_shape[1:])
    upstream = gy.astype(np.float64).reshape(n, groups, conv.filters // groups, conv.out**2)
    if which == "forward":
        y = np.zeros_like(upstream)
        for a, b, rows, columns in _taps(conv):
            y += filters[..., a, b] @ image[..., rows, columns].reshape(n, groups, -1, conv.out**2)
        return y.reshape(conv.y_shape(n))
    if which == "grad_w":
        gw = np.zeros_like(filters)
        for a, b, rows, columns in _taps(conv):
            read = image[..., rows, columns].reshape(n, groups, -1, conv.out**2)
            gw[..., a, b] = (upstream @ read.swapaxes(-1, -2)).sum(0)
        return gw.reshape(conv.weight_shape)
    gx = np.zeros_like(image)
    for a, b, rows, columns in _taps(conv):
        part = filters[..., a, b].swapaxes(-1, -2) @ upstream
        gx[..., rows, columns] += part.reshape(n, groups, -1, conv.out, conv.out)
    return gx.reshape(pixels.shape)[:, :, p : p + conv.size, p : p + conv.size]


def _taps(conv: Conv) -> Iterator[tuple[int, int, slice, slice]]:
    """Every tap, and the rows and columns of the padded image that it reads."""
    reach = conv.stride * (conv.out - 1) + 1
    for a in range(conv.kernel):
        for b in range(conv.kernel):
            yield a, b, slice(a, a + reach, conv.stride), slice(b, b + reach, conv.stride)


def error(actual: np.ndarray, expected: np.ndarray) -> float:
    """``max|actual - expected| / max|expected|``; not a number when the result holds one."""
    return float(np.abs(actual.astype(np.float64) - expected).max() / np.abs(expected).max())
