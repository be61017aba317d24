"""What two operands of an arithmetic operation become before they meet: arrays of one dtype, or Python numbers.

Python numbers, NumPy scalars and lists are *weak*: they take the dtype of the tensor beside them. Integer tensors take
the float tensor's dtype. Two different float dtypes are an error, never a silent promotion.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from minicnn.context import is_abstract_mode
from minicnn.errors import ArgumentError, DTypeError, ShapeError
from minicnn.kernels.arrays import FLOAT_DTYPES, Array, is_abstract, is_array, is_float, is_storage
from minicnn.ops.conversion import astype
from minicnn.record import check_device, check_float, check_storage
from minicnn.tensor import Tensor, as_array

Shape = tuple[int, ...]

# Overflow, 0/0 and log of a negative number give inf and NaN as in the kernels, not NumPy's warnings.
quiet = np.errstate(all="ignore")


# Operations that round once as they are, where all their operands are stored alike.
ONE_STEP = frozenset(("add", "sub", "mul", "neg"))


def rounded_once(operation: Callable[..., Any]) -> Callable[..., Any]:
    """The operation computed in float32 where its tensors are float16 or bfloat16, its results rounded back once.

    Array arithmetic in those types would round after every step, and a Python number beside bfloat16 makes float32.
    """

    @functools.wraps(operation)
    def computed(*args: Any, **kwargs: Any) -> Any:
        arguments = (*args, *kwargs.values())
        tensors = [x for x in arguments if hasattr(x, "dtype") and not isinstance(x, np.generic)]
        if not any(is_storage(x.dtype) for x in tensors):
            return operation(*args, **kwargs)
        for x in tensors:
            check_storage(operation.__name__, "x" if x is tensors[0] else "other", as_array(x))
        dtype = next(x.dtype for x in tensors if is_storage(x.dtype))
        if any(is_float(x.dtype) and x.dtype != dtype for x in tensors):
            return operation(*args, **kwargs)  # mixed floats: its own error names them
        if operation.__name__ in ONE_STEP and all(getattr(x, "dtype", None) == dtype for x in arguments):
            return operation(*args, **kwargs)
        widened = operation(*(_wide(x) for x in args), **{name: _wide(x) for name, x in kwargs.items()})
        if isinstance(widened, tuple):
            return type(widened)(*(_narrow(y, dtype) for y in widened))
        return _narrow(widened, dtype)

    return computed


def _wide(x: Any) -> Any:
    stored = hasattr(x, "dtype") and is_storage(x.dtype) and not isinstance(x, np.generic)
    return astype(x, np.float32) if stored else x


def _narrow(y: Tensor, dtype: Any) -> Tensor:
    return astype(y, dtype) if is_float(y.dtype) else y


def operands(op: str, **arguments: Any) -> tuple[Any, ...]:
    """The arguments as arrays of one dtype and device whose shapes broadcast; Python numbers stay Python numbers.

    **Raises** DTypeError for mixed float dtypes, ShapeError for shapes that do not broadcast, DeviceError.
    """
    ready = _ready(tuple(arguments.values()))
    if ready is not None:
        return ready
    values = {name: _value(op, name, value) for name, value in arguments.items()}
    if not any(is_array(value) for value in values.values()):
        first = next(iter(values))
        values[first] = as_array(values[first])
    strong = {n: v for n, v in values.items() if is_array(v) and not isinstance(arguments[n], (list, tuple))}
    arrays = {name: value for name, value in values.items() if is_array(value)}
    dtype = _common_float(op, strong or arrays, values)
    first_name, first = next(iter((strong or arrays).items()))
    for name, array in arrays.items():
        check_device(op, (first_name, first), (name, array))
        if dtype is not None and array.dtype != dtype:
            values[name] = array.astype(dtype)
    if dtype is None:
        _check_integers_fit(op, values)
    broadcast_shape(op, **{name: array.shape for name, array in arrays.items()})
    return tuple(values.values())


def _ready(values: tuple[Any, ...]) -> tuple[Any, ...] | None:
    """The common case, told quickly: float tensors of one shape and dtype on one device, beside Python numbers."""
    arrays = [value.data for value in values if isinstance(value, Tensor)]
    if not arrays or is_abstract_mode() or is_abstract(arrays[0]):
        return None
    first = arrays[0]
    if first.dtype not in FLOAT_DTYPES:
        return None
    for value in values:
        if isinstance(value, Tensor):
            array = value.data
            if type(array) is not type(first) or array.shape != first.shape or array.dtype != first.dtype:
                return None
            if array is not first and array.device != first.device:
                return None
        elif type(value) not in (float, int):
            return None
    return tuple(value.data if isinstance(value, Tensor) else value for value in values)


def float_operand(op: str, **arguments: Any) -> Array:
    """The one argument as a float array; integers and bools become float32."""
    ((name, x),) = arguments.items()
    array = as_array(_value(op, name, x))
    if not is_float(array.dtype):
        return array.astype(np.float32)
    check_float(op, name, array)
    return array


def _value(op: str, name: str, value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, (Tensor, list, tuple)) or is_array(value):
        return as_array(value, op=op, name=name)
    raise DTypeError(f"{op}: {name} is a {type(value).__name__}, expected a tensor, an array or a number")


def _common_float(op: str, strong: dict[str, Array], values: dict[str, Any]) -> Any:
    """The float dtype of the operation, or None when everything is integer."""
    floats = [(name, array) for name, array in strong.items() if is_float(array.dtype)]
    for name, array in floats:
        check_float(op, name, array)
        first_name, first = floats[0]
        if array.dtype != first.dtype:
            raise DTypeError(
                f"{op}: {name} has dtype {array.dtype}, but {first_name} has {first.dtype}; floats are never mixed "
                f"silently; fix: {name}.astype('{first.dtype}')"
            )
    if floats:
        return floats[0][1].dtype
    fractional = any(isinstance(v, float) or (is_array(v) and is_float(v.dtype)) for v in values.values())
    return np.dtype(np.float32) if fractional else None


def _check_integers_fit(op: str, values: dict[str, Any]) -> None:
    arrays = [value for value in values.values() if is_array(value)]
    kinds = [array.dtype for array in arrays if array.dtype.kind in "iu"]
    for name, number in values.items():
        for dtype in kinds if isinstance(number, int) else ():
            if not np.iinfo(dtype).min <= number <= np.iinfo(dtype).max:
                raise ArgumentError(f"{op}: {name}={number} does not fit in {dtype}; fix: .astype('int64') first")


def broadcast_shape(op: str, **shapes: Shape) -> Shape:
    """The shape the given shapes broadcast to, by NumPy's rule: equal from the right, or 1.

    **Raises** ShapeError naming the two that do not fit.
    """
    (first_name, result), *others = shapes.items()
    for name, shape in others:
        long, short = (result, shape) if len(result) >= len(shape) else (shape, result)
        tail = long[len(long) - len(short) :]
        for a, b in zip(tail, short, strict=True):
            if a != b and 1 not in (a, b):
                raise ShapeError(
                    f"{op}: {first_name} has shape {result} and {name} has shape {shape}; from the right, sizes "
                    f"must be equal or 1, but {a} meets {b}; fix: reshape or .unsqueeze(dim) one of them"
                )
        joined = tuple(b if a == 1 else a for a, b in zip(tail, short, strict=True))
        result = long[: len(long) - len(short)] + joined
    return result


def shape_of(value: Any) -> Shape:
    """The shape of an operand; a Python number has ()."""
    return tuple(value.shape) if is_array(value) else ()


def wants_grad(x: Any) -> bool:
    """Whether the gradient of this argument may be asked for, so that what it needs must be kept."""
    return isinstance(x, Tensor) and x.edge is not None


def unbroadcast(grad: Array, shape: Shape) -> Array:
    """The gradient of an operand of ``shape`` that was broadcast: summed over the dimensions it was repeated along."""
    if grad.shape == shape:
        return grad
    extra = grad.ndim - len(shape)
    repeated = tuple(d for d in range(grad.ndim) if d < extra or (shape[d - extra] == 1 and grad.shape[d] != 1))
    summed = grad.sum(repeated, keepdims=True)  # the repeated dimensions are 1 now
    return summed.reshape(shape) if extra else summed


def same_dtype_arrays(op: str, tensors: Any) -> list[Array]:
    """The arrays of a list of tensors, on one device; integers take the dtype of the floats among them."""
    values = {f"tensors[{position}]": _value(op, f"tensors[{position}]", x) for position, x in enumerate(tensors)}
    values = {name: as_array(value) for name, value in values.items()}
    dtype = _common_float(op, values, values)
    first = next(iter(values.items()))
    for name, array in values.items():
        check_device(op, first, (name, array))
    return [array if dtype is None else array.astype(dtype, copy=False) for array in values.values()]
