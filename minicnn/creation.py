"""New tensors of a given shape: zeros, ones, full, arange and random numbers. float32 unless told otherwise.

Random numbers are drawn on the CPU, so they are the same on every device.
Under ``minicnn.abstract()`` nothing is filled or drawn: the result is a shape.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from minicnn.context import is_abstract_mode
from minicnn.errors import ArgumentError
from minicnn.kernels.shape_array import ShapeArray
from minicnn.random import Generator, generator_or_default
from minicnn.tensor import Tensor, parse_dtype

Shape = tuple[int, ...]


def zeros(*size: Any, dtype: Any = np.float32, device: str | None = None, requires_grad: bool = False) -> Tensor:
    """Zeros of the shape ``size``: ``zeros(2, 3)`` or ``zeros((2, 3))``."""
    shape, dtype = _shape("zeros", size), parse_dtype("zeros", dtype)
    return _new(shape, dtype, lambda: np.zeros(shape, dtype), device, requires_grad)


def ones(*size: Any, dtype: Any = np.float32, device: str | None = None, requires_grad: bool = False) -> Tensor:
    """Ones of the shape ``size``."""
    shape, dtype = _shape("ones", size), parse_dtype("ones", dtype)
    return _new(shape, dtype, lambda: np.ones(shape, dtype), device, requires_grad)


def full(
    size: Any, fill_value: Any, dtype: Any = np.float32, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """``fill_value`` in every element of the shape ``size``."""
    shape, dtype = _shape("full", (size,)), parse_dtype("full", dtype)
    return _new(shape, dtype, lambda: np.full(shape, fill_value, dtype), device, requires_grad)


def arange(start: Any, end: Any = None, step: Any = 1, dtype: Any = None, device: str | None = None) -> Tensor:
    """Numbers from ``start`` (0 when only one is given) up to ``end``, which is left out.

    Whole numbers give int64, others float32, unless ``dtype`` is given.
    """
    if step == 0:
        raise ArgumentError("arange: step=0 never reaches the end, expected another number")
    numbers = np.arange(start, step=step) if end is None else np.arange(start, end, step)
    default = np.float32 if numbers.dtype.kind == "f" else np.int64
    return Tensor(numbers.astype(default if dtype is None else parse_dtype("arange", dtype)), device=device)


def randn(
    *size: Any,
    generator: Generator | None = None,
    dtype: Any = np.float32,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Standard normal numbers of the shape ``size``, from ``generator`` (default: the one ``manual_seed`` sets)."""
    shape, dtype, source = _shape("randn", size), parse_dtype("randn", dtype), generator_or_default(generator)
    return _new(shape, dtype, lambda: source.normal(size=shape).astype(dtype), device, requires_grad)


def rand(
    *size: Any,
    generator: Generator | None = None,
    dtype: Any = np.float32,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Uniform numbers on [0, 1) of the shape ``size``, from ``generator`` (default: the one ``manual_seed`` sets)."""
    shape, dtype, source = _shape("rand", size), parse_dtype("rand", dtype), generator_or_default(generator)
    below_one = np.nextafter(np.asarray(1, dtype), np.asarray(0, dtype))  # rounding to float32 could give 1
    return _new(
        shape,
        dtype,
        lambda: np.minimum(source.uniform(size=shape).astype(dtype), below_one),
        device,
        requires_grad,
    )


def _shape(op: str, size: tuple[Any, ...]) -> Shape:
    given = tuple(size[0]) if len(size) == 1 and isinstance(size[0], (tuple, list)) else size
    for length in given:
        if not isinstance(length, (int, np.integer)) or isinstance(length, bool) or length < 0:
            raise ArgumentError(f"{op}: size {given} has {length!r}, expected whole numbers of at least 0")
    return tuple(int(length) for length in given)


def _new(shape: Shape, dtype: Any, make: Callable[[], np.ndarray], device: str | None, requires_grad: bool) -> Tensor:
    array = ShapeArray(shape, dtype) if is_abstract_mode() else np.asarray(make())
    return Tensor(array, requires_grad, device=device)
