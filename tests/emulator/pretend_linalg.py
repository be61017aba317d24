"""The precision of CuPy's float32 products: ``cupy._core._routines_linalg`` as far as minicnn uses it."""

from typing import Any

import numpy as np

COMPUTE_TYPE_FP32, COMPUTE_TYPE_TF32 = 4, 7

_compute_type = COMPUTE_TYPE_FP32


def set_compute_type(dtype: Any, compute_type: int) -> None:
    global _compute_type
    if np.dtype(dtype) != np.float32 or compute_type not in (COMPUTE_TYPE_FP32, COMPUTE_TYPE_TF32):
        raise ValueError(f"Unknown compute type: {compute_type} for {dtype}")
    _compute_type = compute_type


def get_compute_type(dtype: Any) -> int:
    return _compute_type if np.dtype(dtype) == np.float32 else COMPUTE_TYPE_FP32


def to_tf32(x: np.ndarray) -> np.ndarray:
    """Finite float32 rounded to 10 bits of mantissa: to nearest, ties away from zero."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    return ((bits + np.uint32(0x1000)) & np.uint32(0xFFFFE000)).view(np.float32)


def factors(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What cuBLAS multiplies: CuPy passes the setting on for two matrices, not for stacks of them."""
    rounded = a.dtype == b.dtype == np.float32 and a.ndim <= 2 and b.ndim <= 2 and _compute_type == COMPUTE_TYPE_TF32
    return (to_tf32(a), to_tf32(b)) if rounded else (a, b)
