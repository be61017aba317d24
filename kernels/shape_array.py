"""``ShapeArray``: an array that has a shape and a dtype and no values.

It answers NumPy's own protocols (``__array_ufunc__``, ``__array_function__``), so the code that computes with
arrays computes with shapes unchanged, and no operation needs a second shape function.
"""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from contextvars import ContextVar
from typing import Any, Protocol

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin
from numpy.lib.stride_tricks import as_strided

from minicnn.context import bound

Shape = tuple[int, ...]

_IN_ORDER = np.zeros((2, 2)).flags  # of an array in C order: asking NumPy about each takes ten times as long


class Ledger(Protocol):
    """Who is told of memory that shapes would take, and give back."""

    def born(self, array: "ShapeArray") -> None:
        """An array with memory of its own."""

    def died(self, array: "ShapeArray") -> None:
        """It is gone."""


_ledger: ContextVar[Ledger | None] = ContextVar("minicnn_ledger", default=None)


def told_to(ledger: Ledger) -> AbstractContextManager[None]:
    """Inside the block, ``ledger`` hears of every array that begins or ends."""
    return bound(_ledger, ledger)


class ShapeArray(NDArrayOperatorsMixin):
    """Shape, strides and dtype of an array that is never computed.

    Reading a value (``float(x)``, ``x.item()``, ``np.asarray(x)``) raises ``TypeError``. As with NumPy's arrays,
    ``base`` is whose memory a view shares, and a view may lie in any order: what memory a pass would take, copies of
    such views included, can be told from shapes.
    """

    __slots__ = ("_strides", "base", "dtype", "shape")

    def __init__(self, shape: Shape, dtype: Any) -> None:
        self.base: ShapeArray | None = None
        self.shape = tuple(map(int, shape))
        self.dtype = np.dtype(dtype)
        self._strides: Shape | None = None  # None: one after the other, in C order
        if (ledger := _ledger.get()) is not None:
            ledger.born(self)

    def __del__(self, listening: Callable[[], Ledger | None] = _ledger.get) -> None:  # there when modules are gone, too
        if (ledger := listening()) is not None and self.base is None:
            ledger.died(self)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return int(self.size * self.dtype.itemsize)

    @property
    def T(self) -> "ShapeArray":
        return self._seen_as(self._layout().T)

    def __repr__(self) -> str:
        return f"ShapeArray({self.shape}, {self.dtype})"

    def __len__(self) -> int:
        return len(self._stand_in())

    def _no_value(self, *_: object, **__: object) -> Any:
        raise TypeError(f"a ShapeArray of shape {self.shape} has no values; run outside minicnn.abstract() to get them")

    __bool__ = __float__ = __int__ = __index__ = __array__ = item = tolist = _no_value

    @property
    def strides(self) -> Shape:
        if self._strides is not None:
            return self._strides
        steps = [self.dtype.itemsize]
        for length in self.shape[:0:-1]:
            steps.append(steps[-1] * max(length, 1))
        return tuple(steps[::-1][: self.ndim])

    @property
    def flags(self) -> Any:
        return _IN_ORDER if self._strides is None else self._layout().flags

    def _stand_in(self) -> np.ndarray:
        """An array of the same shape, every element of which is one zero: NumPy may read it."""
        return np.broadcast_to(np.zeros((), self.dtype), self.shape)

    def _layout(self) -> np.ndarray:
        """An array of the same shape and strides, of which nothing may be read: for NumPy's own rules of views."""
        return as_strided(np.zeros((), self.dtype), self.shape, self.strides)

    def _seen_as(self, layout: np.ndarray) -> "ShapeArray":
        return self._view(layout.shape, layout.strides)

    def _view(self, shape: Shape, strides: Shape | None) -> "ShapeArray":
        """A view of the same memory; without ``strides`` contiguous."""
        view = object.__new__(ShapeArray)
        view.shape, view.dtype, view._strides = shape, self.dtype, strides
        view.base = self if self.base is None else self.base
        return view

    def __getitem__(self, index: Any) -> "ShapeArray":
        parts = index if isinstance(index, tuple) else (index,)
        if all(part is None or part is ... or isinstance(part, (int, np.integer, slice)) for part in parts):
            if not any(part is ... for part in parts):
                parts = (*parts, ...)  # so that integers alone, too, make a view and read nothing
            return self._seen_as(self._layout()[parts])
        return ShapeArray(self._stand_in()[_plain_index(index)].shape, self.dtype)

    def __setitem__(self, index: Any, value: Any) -> None:
        target = self._stand_in()[_plain_index(index)].shape
        np.broadcast_shapes(target, np.shape(value) if not isinstance(value, ShapeArray) else value.shape)

    def astype(self, dtype: Any, copy: bool = True) -> "ShapeArray":
        return self if not copy and self.dtype == dtype else ShapeArray(self.shape, dtype)

    def copy(self, order: str = "C") -> "ShapeArray":
        return ShapeArray(self.shape, self.dtype)

    def fill(self, value: Any) -> None:
        """Nothing to fill."""

    def reshape(self, *shape: Any) -> "ShapeArray":
        wanted = tuple(shape[0]) if len(shape) == 1 and not isinstance(shape[0], int) else shape
        known = 1
        for length in wanted:
            known *= length if length != -1 else 1
        if -1 in wanted:
            free = self.size // known if known else 0
            wanted = tuple(free if length == -1 else length for length in wanted)
        if math.prod(wanted) != self.size:
            raise ValueError(f"cannot reshape array of size {self.size} into shape {wanted}")
        if self._strides is None:
            return self._view(tuple(map(int, wanted)), None)
        layout = self._layout()
        try:
            return self._seen_as(np.reshape(layout, wanted, copy=False))
        except ValueError:  # its elements do not lie in that order
            return ShapeArray(wanted, self.dtype)

    def ravel(self) -> "ShapeArray":
        return self.reshape(-1)

    def transpose(self, *axes: Any) -> "ShapeArray":
        return self._seen_as(self._layout().transpose(*axes))

    def squeeze(self, axis: Any = None) -> "ShapeArray":
        return self._seen_as(self._layout().squeeze(axis))

    def sum(self, axis: Any = None, dtype: Any = None, keepdims: bool = False) -> "ShapeArray":
        summed = np.zeros(1, self.dtype).sum(dtype=dtype).dtype
        return _reduced(self, axis, keepdims, summed)

    prod = sum

    def mean(self, axis: Any = None, dtype: Any = None, keepdims: bool = False) -> "ShapeArray":
        return _reduced(self, axis, keepdims, dtype or self.dtype)

    var = std = mean

    def max(self, axis: Any = None, keepdims: bool = False) -> "ShapeArray":
        return _reduced(self, axis, keepdims, self.dtype)

    min = max

    def any(self, axis: Any = None, keepdims: bool = False) -> "ShapeArray":
        return _reduced(self, axis, keepdims, np.bool_)

    all = any

    def argmax(self, axis: Any = None, keepdims: bool = False) -> "ShapeArray":
        return _reduced(self, axis, keepdims, np.int64)

    argmin = argmax

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        if method == "reduce":
            return _reduced(self, options.get("axis", 0), options.get("keepdims", False), self.dtype)
        if method != "__call__":
            return NotImplemented
        shapes = [getattr(x, "shape", ()) for x in inputs]
        shape = _matmul_shape(*shapes) if ufunc is np.matmul else np.broadcast_shapes(*shapes)
        if (out := options.get("out")) is not None:
            return out[0]
        known = tuple(x.dtype if hasattr(x, "dtype") else type(x) for x in inputs)
        dtypes = ufunc.resolve_dtypes((*known, *(None,) * ufunc.nout))[ufunc.nin :]
        results = tuple(ShapeArray(shape, options.get("dtype") or dtype) for dtype in dtypes)
        return results[0] if ufunc.nout == 1 else results

    def __array_function__(self, function: Callable[..., Any], types: Any, args: Any, kwargs: Any) -> Any:
        rule = _RULES.get(function.__name__)
        return NotImplemented if rule is None else rule(*args, **kwargs)


