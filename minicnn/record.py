"""How an operation is written: ``unwrap`` the tensors, compute, and ``record`` the result with its vjp.

    def scale(x, factor):
        (xa,) = unwrap("scale", x=x)
        return record("scale", xa * factor, (x,), lambda gy, needs: (gy * factor,))

``record`` is the public way to add an operation (``docs/add_an_op.md``).
"""

from typing import Any

import numpy as np

from minicnn.context import is_abstract_mode, is_grad_enabled, running_layers
from minicnn.errors import ArgumentError, DeviceError, DTypeError
from minicnn.kernels.arrays import FLOAT_DTYPES, Array, contiguous, device_of, is_array, is_float, is_storage
from minicnn.kernels.shape_array import ShapeArray
from minicnn.tape import Node, Vjp, closed_over, owner
from minicnn.tensor import Tensor, as_array


def as_tensor(x: Any, op: str, name: str = "x") -> Tensor:
    """``x`` itself when it is a tensor, else a new tensor over it; errors name the operation and its argument."""
    return x if isinstance(x, Tensor) else Tensor.wrap(as_array(x, op=op, name=name))


def unwrap(op: str, optional: tuple[str, ...] = ("bias",), /, **arguments: Any) -> tuple[Any, ...]:
    """The contiguous raw arrays of an operation's float arguments, in order; None stays None.

    **Raises** ArgumentError for None where it is not one of ``optional``; DTypeError unless all are of one float dtype
    (on the GPU float16 and bfloat16 too); DeviceError unless all are on one device.
    """
    ready = _ready(optional, arguments)
    if ready is not None:
        return ready
    arrays = tuple(_unwrapped(op, optional, name, x) for name, x in arguments.items())
    given = [(name, array) for name, array in zip(arguments, arrays, strict=True) if array is not None]
    first_name, first = given[0]
    for name, array in given:
        check_float(op, name, array)
        if array.dtype != first.dtype:
            raise DTypeError(
                f"{op}: {name} has dtype {array.dtype}, but {first_name} has {first.dtype}; floats are never mixed "
                f"silently; fix: {name}.astype('{first.dtype}')"
            )
        check_device(op, (first_name, first), (name, array))
    return arrays


def _ready(optional: tuple[str, ...], arguments: dict[str, Any]) -> tuple[Any, ...] | None:
    """The common case, told quickly: tensors over contiguous NumPy arrays, or over shapes, of one float dtype."""
    kind = dtype = None
    arrays: list[Any] = []
    for name, x in arguments.items():
        if x is None and name in optional:
            arrays.append(None)
            continue
        if not isinstance(x, Tensor):
            return None
        array = x.data
        if dtype is None:
            kind, dtype = type(array), array.dtype
        if type(array) is not kind or array.dtype is not dtype:
            return None
        if not array.flags.c_contiguous:
            return None
        arrays.append(array)
    known = kind is ShapeArray or (kind is np.ndarray and not is_abstract_mode())
    return tuple(arrays) if known and dtype in FLOAT_DTYPES else None


def _unwrapped(op: str, optional: tuple[str, ...], name: str, x: Any) -> Array | None:
    if x is None:
        if name not in optional:
            raise ArgumentError(f"{op}: {name} is None, expected a tensor or an array")
        return None
    return contiguous(as_array(x, op=op, name=name))


def check_float(op: str, name: str, array: Array) -> None:
    """**Raises** DTypeError unless ``array`` is float32 or float64, or on the GPU float16 or bfloat16."""
    if array.dtype not in FLOAT_DTYPES and not is_storage(array.dtype):
        hint = "; images are usually divided by 255 too" if array.dtype == np.uint8 else ""
        raise DTypeError(
            f"{op}: {name} has dtype {array.dtype}, expected float32 or float64; fix: {name}.astype('float32'){hint}"
        )

    check_storage(op, name, array)


