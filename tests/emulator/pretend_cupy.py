"""The part of CuPy that minicnn uses, over host memory, as strict as CuPy itself.

An array is a ``ndarray`` that holds a NumPy array in ``host``. It never mixes with NumPy arrays, never becomes one
silently, reductions give 0-d arrays and not numbers, and every step that would make the host wait for a GPU
(``item``, ``bool``, ``asnumpy``, boolean indexing, ...) is counted in ``synchronisations``.
"""

import contextlib
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tests.emulator import pretend_cuda, pretend_linalg
from tests.emulator.pretend_cuda import Device, synchronisations
from tests.emulator.raw_module import RawModule, exposed, guarded


class ndarray(np.lib.mixins.NDArrayOperatorsMixin):
    """An array in the memory of a GPU that is not there."""

    __slots__ = ("__weakref__", "base", "host", "memory")

    def __init__(self, host: np.ndarray, base: "ndarray | None" = None) -> None:
        self.host, self.base = host, base
        self.memory = None if base is not None else pretend_cuda.get_allocator()(host.nbytes)

    # ---- what it is

    shape = property(lambda self: self.host.shape, lambda self, shape: setattr(self.host, "shape", shape))
    dtype = property(lambda self: self.host.dtype)
    ndim = property(lambda self: self.host.ndim)
    size = property(lambda self: self.host.size)
    nbytes = property(lambda self: self.host.nbytes)
    itemsize = property(lambda self: self.host.itemsize)
    strides = property(lambda self: self.host.strides)
    flags = property(lambda self: self.host.flags)
    data = property(lambda self: types.SimpleNamespace(ptr=exposed(self.host)))
    device = property(lambda self: Device(0))
    T = property(lambda self: self._result(self.host.T))

    def __len__(self) -> int:
        return len(self.host)

    def __repr__(self) -> str:
        return f"pretend_cupy.{self.host!r}"

    def _result(self, host: Any) -> "ndarray":
        """``host`` as an array; CuPy has no scalars, and a view knows whose memory it is."""
        if isinstance(host, np.ndarray) and np.may_share_memory(host, self.host):
            return ndarray(host, self if self.base is None else self.base)
        return owned(host)

    # ---- values out: the host waits

    def _waits(self, why: str) -> np.ndarray:
        synchronisations[why] += 1
        return self.host

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Use .get()")

    def get(self) -> np.ndarray:
        return self._waits("get").copy()

    def item(self, *index: int) -> Any:
        return self._waits("item").item(*index)

    def tolist(self) -> Any:
        return self._waits("tolist").tolist()

    def __bool__(self) -> bool:
        return bool(self._waits("bool"))

    def __float__(self) -> float:
        return float(self._waits("float"))

    def __int__(self) -> int:
        return int(self._waits("int"))

    def __index__(self) -> int:
        return int(self._waits("index"))

    def __complex__(self) -> complex:
        return complex(self._waits("complex"))

    # ---- arithmetic, indexing and methods

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        if method != "__call__":
            raise TypeError(f"CuPy has no {ufunc.__name__}.{method} through NumPy")
        return call(ufunc, *inputs, **options)

    def __array_function__(self, function: Callable[..., Any], types: Any, args: Any, kwargs: Any) -> Any:
        if function.__name__ not in FUNCTIONS:
            raise TypeError(f"no implementation of numpy.{function.__name__} for pretended CuPy arrays; see FUNCTIONS")
        return call(function, *args, **kwargs)

    def __getitem__(self, index: Any) -> "ndarray":
        return self._result(self.host[self._index(index)])

    def __setitem__(self, index: Any, value: Any) -> None:
        self.host[self._index(index)] = unwrapped(value)

    def _index(self, index: Any) -> Any:
        """An index as CuPy takes it: lists and NumPy arrays are copied to the device, a mask makes the host wait."""
        parts = index if isinstance(index, tuple) else (index,)
        if any(isinstance(part, (ndarray, np.ndarray)) and part.dtype == bool for part in parts):
            synchronisations["boolean index"] += 1
        plain = tuple(self._wrapped(parts))
        return plain if isinstance(index, tuple) else plain[0]

    def _wrapped(self, parts: tuple[Any, ...]) -> Iterator[Any]:
        """Integers in arrays are taken modulo the size of their dimension: CuPy does not look whether they fit."""
        hosts = [np.asarray(unwrapped(p)) if isinstance(p, (ndarray, list)) else p for p in parts]
        uses = [0 if p is None or p is Ellipsis else p.ndim if np.asarray(p).dtype == bool else 1 for p in hosts]
        axis = 0
        for part, used in zip(hosts, uses, strict=True):
            integers = isinstance(part, np.ndarray) and part.dtype.kind in "iu"
            yield part % max(self.shape[axis], 1) if integers else part
            axis += self.ndim - sum(uses) if part is Ellipsis else used

    def __iadd__(self, other: Any) -> "ndarray":
        np.add(self.host, unwrapped(other), out=self.host, casting="same_kind")
        return self

    def __isub__(self, other: Any) -> "ndarray":
        np.subtract(self.host, unwrapped(other), out=self.host, casting="same_kind")
        return self

    def __imul__(self, other: Any) -> "ndarray":
        np.multiply(self.host, unwrapped(other), out=self.host, casting="same_kind")
        return self

    def __itruediv__(self, other: Any) -> "ndarray":
        np.true_divide(self.host, unwrapped(other), out=self.host, casting="same_kind")
        return self

    def fill(self, value: Any) -> None:
        if isinstance(value, ndarray):  # CuPy looks whether it is 0
            self.host.fill(value._waits("fill with an array").item())
        else:
            self.host.fill(value)

    def copy(self, order: str = "C") -> "ndarray":
        return owned(self.host.copy(order))

    def astype(
        self, dtype: Any, order: str = "K", casting: Any = None, subok: Any = None, copy: bool = True
    ) -> "ndarray":
        return self if not copy and np.dtype(dtype) == self.dtype else owned(self.host.astype(dtype))


