"""The three kinds of arrays a kernel gate can meet, and how it tells them apart.

NumPy arrays go to the Numba twins, CuPy arrays to the CUDA twins, and a ``ShapeArray`` (shape and dtype, no values)
goes nowhere: the gate allocates its output, and twins that do nothing fill it. Dispatch is by the type of the first
array, nothing else.
"""

import importlib
import sys
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np

from minicnn.errors import DeviceError, DTypeError, OutOfMemoryError
from minicnn.kernels import arena
from minicnn.kernels.shape_array import ShapeArray

# NumPy, CuPy or ShapeArray: CuPy's type cannot be named without importing CuPy.
Array = Any

FLOAT_DTYPES = (np.dtype(np.float32), np.dtype(np.float64))
# Storage types of the GPU, by name: computed in float32 there, only converted on the CPU. NumPy's own kinds do not
# tell that bfloat16 (of ml_dtypes) is a float.
STORAGE_DTYPES = ("float16", "bfloat16")


def is_abstract(x: Array) -> bool:
    """Whether ``x`` is a shape without values."""
    return type(x) is ShapeArray


def is_cupy(x: Array) -> bool:
    """Whether ``x`` is a CuPy array, told without importing CuPy."""
    return type(x) is not np.ndarray and type(x).__module__.partition(".")[0] == "cupy"


def is_array(x: object) -> bool:
    """Whether ``x`` is one of the three kinds of array."""
    return isinstance(x, (np.ndarray, ShapeArray)) or is_cupy(x)


_cupy: ModuleType | None = None


def cupy() -> ModuleType:
    """CuPy itself; the only place that imports it."""
    global _cupy
    if _cupy is None or sys.modules.get("cupy") is not _cupy:
        _cupy = _imported_cupy()
    return _cupy


def _imported_cupy() -> ModuleType:
    from minicnn.kernels.memory import explain_shortage

    try:
        xp = importlib.import_module("cupy")
    except ModuleNotFoundError as error:
        raise DeviceError(
            "the GPU needs CuPy, which is not installed; fix: pip install 'minicnn[cuda13]' (or 'minicnn[cuda12]')"
        ) from error
    except ImportError as error:
        reason = str(error).strip().splitlines()[-1]
        raise DeviceError(f"CuPy is installed but cannot be imported: {reason}; see `minicnn env`") from error
    explain_shortage(xp)
    return xp


def array_module(x: Array) -> Any:
    """``cupy`` for CuPy arrays, ``numpy`` for the other two (``ShapeArray`` answers NumPy's protocols)."""
    return cupy() if is_cupy(x) else np


def device_of(x: Array) -> str:
    """``"cpu"``, ``"cuda:<index>"`` or ``"abstract"``."""
    if type(x) is np.ndarray:
        return "cpu"
    if is_abstract(x):
        return "abstract"
    return f"cuda:{x.device.id}" if is_cupy(x) else "cpu"


def is_float(dtype: np.dtype[Any]) -> bool:
    """Whether ``dtype`` is a floating type, bfloat16 included."""
    return dtype.kind == "f" or dtype.name == "bfloat16"


def is_number(dtype: np.dtype[Any]) -> bool:
    """Whether ``dtype`` is a type of floats, integers or bools."""
    return dtype.kind in "fiub" or dtype.name == "bfloat16"


def is_storage(dtype: np.dtype[Any]) -> bool:
    """Whether ``dtype`` is float16 or bfloat16."""
    return dtype.itemsize == 2 and dtype.name in STORAGE_DTYPES


def bfloat16() -> np.dtype[Any]:
    """The dtype that ml_dtypes adds to NumPy; the only place that imports it."""
    try:
        dtype: np.dtype[Any] = np.dtype(importlib.import_module("ml_dtypes").bfloat16)
    except ModuleNotFoundError as error:
        raise DTypeError("dtype bfloat16 needs the package ml_dtypes; fix: pip install ml_dtypes") from error
    return dtype


def compute_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """What kernels compute in: float32 for float16 and bfloat16, else ``dtype`` itself."""
    return np.dtype(np.float32) if is_storage(dtype) else dtype


def allocate(x: Array, shape: tuple[int, ...], dtype: Any = None, fill: float | None = None) -> Array:
    """A new array of the kind and device of ``x`` (and its dtype unless given), uninitialised unless ``fill`` is.

    On the CPU a large one lies in memory that was used before (``kernels/arena.py``).

    **Raises** OutOfMemoryError that names the shape when the GPU has no room for it.
    """
    dtype = x.dtype if dtype is None else np.dtype(dtype)
    if is_abstract(x):
        return ShapeArray(shape, dtype)
    if not is_cupy(x):
        y = arena.empty(shape, dtype)
        if fill is not None:
            y.fill(fill)
        return y
    xp = cupy()
    try:
        if fill is None:
            return xp.empty(shape, dtype)
        return xp.zeros(shape, dtype) if fill == 0 else xp.full(shape, fill, dtype)
    except OutOfMemoryError as error:
        raise error.of_array(shape, dtype) from None


def contiguous(x: Array) -> Array:
    """``x`` itself when C-contiguous, else a contiguous copy."""
    if x.flags.c_contiguous:
        return x
    return x.copy() if is_abstract(x) else array_module(x).ascontiguousarray(x)


@cache
def _twin_module(name: str) -> ModuleType:
    return importlib.import_module(name)


class _Nowhere:
    """The twins of shapes: what they would write is allocated, and has no values."""

    def __getattr__(self, name: str) -> Any:
        return _nothing


def _nothing(*_: Any) -> None:
    pass


_NOWHERE = _Nowhere()


def twin(package: str, x: Array) -> Any:
    """The module with the twins of kernel family ``package`` for the kind of ``x``: its ``cpu`` or its ``cuda``.

    A twin writes into arrays that the gate has allocated; those of a ``ShapeArray`` do nothing. Modules are imported on
    first dispatch, so ``import minicnn`` loads neither Numba nor CuPy.
    """
    if type(x) is np.ndarray:
        return _twin_module(package + ".cpu")
    if is_abstract(x):
        return _NOWHERE
    if is_cupy(x):
        try:
            return _twin_module(package + ".cuda")
        except ModuleNotFoundError as error:
            raise DeviceError(f"{package} has no CUDA kernels yet; fix: move the tensors with .to('cpu')") from error
    raise TypeError(f"{package}: no kernels for arrays of type {type(x).__name__}")