def check_storage(op: str, name: str, array: Array) -> None:
    """**Raises** DTypeError for float16 and bfloat16 on the CPU, whose kernels compute in float32 and float64 only."""
    if is_storage(array.dtype) and device_of(array) == "cpu":
        raise DTypeError(
            f"{op}: {name} has dtype {array.dtype}, in which only a GPU computes; fix: {name}.astype('float32'), or "
            f"{name}.to('gpu')"
        )


def check_device(op: str, first: tuple[str, Array], other: tuple[str, Array]) -> None:
    """**Raises** DeviceError when the two arrays lie on different devices (shapes without values go with any)."""
    here, there = device_of(first[1]), device_of(other[1])
    if here != there and "abstract" not in (here, there):
        raise DeviceError(f"{op}: {other[0]} is on {there}, but {first[0]} is on {here}; fix: {other[0]}.to('{here}')")


def record(name: str, y: Array, inputs: tuple[Any, ...], vjp: Vjp) -> Tensor:
    """Wrap the array ``y`` that an operation computed from ``inputs``, remembering how to go back.

    ``vjp(gy, needs)`` receives the gradient of ``y``, C-contiguous, and a bool an input; it returns a sequence with
    one gradient an input, of that input's shape and dtype, or None where ``needs`` is False. It must close over
    arrays, numbers and geometry, never over a Tensor: that would be a reference cycle holding activation memory. An
    array it returns must be fresh, a view, ``gy`` itself, or one it closes over. ``inputs`` that are not tensors
    (None, arrays, numbers) get no gradient.
    """
    return _record(name, (y,), inputs, vjp)[0]


def record_several(name: str, y: tuple[Array, ...], inputs: tuple[Any, ...], vjp: Vjp) -> tuple[Tensor, ...]:
    """``record`` for an operation with several outputs: ``gy`` is a tuple, None where no gradient flowed back."""
    if len(y) == 1:  # the tape hands a single gradient over bare
        return _record(name, y, inputs, lambda gy, needs: vjp((gy,), needs))
    return _record(name, y, inputs, vjp)


def _record(name: str, y: tuple[Array, ...], inputs: tuple[Any, ...], vjp: Vjp) -> tuple[Tensor, ...]:
    outputs = tuple([Tensor.wrap(a if is_array(a) else np.asarray(a)) for a in y])
    tensors = [x if isinstance(x, Tensor) else None for x in inputs]
    _share_versions(outputs, tensors)
    if is_grad_enabled():
        edges = tuple([None if x is None else x.edge for x in tensors])
        if any(edge is not None for edge in edges):
            facts = tuple([None if x is None else (x.shape, x.dtype) for x in tensors])
            node = Node(name, len(outputs), edges, facts, vjp)
            node.layers = running_layers()
            node.versions = _saved_versions(tensors, outputs, vjp)
            for index, output in enumerate(outputs):
                if is_float(output.dtype):
                    output.node, output.output, output.requires_grad = node, index, True
    return outputs


def _share_versions(outputs: tuple[Tensor, ...], inputs: list[Tensor | None]) -> None:
    """A write into an array is a write into its views: a result that is a view counts its input's writes."""
    for output in outputs:
        array = output.data
        base = getattr(array, "base", None)
        for x in inputs:
            if x is not None and (x.data is array or (base is not None and base is owner(x.data))):
                output.version = x.version


def _saved_versions(
    tensors: list[Tensor | None], outputs: tuple[Tensor, ...], vjp: Vjp
) -> tuple[tuple[Any, int, str, tuple[int, ...]], ...]:
    """Which inputs and results the vjp closes over (themselves or a view), with the write count they had."""
    saved = {id(owner(value)) for value in closed_over(vjp)}
    found = [
        (x.version, x.version[0], getattr(x, "name", "") or f"input {position}", x.shape)
        for position, x in enumerate(tensors)
        if x is not None and id(owner(x.data)) in saved
    ]
    found += [(y.version, y.version[0], "its result", y.shape) for y in outputs if id(owner(y.data)) in saved]
    return tuple(found)