METHODS = """
    all any argmax argmin argsort clip cumprod cumsum diagonal dot flatten max mean min nonzero prod put ravel repeat
    reshape round searchsorted sort squeeze std sum swapaxes take trace transpose var view
"""


def _method(name: str) -> Callable[..., Any]:
    def method(self: ndarray, *args: Any, **kwargs: Any) -> Any:
        _as_cupy(name, (self, *args))
        return self._result(getattr(self.host, name)(*unwrapped(args), **unwrapped(kwargs)))

    method.__name__ = name
    return method


for _name in METHODS.split():
    setattr(ndarray, _name, _method(_name))

# The functions of cupy with NumPy's meaning; a test compares the names with CuPy's own.
_SAME = """
    abs absolute add all amax amin any arange argmax argmin argsort around array array_equal asarray
    ascontiguousarray atleast_1d bincount broadcast_to ceil clip concatenate copy cos cumprod cumsum divide einsum empty
    empty_like equal exp expand_dims expm1 eye flip floor full full_like greater greater_equal isfinite isinf isnan less
    less_equal linspace log log1p logaddexp logical_and logical_not logical_or matmul max maximum mean meshgrid min
    minimum moveaxis multiply negative nonzero not_equal ones ones_like pad power prod put_along_axis reciprocal repeat
    reshape roll rollaxis round sign sin sort split sqrt square squeeze stack std subtract sum swapaxes take
    take_along_axis tan tanh tensordot tile transpose tril triu true_divide unravel_index var where zeros
    zeros_like
"""
FUNCTIONS = frozenset(_SAME.split())
SYNCHRONISING = frozenset(("array_equal", "bincount", "nonzero"))  # CuPy asks the GPU for a size or a value
NO_BFLOAT16 = frozenset(("argmax", "argmin", "argsort", "bincount", "clip", "cumprod", "cumsum", "sort", "where"))


def _as_cupy(name: str, args: tuple[Any, ...]) -> None:
    """What CuPy does that NumPy does not: wait for the GPU, or refuse."""
    if name in SYNCHRONISING:
        synchronisations[name] += 1
    if name in NO_BFLOAT16 and any(isinstance(a, ndarray) and a.dtype.name == "bfloat16" for a in args):
        raise TypeError(f"Wrong type bfloat16 of arguments for cupy_{name}")


def owned(host: Any) -> ndarray:
    """A new array with guard bytes round it, as results of CuPy have memory of their own."""
    host = np.asarray(host)
    if host.dtype.kind not in "fiubV":
        return ndarray(host)
    memory = guarded(host.shape, host.dtype)
    memory[...] = host
    return ndarray(memory)


def unwrapped(value: Any) -> Any:
    """The host arrays inside arguments; a NumPy array is refused, as CuPy refuses it."""
    if isinstance(value, ndarray):
        return value.host
    if isinstance(value, np.ndarray):
        raise TypeError(f"Unsupported type {type(value)}")
    if isinstance(value, (tuple, list)):
        return type(value)(unwrapped(item) for item in value)
    if isinstance(value, dict):
        return {name: unwrapped(item) for name, item in value.items()}
    return value


