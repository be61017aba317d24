"""Small kernels on any picture: what convolutions did before anybody trained them."""

from typing import Any

import numpy as np

from minicnn import ops
from minicnn.context import no_grad
from minicnn.errors import ArgumentError, ShapeError
from minicnn.tensor import Tensor

_BELL = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1]) / 256
KERNELS: dict[str, np.ndarray] = {
    "identity": np.array([[0, 0, 0], [0, 1, 0], [0, 0, 0]], float),
    "box blur": np.full((5, 5), 1 / 25),
    "gaussian blur": _BELL,
    "sharpen": np.array([[0, -1, 0], [-1, 5, -1], [0, -1, 0]], float),
    "unsharp mask": 2 * np.pad([[1.0]], 2) - _BELL,
    "sobel x": np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], float),
    "sobel y": np.array([[-1, -2, -1], [0, 0, 0], [1, 2, 1]], float),
    "laplacian": np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]], float),
    "outline": np.array([[-1, -1, -1], [-1, 8, -1], [-1, -1, -1]], float),
    "emboss": np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]], float),
}


def filtered(picture: Any, kernel: Any) -> np.ndarray:
    """Slide a kernel (KH, KW) of odd sides, or a name of ``KERNELS``, over every channel of a picture (C, H, W).

    As networks do it the kernel is not turned round (a correlation). The edge is continued outwards; (C, H, W) again.
    """
    if isinstance(kernel, str) and kernel not in KERNELS:
        raise ArgumentError(f"filtered: no kernel is called {kernel!r}, expected one of {', '.join(KERNELS)}")
    taps = np.asarray(KERNELS[kernel] if isinstance(kernel, str) else kernel, np.float64)
    values = np.asarray(picture, np.float64)
    if values.ndim != 3 or taps.ndim != 2 or not all(side % 2 for side in taps.shape):
        raise ShapeError(f"filtered: picture {values.shape}, kernel {taps.shape}; expected (C, H, W) and odd sides")
    rows, columns = (side // 2 for side in taps.shape)
    wide = np.pad(values, ((0, 0), (rows, rows), (columns, columns)), mode="edge")
    with no_grad():
        return np.asarray(ops.conv2d(Tensor(wide[:, None]), Tensor(taps[None, None])).numpy()[:, 0])


def displayed(values: Any, kernel: Any) -> np.ndarray:
    """Filtered values of a picture in 0..1 as one can see them: of a kernel that sums to 0, grey is 0, and the largest
    answer is black or white."""
    taps = np.asarray(KERNELS[kernel] if isinstance(kernel, str) else kernel)
    if abs(taps.sum()) < 1e-9:
        values = 0.5 + values / max(2 * np.abs(values).max(), 1e-3)
    return np.asarray(np.clip(values, 0.0, 1.0))


def gradient_magnitude(picture: Any) -> np.ndarray:
    """How steep a picture (C, H, W) is: the length of the two Sobel answers."""
    return np.asarray(np.hypot(filtered(picture, "sobel x"), filtered(picture, "sobel y")))
