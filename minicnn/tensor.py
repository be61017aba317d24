"""``Tensor``: an array, whether it wants a gradient, and where on the tape it came from.

The arithmetic lives in ``minicnn.ops``; the methods and operators of ``Operators`` only name it.
"""

import threading
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from minicnn import tape
from minicnn.context import is_abstract_mode, layer_path
from minicnn.devices import gpu, gpu_index
from minicnn.errors import ArgumentError, DeviceError, DTypeError, GradientError, OutOfMemoryError, ShapeError
from minicnn.kernels import rows
from minicnn.kernels.arrays import (
    Array,
    array_module,
    bfloat16,
    cupy,
    device_of,
    is_abstract,
    is_array,
    is_cupy,
    is_float,
    is_number,
)
from minicnn.kernels.shape_array import ShapeArray
from minicnn.operators import Operators

_accumulating = threading.Lock()


def as_array(
    data: Any, dtype: Any = None, device: str | None = None, *, op: str = "Tensor", name: str = "data"
) -> Array:
    """The array behind ``data``: lists and Python floats become float32, arrays keep their dtype.

    ``op`` and ``name`` say in errors whose argument it is.
    """
    wanted = None if dtype is None else parse_dtype(op, dtype)
    if isinstance(data, Tensor):
        data = data.data
    if is_array(data):
        array = data if wanted is None else data.astype(wanted, copy=False)
    else:
        array = from_values(data, wanted, op, name)
    if not is_number(array.dtype):
        kind = f"is a {type(data).__name__}" if array.dtype.kind == "O" else f"has dtype {array.dtype}"
        raise DTypeError(f"{op}: {name} {kind}, expected float, integer or bool numbers")
    if is_abstract_mode() and not is_abstract(array):
        array = ShapeArray(array.shape, array.dtype)
    return array if device is None else move(array, device)


def from_values(data: Any, dtype: Any, op: str, name: str) -> np.ndarray:
    """A NumPy array of what is no array yet: numbers, and lists of them."""
    try:
        array = np.asarray(data, dtype)
    except (ValueError, TypeError, OverflowError) as error:
        if "inhomogeneous" in str(error):
            raise ShapeError(f"{op}: {name} is a list whose rows differ in length, expected equal ones") from None
        raise DTypeError(f"{op}: {name} cannot become an array of {dtype or 'numbers'}: {error}") from None
    if dtype is None and array.dtype == np.float64 and not isinstance(data, np.generic):
        return array.astype(np.float32)
    return array


def parse_dtype(op: str, dtype: Any) -> np.dtype[Any]:
    """``dtype`` as NumPy's. **Raises** DTypeError unless it is float, integer or bool."""
    wanted: np.dtype[Any] | None
    if isinstance(dtype, str) and dtype == "bfloat16":
        return bfloat16()
    try:
        # To NumPy None is float64, and tuples and dicts are records.
        wanted = np.dtype(dtype) if isinstance(dtype, (str, type, np.dtype)) else None
    except TypeError:
        wanted = None
    if wanted is None:
        raise DTypeError(f"{op}: dtype={dtype!r} is unknown, expected for example 'float32' or 'int64'")
    if not is_number(wanted):
        raise DTypeError(f"{op}: dtype {wanted} is not supported, expected float, integer or bool")
    return wanted


def move(array: Array, device: str) -> Array:
    """``array`` on ``device``: ``"cpu"``, ``"gpu"`` = ``"cuda"`` (the current one) or ``"cuda:<index>"``.

    The host waits only for copies to the CPU.
    """
    index = gpu_index(device)
    if is_abstract(array):
        return array
    if index is None:
        return cupy().asnumpy(array) if is_cupy(array) else array
    there = gpu(device, index)
    with there:
        if is_cupy(array):
            return array if array.device.id == there.id else array.copy()
        return cupy().asarray(np.asarray(array, order="C"))


def beside(array: Array, x: Array) -> Array:
    """``array`` on the device of ``x``."""
    return array if is_abstract(x) else move(array, device_of(x))