def _plain_index(index: Any) -> Any:
    """``index`` with any abstract index array replaced by zeros of its shape: the shape rule is the same."""
    parts = index if isinstance(index, tuple) else (index,)
    plain = tuple(np.zeros(part.shape, part.dtype) if isinstance(part, ShapeArray) else part for part in parts)
    return plain if isinstance(index, tuple) else plain[0]


def _reduced(x: ShapeArray, axis: Any, keepdims: bool, dtype: Any) -> ShapeArray:
    axes = range(x.ndim) if axis is None else np.atleast_1d(axis).tolist()
    gone = {np.lib.array_utils.normalize_axis_index(a, x.ndim) for a in axes}
    shape = tuple(1 if d in gone else size for d, size in enumerate(x.shape) if keepdims or d not in gone)
    return ShapeArray(shape, dtype)


def _matmul_shape(a: Shape, b: Shape) -> Shape:
    left, right = (1, *a) if len(a) == 1 else a, (*b, 1) if len(b) == 1 else b
    if left[-1] != right[-2]:
        raise ValueError(f"matmul: inner sizes differ: {a} @ {b}")
    tail = (left[-2],) * (len(a) > 1) + (right[-1],) * (len(b) > 1)
    return (*np.broadcast_shapes(left[:-2], right[:-2]), *tail)


