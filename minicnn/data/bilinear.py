"""The one compiled loop of the data: reading images between their pixels.

NumPy does it in a dozen passes over fresh arrays, whose page faults cost ten times the arithmetic for a batch of CIFAR.
Compiled without ``fastmath``: the same bits as NumPy's float32.
"""

from typing import Any

import numpy as np

from minicnn.kernels.jit import kernel


@kernel(parallel=False, fastmath=False)
def read_bilinear(images: Any, y: Any, x: Any, border: bool, fill: np.float32, out: Any) -> None:
    """``out[k, m, i, j]`` = plane m of image k read at row ``y[k, i, j]`` and column ``x[k, i, j]``.

    A place further out than one pixel is held there, where all it reads is outside: ``fill``, or with ``border`` the
    nearest pixel of the edge. A place that is NaN reads anywhere.
    """
    n, c, h, w = images.shape
    for k in range(n):
        for i in range(out.shape[2]):
            for j in range(out.shape[3]):
                down = min(max(y[k, i, j], y.dtype.type(-1)), y.dtype.type(h)) + y.dtype.type(1)
                right = min(max(x[k, i, j], x.dtype.type(-1)), x.dtype.type(w)) + x.dtype.type(1)
                # Rows and columns are counted from 1, since 0 is outside.
                top, left = min(max(int(down), 0), h), min(max(int(right), 0), w)
                wy, wx = np.float32(np.float64(down) - top), np.float32(np.float64(right) - left)
                upper, lower, near, far = max(top - 1, 0), min(top, h - 1), max(left - 1, 0), min(left, w - 1)
                above, below, before, behind = (
                    border or top > 0,
                    border or top < h,
                    border or left > 0,
                    border or left < w,
                )
                for m in range(c):
                    a = images[k, m, upper, near] if above and before else fill
                    b = images[k, m, upper, far] if above and behind else fill
                    d = images[k, m, lower, near] if below and before else fill
                    e = images[k, m, lower, far] if below and behind else fill
                    ab = wx * (b - a) + a
                    de = wx * (e - d) + d
                    out[k, m, i, j] = wy * (de - ab) + ab