class Tensor(Operators):
    """An n-dimensional array that remembers how it was computed.

    ``data`` is the raw NumPy or CuPy array (or a ``ShapeArray``); ``grad`` is a tensor without history, or None.
    Lists and Python floats become float32, NumPy arrays keep their dtype; only float tensors can require gradients.
    """

    __slots__ = ("__weakref__", "_data", "_hooks", "grad", "node", "output", "requires_grad", "version")
    __array_ufunc__ = None  # makes `ndarray * tensor` call Tensor.__rmul__

    def __init__(self, data: Any, requires_grad: bool = False, dtype: Any = None, device: str | None = None) -> None:
        self._data: Array = as_array(data, dtype, device)
        self.grad: Tensor | None = None
        self.node: tape.Node | None = None
        self.output = 0
        self.version = [0]  # shared with views of the same array (detach); counts announced writes
        self._hooks: list[Callable[[Tensor], Any]] | None = None
        self.requires_grad = requires_grad
        if requires_grad and not is_float(self._data.dtype):
            raise DTypeError(
                f"Tensor: requires_grad needs a float dtype, got {self._data.dtype}; fix: .astype('float32')"
            )

    @classmethod
    def wrap(cls, array: Array) -> "Tensor":
        """A tensor without history over ``array`` as it is: no conversion, no check. For the engine's own results."""
        tensor = Tensor.__new__(Tensor)
        tensor._data, tensor.grad, tensor.node, tensor.output = array, None, None, 0
        tensor.version, tensor._hooks, tensor.requires_grad = [0], None, False
        return tensor

    # ---- what it is

    @property
    def data(self) -> Array:
        """The raw array. Assigning counts as a write; writing into it by index must be announced by ``bump()``."""
        return self._data

    @data.setter
    def data(self, value: Any) -> None:
        array = as_array(value)
        if array.shape != self.shape:
            raise ShapeError(f"Tensor.data: cannot assign shape {array.shape} to a tensor of shape {self.shape}")
        if self.requires_grad and not is_float(array.dtype):
            raise DTypeError(
                f"Tensor.data: requires_grad needs a float dtype, got {array.dtype}; fix: .astype('float32')"
            )
        self._data = array
        self.bump()

    def bump(self) -> None:
        """Announce that the array was written, so that a backward pass which saved it refuses to run."""
        self.version[0] += 1

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self._data.shape)

    @property
    def ndim(self) -> int:
        return len(self._data.shape)

    @property
    def size(self) -> int:
        """How many elements (a number, as in NumPy; PyTorch's ``size()`` is ``shape`` here)."""
        return int(self._data.size)

    @property
    def dtype(self) -> np.dtype[Any]:
        dtype: np.dtype[Any] = self._data.dtype
        return dtype

    @property
    def device(self) -> str:
        return device_of(self._data)

    @property
    def is_leaf(self) -> bool:
        """Whether no recorded operation made it."""
        return self.node is None

    def __len__(self) -> int:
        if not self.shape:
            raise ShapeError("len() of a 0-d tensor; fix: use .item() for its value")
        return self.shape[0]

    def __iter__(self) -> Any:
        return (self[index] for index in range(len(self)))

    def __repr__(self) -> str:
        values = (
            ""
            if is_abstract(self._data)
            else np.array2string(move(self._data, "cpu"), threshold=20, precision=4) + ", "
        )
        made = f", op={self.node.name}" if self.node else ", requires_grad=True" if self.requires_grad else ""
        return f"Tensor({values}shape={self.shape}, dtype={self.dtype}, device={self.device}{made})"

    # ---- values out

    def numpy(self) -> np.ndarray:
        """The values as a NumPy array (the same memory when on the CPU)."""
        if is_abstract(self._data):
            raise DeviceError(f"Tensor.numpy: shape {self.shape} has no values; run outside minicnn.abstract()")
        array: np.ndarray = move(self._data, "cpu")
        return array

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if is_cupy(self._data):
            raise DeviceError("np.asarray of a tensor on the GPU would copy silently; fix: tensor.numpy()")
        return np.array(self.numpy(), dtype, copy=copy)

    def item(self) -> Any:
        """The value of a one-element tensor as a Python number."""
        if self.size != 1:
            raise ShapeError(f"Tensor.item: shape {self.shape} has {self.size} elements, expected exactly 1")
        return self.numpy().item()

    def tolist(self) -> Any:
        return self.numpy().tolist()

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __bool__(self) -> bool:
        return bool(self.item())

    # ---- gradients

    @property
    def edge(self) -> "tape.Edge":
        """Where this tensor's gradient goes: the node that made it, itself as a leaf, or nowhere."""
        if self.node is not None:
            return self.node, self.output
        return self if self.requires_grad else None

    def accumulate_grad(self, grad: Array, owned: bool) -> None:
        """Add to ``.grad`` (called by the tape; a leaf's gradient owns its array)."""
        for hook in self._hooks or ():
            replaced = _hooked(hook, grad)
            if replaced is not None:
                grad, owned = replaced, False
        with _accumulating:  # two threads may run backward into shared parameters
            if self.grad is None:
                self.grad = Tensor.wrap(grad if owned else grad.copy())
            else:
                self.grad._data += grad

    def backward(
        self, seed: Any = None, retain_graph: bool = False, final: Callable[[Any], None] | None = None
    ) -> None:
        """Add to ``.grad`` of every leaf the gradient of ``sum(self * seed)``.

        ``seed`` (PyTorch's ``gradient``) may be left out for a one-element tensor, where it is 1. ``final(leaf)`` is
        called for each leaf as soon as its ``.grad`` is complete, in the middle of the walk.
        """
        if self.edge is None:
            raise GradientError(
                "backward: this tensor has no history; fix: set requires_grad=True on an input or parameter"
            )
        if seed is None:
            if self.size != 1:
                raise GradientError(
                    f"backward: a tensor of shape {self.shape} needs a seed of that shape; fix: .sum() it first"
                )
            seed = array_module(self._data).ones_like(self._data)
        seed = as_array(seed)
        if seed.shape != self.shape or seed.dtype != self.dtype:
            raise GradientError(
                f"backward: seed has shape {seed.shape} and dtype {seed.dtype}, expected {self.shape} and {self.dtype}"
            )
        if device_of(seed) != self.device:
            raise DeviceError(f"backward: seed is on {device_of(seed)}, but the tensor on {self.device}; fix: move it")
        try:
            tape.backward(self.edge, seed, retain_graph, rows, final)
        except tape.TapeError as error:
            path = layer_path(error.node.layers)
            if isinstance(error.__cause__, OutOfMemoryError):
                raise error.__cause__.in_backward(path, error.node.name) from None
            if isinstance(error.__cause__, MemoryError):  # NumPy's, whose message says all
                raise error.__cause__ from None
            raise GradientError(f"{path}: {error}" if path else str(error)) from None

    def zero_grad(self) -> None:
        self.grad = None

    def detach(self) -> "Tensor":
        """The same values without history; shares memory."""
        tensor = Tensor.wrap(self._data)
        tensor.version = self.version
        return tensor

    def requires_grad_(self, requires_grad: bool = True) -> "Tensor":
        if self.node is not None and not requires_grad:
            raise GradientError("requires_grad_: this tensor was computed; fix: use .detach() to cut its history")
        if requires_grad and not is_float(self.dtype):
            raise DTypeError(f"requires_grad_: needs a float dtype, got {self.dtype}")
        self.requires_grad = requires_grad
        return self

    def register_hook(self, hook: Callable[["Tensor"], Any]) -> Callable[[], None]:
        """Call ``hook(grad)`` when this tensor's gradient is complete; what it returns (unless None) replaces it.

        Returns a function that removes the hook.
        """
        if self.edge is None:
            raise GradientError("register_hook: this tensor will get no gradient; fix: set requires_grad=True")
        if self.node is None:
            self._hooks = self._hooks or []
            self._hooks.append(hook)
            leaf_hooks = self._hooks
            return lambda: leaf_hooks.remove(hook)

        self.node.hooks = self.node.hooks or []
        node_hooks, entry = self.node.hooks, (self.output, partial(_hooked, hook))
        node_hooks.append(entry)
        return lambda: node_hooks.remove(entry)

    def retain_grad(self) -> None:
        """Keep this computed tensor's gradient in ``.grad`` too."""
        if self.node is None:
            return
        hooks = self.node.hooks = self.node.hooks or []
        if not any(output == self.output and isinstance(hook, _Keeper) for output, hook in hooks):
            hooks.append((self.output, _Keeper(self)))

    # ---- writing

    def copy_(self, values: Any) -> "Tensor":
        """Overwrite the values of this leaf in place (announced to the tape)."""
        source = as_array(values)
        if source.shape != self.shape:
            raise ShapeError(f"copy_: values have shape {source.shape}, expected {self.shape}")
        if self.node is not None:
            raise GradientError("copy_: this tensor was computed; fix: copy into a leaf or use .detach()")
        if not is_abstract(self._data):
            self._data[...] = move(source, self.device)
        self.bump()
        return self

    def __setitem__(self, index: Any, value: Any) -> None:
        raise ArgumentError(
            "tensors are not written by index; fix: build the result with ops.where / ops.concatenate, "
            "or write tensor.data[...] and call tensor.bump()"
        )


def _hooked(hook: Callable[[Tensor], Any], grad: Array) -> Array | None:
    """What ``hook`` makes of ``grad``; None: nothing. Kernels would read an array of another shape out of bounds."""
    replaced = hook(Tensor.wrap(grad))
    if replaced is None:
        return None
    array = as_array(replaced)
    found, wanted = ((a.shape, a.dtype, device_of(a)) for a in (array, grad))
    if found != wanted:
        raise GradientError(
            f"register_hook: the hook returned shape {found[0]} and dtype {found[1]} on {found[2]} for a gradient of "
            f"shape {wanted[0]} and dtype {wanted[1]} on {wanted[2]}; fix: return an array like the one it was given, "
            "or None"
        )
    return array


class _Keeper:
    """The hook of ``retain_grad``: adds what arrives to the tensor's ``.grad``."""

    def __init__(self, tensor: Tensor) -> None:
        self._tensor = weakref.ref(tensor)  # a strong one would be a cycle: tensor -> node -> hook -> tensor

    def __call__(self, grad: Array) -> None:
        tensor = self._tensor()
        if tensor is not None:
            tensor.grad = Tensor.wrap(grad.copy() if tensor.grad is None else tensor.grad.data + grad)
