"""Rows of numbers added, copied and scaled: what is plain arithmetic, where it is large.

NumPy computes it in one thread, into memory fresh from the system. Here all threads do, into memory that was used
before. Arrays that are small, not of rows, or of the GPU are left to NumPy and CuPy. A *row* is what one index of the
first dimension selects; it must be contiguous, and rows may lie apart, as those of ``x[:, 3:5]`` do.
"""

import importlib
from functools import cache
from math import prod
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from minicnn.kernels.arrays import FLOAT_DTYPES, Array, allocate, array_module, is_abstract
from minicnn.kernels.shape_array import ShapeArray

# Numbers that NumPy adds or copies, and scales by planes, before other threads would have begun.
FEW, FEW_SCALED = 1 << 18, 1 << 14


def added(a: Array, b: Array) -> Array:
    """``a + b``, both of one shape and dtype."""
    if type(a) is not np.ndarray or a.dtype != b.dtype:
        return a + b
    y = allocate(a, a.shape)
    if not (_is_large(a) and _has_rows(a) and _has_rows(b)):
        return np.add(a, b, out=y)
    rows, length = _sizes(a, b)
    _kernels().add(*_flat(a, rows), *_flat(b, rows), y.reshape(-1), rows, length)
    return y


def add_into(a: Array, b: Array) -> None:
    """``a += b``, both of one shape and dtype."""
    if is_abstract(a) or not (_is_large(a) and a.dtype == b.dtype and a.flags.c_contiguous and _has_rows(b)):
        a += b
        return
    rows, length = _sizes(a, b)
    _kernels().add_into(a.reshape(-1), *_flat(b, rows), rows, length)


def copied(x: Array) -> Array:
    """A contiguous copy."""
    if type(x) is not np.ndarray:
        return x.copy(order="C")
    y = allocate(x, x.shape)
    if _is_large(x) and _has_rows(x):
        rows, length = _sizes(x)
        _kernels().copy(*_flat(x, rows), y.reshape(-1), length, 0, rows, length)
    else:
        np.copyto(y, x)
    return y


def joined(arrays: list[Array], axis: int) -> Array:
    """The contiguous ``arrays``, of one dtype and equal sizes but for ``axis``, laid end to end along it."""
    first = arrays[0]
    y = allocate(first, (*first.shape[:axis], sum(a.shape[axis] for a in arrays), *first.shape[axis + 1 :]))
    if is_abstract(y):
        return y
    if not _is_large(y) or not all(a.flags.c_contiguous and a.dtype == y.dtype for a in arrays):
        array_module(y).concatenate(arrays, axis, out=y)
        return y
    rows, at = prod(first.shape[:axis]), 0
    pitch, flat = y.size // rows, y.reshape(-1)
    for array in arrays:
        length = array.size // rows
        _kernels().copy(array.reshape(-1), length, flat, pitch, at, rows, length)
        at += length
    return y


def multiplied(a: Array, b: Array) -> Array:
    """``a * b``, where one of them may hold a number for each plane ``[n, c]`` of the other."""
    a, b = (b, a) if has_scales(b, a.shape) else (a, b)
    if not has_scales(a, b.shape) or a.dtype != b.dtype:
        return a * b
    y = allocate(a, a.shape)
    if not is_abstract(y):
        _kernels().scale(a.reshape(-1), b.reshape(-1), y.reshape(-1))
    return y


def product_sums(a: Array, b: Array) -> Array:
    """``y[n, c] = sum over * of a * b``, in float64. **Shapes** equal, (N, C, *) -> (N, C, 1, ...)."""
    y = allocate(a, (*a.shape[:2], *(1,) * (a.ndim - 2)))
    if not is_abstract(y):
        _kernels().product_sums(a.reshape(-1), b.reshape(-1), y.reshape(-1))
    return y


def has_scales(x: Array, shape: tuple[int, ...]) -> bool:
    """Whether an operand of ``shape`` multiplies each plane of ``x`` by a number, and ``x`` is worth these kernels."""
    return (
        len(shape) == x.ndim > 2
        and shape[:2] == x.shape[:2]
        and shape[2:] == (1,) * (x.ndim - 2)
        and _is_large(x, FEW_SCALED)
        and bool(x.flags.c_contiguous)
    )


def _is_large(x: Array, few: int = FEW) -> bool:
    return type(x) in (np.ndarray, ShapeArray) and x.size > few and x.dtype in FLOAT_DTYPES


def _has_rows(x: Array) -> bool:
    if x.flags.c_contiguous:
        return True
    row: Array = x[0]
    step, size = x.strides[0], x.itemsize
    return bool(row.flags.c_contiguous and step >= row.nbytes and step % size == 0)


def _sizes(*arrays: Array) -> tuple[int, int]:
    """How many rows, and how long: a single one where all arrays are contiguous."""
    first = arrays[0]
    rows = 1 if all(a.flags.c_contiguous for a in arrays) else len(first)
    return rows, first.size // rows


def _flat(x: Array, rows: int) -> tuple[Array, int]:
    """All that lies between the first number and the last, flat, and how far apart rows begin."""
    if x.flags.c_contiguous:
        return x.reshape(-1), x.size // rows
    pitch = x.strides[0] // x.itemsize
    return as_strided(x, ((rows - 1) * pitch + x.size // rows,), (x.itemsize,)), pitch


@cache
def _kernels() -> Any:
    return importlib.import_module("minicnn.kernels.rows.rows_cpu")
