"""The one compiled loop of the data: reading images between their pixels.

NumPy does it in a dozen passes over fresh arrays, whose page faults cost many times the arithmetic for a CIFAR batch.
Compiled without ``fastmath``: the bits are those of NumPy's float32.
"""

from typing import Any

import numpy as np

from minicnn.kernels.jit import kernel, strict_helper


@strict_helper
def surround(plane: Any, ring: Any, border: bool) -> None:
    """Copy ``plane`` (H, W) into the middle of ``ring`` ((H + 2) (W + 2)); with ``border``, its edge around it."""
    h, w = plane.shape
    width = w + 2
    for i in range(h):
        start = (i + 1) * width
        for j in range(w):
            ring[start + 1 + j] = plane[i, j]
        if border:
            ring[start], ring[start + w + 1] = plane[i, 0], plane[i, w - 1]
    if border:
        for j in range(width):
            ring[j], ring[(h + 1) * width + j] = ring[width + j], ring[h * width + j]


@kernel(parallel=False, fastmath=False)
def read_bilinear(images: Any, y: Any, x: Any, border: bool, fill: np.float32, out: Any) -> None:
    """``out[k, m, i, j]`` = plane m of image k read at row ``y[k, i, j]`` and column ``x[k, i, j]``.

    Each plane is set in a ring of what is outside, one pixel wide: ``fill``, or with ``border`` the nearest pixel of
    the edge. Places further out are held in the ring, so that the loops over j have no branches. NaN reads somewhere.
    """
    n, c, h, w = images.shape
    oh, ow = out.shape[2:]
    width, one = w + 2, y.dtype.type(1)
    ringed = np.full((c, (h + 2) * width), fill, np.float32)
    corner = np.empty(ow, np.int32)  # of the four pixels, the upper left
    down, right = np.empty(ow, np.float32), np.empty(ow, np.float32)  # how far from there, 0 to 1
    for k in range(n):
        for m in range(c):
            surround(images[k, m], ringed[m], border)
        for i in range(oh):
            for j in range(ow):
                at_y = min(max(y[k, i, j], y.dtype.type(-1)), y.dtype.type(h)) + one
                at_x = min(max(x[k, i, j], x.dtype.type(-1)), x.dtype.type(w)) + one
                top = min(max(np.int32(at_y), np.int32(0)), np.int32(h))
                left = min(max(np.int32(at_x), np.int32(0)), np.int32(w))
                corner[j] = top * np.int32(width) + left
                down[j], right[j] = np.float32(np.float64(at_y) - top), np.float32(np.float64(at_x) - left)
            for m in range(c):
                ring, line = ringed[m], out[k, m, i]
                for j in range(ow):
                    p = np.uintp(np.uint32(corner[j]))
                    q = p + np.uintp(width)
                    upper = right[j] * (ring[p + np.uintp(1)] - ring[p]) + ring[p]
                    lower = right[j] * (ring[q + np.uintp(1)] - ring[q]) + ring[q]
                    line[j] = down[j] * (lower - upper) + upper