def _like(x: Any) -> np.ndarray:
    return x._stand_in() if isinstance(x, ShapeArray) else np.asarray(x)


def _concatenate(arrays: Any, axis: int = 0) -> ShapeArray:
    first = arrays[0]
    axis = np.lib.array_utils.normalize_axis_index(axis, first.ndim)
    for other in arrays[1:]:
        if other.shape[:axis] != first.shape[:axis] or other.shape[axis + 1 :] != first.shape[axis + 1 :]:
            raise ValueError(f"cannot concatenate shapes {first.shape} and {other.shape} along axis {axis}")
    length = sum(a.shape[axis] for a in arrays)
    return ShapeArray(
        (*first.shape[:axis], length, *first.shape[axis + 1 :]), np.result_type(*(a.dtype for a in arrays))
    )


def _stack(arrays: Any, axis: int = 0) -> ShapeArray:
    return _concatenate([ShapeArray(np.expand_dims(_like(a), axis).shape, a.dtype) for a in arrays], axis)


def _pad(x: ShapeArray, width: Any, mode: str = "constant", **_: Any) -> ShapeArray:
    pairs = np.broadcast_to(np.asarray(width), (x.ndim, 2)).tolist()
    return ShapeArray(tuple(size + a + b for size, (a, b) in zip(x.shape, pairs, strict=True)), x.dtype)


def _where(condition: Any, a: Any, b: Any) -> ShapeArray:
    known = [x.dtype if hasattr(x, "dtype") else x for x in (a, b)]
    return ShapeArray(np.broadcast_shapes(*(np.shape(_like(x)) for x in (condition, a, b))), np.result_type(*known))


def _of_view(function: Callable[..., Any]) -> Callable[..., ShapeArray]:
    """The rule of a NumPy function that only returns a view: let NumPy apply it to its layout."""

    def rule(x: ShapeArray, *args: Any, **kwargs: Any) -> ShapeArray:
        return x._seen_as(function(x._layout(), *args, **kwargs))

    return rule


def _method(name: str) -> Callable[..., ShapeArray]:
    def rule(x: ShapeArray, *args: Any, **kwargs: Any) -> ShapeArray:
        result: ShapeArray = getattr(x, name)(*args, **kwargs)
        return result

    return rule


def _same(x: ShapeArray, *_: Any, dtype: Any = None, **__: Any) -> ShapeArray:
    return ShapeArray(x.shape, dtype or x.dtype)


_RULES: dict[str, Callable[..., Any]] = {
    "concatenate": _concatenate,
    "stack": _stack,
    "pad": _pad,
    "where": _where,
    "put_along_axis": lambda *_: None,
    "take_along_axis": lambda x, index, axis=-1: ShapeArray(index.shape, x.dtype),
    **dict.fromkeys(
        ("zeros_like", "empty_like", "ones_like", "full_like", "clip", "flip", "copy", "roll", "cumprod"), _same
    ),
    **{name: _method(name) for name in ("reshape", "ravel", "sum", "prod", "mean", "var", "std", "max", "min")},
    **{name: _method(name) for name in ("amax", "amin", "argmax", "argmin", "any", "all") if hasattr(ShapeArray, name)},
    "amax": _method("max"),
    "amin": _method("min"),
    **{
        function.__name__: _of_view(function)
        for function in (np.transpose, np.squeeze, np.expand_dims, np.moveaxis, np.swapaxes, np.broadcast_to)
    },
}