def call(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """``function`` of NumPy on the host arrays; views stay views, an ``out`` is returned as it was given."""
    name = function.__name__
    _as_cupy(name, args)
    out = kwargs.pop("out", None)
    out = out[0] if isinstance(out, tuple) else out
    plain_args, plain = unwrapped(args), unwrapped(kwargs)
    if name == "matmul":
        return _matmul(plain_args, out)
    if name == "power" and all(np.asarray(value).dtype.kind in "iu" for value in plain_args):
        function = _integral_power
    if out is not None:
        function(*plain_args, out=out.host, **plain)
        return out
    result = function(*plain_args, **plain)
    first = next((a for a in args if isinstance(a, ndarray)), None)
    if isinstance(result, (tuple, list)):
        return type(result)(owned(part) for part in result)
    if result is None:
        return None
    return owned(result) if first is None else first._result(result)


def _integral_power(a: Any, b: Any) -> np.ndarray:
    """As CuPy: what NumPy refuses, a negative power of an integer, is rounded towards 0 without a word."""
    base, exponent = np.broadcast_arrays(a, b)
    small = np.where(base == 1, 1, np.where(base == -1, 1 - 2 * (exponent % 2), 0))
    result: np.ndarray = np.where(exponent < 0, small, np.power(base, np.maximum(exponent, 0)))
    return result.astype(np.result_type(a, b))


def _matmul(operands: tuple[np.ndarray, ...], out: ndarray | None) -> ndarray:
    """As cuBLAS: half and bfloat16 are multiplied and summed in float32, float32 perhaps as TF32."""
    a, b = pretend_linalg.factors(*operands)
    low = a.dtype.itemsize == 2
    product = np.matmul(a.astype(np.float32), b.astype(np.float32)).astype(a.dtype) if low else np.matmul(a, b)
    if out is None:
        return owned(product)
    if out.dtype != product.dtype or out.shape != product.shape:
        raise ValueError(f"matmul: out has shape {out.shape} and dtype {out.dtype}, expected {product.shape}")
    out.host[...] = product
    return out


def _module() -> types.ModuleType:
    cupy: Any = types.ModuleType("cupy")
    ndarray.__module__ = "cupy"
    for name in FUNCTIONS:
        setattr(cupy, name, _function(name))
    for name in ("float16", "float32", "float64", "int8", "int32", "int64", "uint8", "bool_", "inf", "nan", "newaxis"):
        setattr(cupy, name, getattr(np, name))
    cupy.ndarray, cupy.RawModule = ndarray, RawModule
    cupy.asarray = cupy.array = cupy.ascontiguousarray = _from_host
    cupy.asnumpy = lambda array: array.get() if isinstance(array, ndarray) else np.asarray(array)
    cupy.empty = lambda shape, dtype=float: ndarray(guarded(_shape(shape), np.dtype(dtype)))
    cupy.empty_like = lambda x, dtype=None: cupy.empty(x.shape, dtype or x.dtype)
    cupy.add.at = lambda target, index, values: np.add.at(target.host, unwrapped(index), unwrapped(values))
    cupy.__version__ = "14.0 (pretended)"
    cupy.cuda = pretend_cuda.cuda_module()
    cupy._core = types.SimpleNamespace(_routines_linalg=pretend_linalg)
    cupy.get_default_memory_pool = lambda: pretend_cuda.pool
    return cupy  # type: ignore[no-any-return]


def _shape(shape: Any) -> tuple[int, ...]:
    return (shape,) if isinstance(shape, (int, np.integer)) else tuple(shape)


def _from_host(data: Any, dtype: Any = None) -> ndarray:
    """The one door from host memory to the device; an array that is there already comes back itself."""
    if isinstance(data, ndarray):
        same = dtype is None or data.dtype == np.dtype(dtype)
        return data if same and data.flags.c_contiguous else owned(np.asarray(data.host, dtype, order="C"))
    return owned(np.asarray(data, dtype))


def _function(name: str) -> Callable[..., Any]:
    function = getattr(np, name)

    def forwarded(*args: Any, **kwargs: Any) -> Any:
        return call(function, *args, **kwargs)

    forwarded.__name__ = name
    return forwarded


cupy_module = _module()


@contextlib.contextmanager
def emulated_gpu() -> Iterator[types.ModuleType]:
    """Inside the block ``import cupy`` gives the pretended one, and ``"gpu"`` is a device of this machine."""
    before = sys.modules.get("cupy")
    sys.modules["cupy"] = cupy_module
    try:
        yield cupy_module
    finally:
        if before is None:
            del sys.modules["cupy"]
        else:
            sys.modules["cupy"] = before
