"""Whether a GPU may multiply float32 as TF32, which keeps 10 of the 23 bits of each factor's mantissa."""

import importlib.util
import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from minicnn.errors import ArgumentError
from minicnn.kernels.arrays import Array, cupy, is_cupy

PRECISIONS = ("highest", "tf32")

_precision = "highest"  # of the process, because CuPy's setting is


def float32_precision() -> str:
    """The argument of the last ``set_float32_precision``, ``"highest"`` before."""
    return _precision


class set_float32_precision:
    """Multiply float32 on GPUs in ``"highest"`` precision (IEEE, the default) or as ``"tf32"`` on tensor cores.

    Set for the whole process; ``with minicnn.set_float32_precision("tf32"):`` sets it back at the end of the block.
    TF32 rounds every factor by up to ``2^-11`` of itself and sums in float32; it needs compute capability 8.0. It holds
    for convolutions (a backward pass keeps the precision of its forward pass) and for CuPy's products of two matrices;
    CuPy multiplies stacks of matrices in float32 always. The CPU and other dtypes do not change.

    **Raises** ArgumentError for another name.

    **See** NVIDIA, A100 Tensor Core GPU Architecture, 2020.
    """

    def __init__(self, precision: str) -> None:
        if precision not in PRECISIONS:
            expected = " or ".join(map(repr, PRECISIONS))
            raise ArgumentError(f"set_float32_precision: precision={precision!r} does not exist, expected {expected}")
        self._before = _precision
        _set(precision)

    def __enter__(self) -> None:
        """Set already."""

    def __exit__(self, *_: object) -> None:
        _set(self._before)


def _set(precision: str) -> None:
    global _precision
    _tell_cupy(precision)
    _precision = precision


def _tell_cupy(precision: str) -> None:
    """The one call into CuPy's own setting; CuPy 14 has it, without a public name."""
    if "cupy" not in sys.modules and importlib.util.find_spec("cupy") is None:
        return  # no GPU whose products could change
    xp: Any = cupy()
    if xp.cuda.is_available():
        linalg = xp._core._routines_linalg
        kind = linalg.COMPUTE_TYPE_TF32 if precision == "tf32" else linalg.COMPUTE_TYPE_FP32
        linalg.set_compute_type(np.float32, kind)


def products_in(precision: str, x: Array) -> AbstractContextManager[None]:
    """Context manager: the products inside, of arrays like ``x``, are made in this precision."""
    return set_float32_precision(precision) if is_cupy(x) and precision != _precision else nullcontext()
