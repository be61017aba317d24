"""``Module``: parameters, buffers and submodules found by attribute, and the call that knows where it runs.

Everything lives in the instance's own ``__dict__`` under its attribute name, so reading an attribute costs nothing
extra; the walks below tell parameters, buffers and submodules apart by type.
"""

import difflib
import itertools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from minicnn.context import layer_path, running_layer, running_layers
from minicnn.deferred import settle
from minicnn.errors import ArgumentError, DTypeError, MinicnnError
from minicnn.kernels.arrays import is_float
from minicnn.nn import state
from minicnn.nn.parameter import Parameter
from minicnn.tensor import Tensor, move, parse_dtype

_hook_numbers = itertools.count()
_NOTE = "in layer "


class HookHandle:
    """Removes a hook: ``handle.remove()``, or at the end of ``with module.register_forward_hook(f):``."""

    def __init__(self, hooks: dict[int, Callable[..., Any]], hook: Callable[..., Any]) -> None:
        self._hooks, self._number = hooks, next(_hook_numbers)
        hooks[self._number] = hook

    def remove(self) -> None:
        self._hooks.pop(self._number, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


class Module:
    """Base of all layers and models: subclass it, call ``super().__init__()``, assign layers, write ``forward``."""

    # Names that a state dict may lack (written by versions that did not have them yet).
    optional_state: frozenset[str] = frozenset()
    printed: tuple[str, ...] = ()  # attributes that ``repr`` shows
    training: bool

    def __init__(self) -> None:
        self._buffers: dict[str, bool] = {}  # name -> whether it belongs to the state dict
        self._forward_hooks: dict[int, Callable[..., Any]] = {}
        self._forward_pre_hooks: dict[int, Callable[..., Any]] = {}
        self.training = True

    # ---- attributes

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, (Parameter, Module)):
            if "_buffers" not in self.__dict__:
                raise self._not_initialised(name)
            if isinstance(value, Parameter) and not value.name:
                value.name = name
        elif isinstance(value, (list, tuple, dict)) and not name.startswith("_"):
            self._check_container(name, value)
        elif name in self.__dict__.get("_buffers", ()) and value is not None and not isinstance(value, Tensor):
            value = Tensor(value)
        object.__setattr__(self, name, value)

    def _not_initialised(self, name: str) -> ArgumentError:
        kind = type(self).__name__
        return ArgumentError(
            f"{kind}.{name}: the module is not initialised; fix: call super().__init__() first in {kind}.__init__"
        )

    def _check_container(self, name: str, value: Any) -> None:
        members = value.values() if isinstance(value, dict) else value
        lost = next((member for member in members if isinstance(member, (Parameter, Module))), None)
        if lost is not None:
            better = "ModuleDict" if isinstance(value, dict) else "ModuleList"
            raise ArgumentError(
                f"{type(self).__name__}.{name}: a plain {type(value).__name__} hides its {type(lost).__name__} from "
                f"parameters(), to() and state_dict(); fix: nn.{better}(...), or one attribute each"
            )

    if not TYPE_CHECKING:  # called only when the ordinary lookup fails

        def __getattr__(self, name: str) -> Any:
            if name.startswith("__"):  # Python asks, when it copies a module for example: no spelling mistake
                raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
            if "_buffers" not in self.__dict__:
                raise self._not_initialised(name)
            close = difflib.get_close_matches(name, [key for key in dir(self) if not key.startswith("_")], 1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}{hint}")

    def register_buffer(self, name: str, value: Any, persistent: bool = True) -> None:
        """State that is not learned (running statistics); in the state dict when ``persistent``. None: absent."""
        self._check_name("register_buffer", name)
        self._buffers[name] = persistent
        setattr(self, name, value)

    def register_parameter(self, name: str, value: Parameter | None) -> None:
        """Set a parameter under a computed name; None: absent."""
        self._check_name("register_parameter", name)
        setattr(self, name, value)

    def add_module(self, name: str, module: "Module") -> None:
        """Set a submodule under a computed name."""
        self._check_name("add_module", name)
        if not isinstance(module, Module):
            raise ArgumentError(f"add_module: {name!r} is a {type(module).__name__}, expected a Module")
        setattr(self, name, module)

    def _check_name(self, where: str, name: str) -> None:
        if not name or "." in name or hasattr(type(self), name):
            problem = "is taken by the class itself" if name and "." not in name else "must be non-empty, without dots"
            raise ArgumentError(f"{type(self).__name__}.{where}: the name {name!r} {problem}; fix: another name")

    # ---- running

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The computation; every subclass writes its own."""
        raise ArgumentError(f"{type(self).__name__}: has no forward; fix: define forward(self, x)")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with running_layer(self):
            try:
                for pre_hook in tuple(self._forward_pre_hooks.values()):
                    replaced = pre_hook(self, args)
                    if replaced is not None:
                        args = replaced if isinstance(replaced, tuple) else (replaced,)
                result = self.forward(*args, **kwargs)
                for hook in tuple(self._forward_hooks.values()):
                    replaced = hook(self, args, result)
                    result = result if replaced is None else replaced
                if len(running_layers()) == 1:  # nothing that could follow in the same pass
                    settle(result)
                return result
            except MinicnnError:  # carries the path already
                raise
            except Exception as error:
                if not any(note.startswith(_NOTE) for note in getattr(error, "__notes__", ())):
                    error.add_note(f"{_NOTE}{layer_path() or '(the model itself)'}: {type(self).__name__}.forward")
                raise

    def register_forward_hook(self, hook: Callable[["Module", Any, Any], Any]) -> HookHandle:
        """Call ``hook(module, args, output)`` after ``forward``; what it returns (unless None) replaces the output."""
        return HookHandle(self._forward_hooks, hook)

    def register_forward_pre_hook(self, hook: Callable[["Module", Any], Any]) -> HookHandle:
        """Call ``hook(module, args)`` before ``forward``; what it returns (unless None) replaces the arguments."""
        return HookHandle(self._forward_pre_hooks, hook)

    # ---- what is inside

    def named_children(self) -> Iterator[tuple[str, "Module"]]:
        """Direct submodules with their names, in the order of their first assignment."""
        for name, value in tuple(self.__dict__.items()):
            if isinstance(value, Module):
                yield name, value

    def children(self) -> Iterator["Module"]:
        return (module for _, module in self.named_children())

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, "Module"]]:
        """This module (under ``prefix``) and all inside it, depth first, each object once."""
        seen: set[int] = set()
        todo: list[tuple[str, Module]] = [(prefix, self)]  # a list: nested generators hand on each name at each depth
        while todo:
            path, module = todo.pop()
            if id(module) not in seen:
                seen.add(id(module))
                yield path, module
                todo += [(f"{path}.{name}" if path else name, child) for name, child in module.named_children()][::-1]

    def modules(self) -> Iterator["Module"]:
        return (module for _, module in self.named_modules())

    def own_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """The parameters of this module itself, without those of its submodules."""
        return ((name, value) for name, value in tuple(self.__dict__.items()) if isinstance(value, Parameter))

    def own_buffers(self, persistent_only: bool = False) -> Iterator[tuple[str, Tensor]]:
        """The buffers of this module itself, without those of its submodules."""
        for name, persistent in tuple(self._buffers.items()):
            value = getattr(self, name)
            if value is not None and (persistent or not persistent_only):
                yield name, value

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Every parameter once, under its first path."""
        return state.unique(self, lambda module: module.own_parameters())

    def parameters(self) -> Iterator[Parameter]:
        return (parameter for _, parameter in self.named_parameters())

    def named_buffers(self) -> Iterator[tuple[str, Tensor]]:
        """Every buffer once, under its first path."""
        return state.unique(self, lambda module: module.own_buffers())

    def buffers(self) -> Iterator[Tensor]:
        return (buffer for _, buffer in self.named_buffers())

    def get_submodule(self, path: str) -> "Module":
        """The module at a dotted path such as ``layer3.0.conv2``; the empty path is the module itself."""
        module = self
        for name in path.split(".") if path else ():
            child = module.__dict__.get(name)
            if not isinstance(child, Module):
                raise self._no_submodule(path)
            module = child
        return module

    def _no_submodule(self, path: str) -> ArgumentError:
        paths = [name for name, _ in self.named_modules() if name]
        close = difflib.get_close_matches(path, paths, 3)
        return ArgumentError(
            f"{type(self).__name__}.get_submodule: no module at {path!r}; "
            f"{f'nearest: {close}' if close else f'it has {paths[:8]}'}"
        )

    # ---- state

    def state_dict(self) -> dict[str, Any]:
        """Copies of all parameters and persistent buffers as NumPy arrays, by path (a tied one under each path)."""
        return state.state_dict(self)

    def load_state_dict(self, values: Any, strict: bool = True) -> state.LoadReport:
        """Write ``values`` (path -> tensor or array) into parameters and buffers, converted to their dtypes.

        Everything is checked before anything is written. Unless ``strict``, missing and unexpected names are only
        reported; wrong shapes always raise. **Raises** CheckpointError that lists every misfit.
        """
        return state.load_state_dict(self, values, strict)

    def train(self, mode: bool = True) -> Self:
        """Set training mode here and in all submodules."""
        for module in self.modules():
            module.training = bool(mode)
        return self

    def eval(self) -> Self:
        """Leave training mode: dropout passes through, batch norm uses its running statistics."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def zero_grad(self) -> None:
        for parameter in self.parameters():
            parameter.grad = None

    def apply(self, function: Callable[["Module"], Any]) -> Self:
        """Call ``function`` on every submodule, innermost first, then on this one."""
        for module in reversed(list(self.modules())):
            function(module)
        return self

    def to(self, device: str) -> Self:
        """Move parameters, their gradients and buffers to ``device``, in place."""
        return self._convert(lambda array: move(array, device))

    def astype(self, dtype: Any) -> Self:
        """Convert float parameters, gradients and buffers to the float ``dtype``, in place."""
        wanted = parse_dtype(f"{type(self).__name__}.astype", dtype)
        if not is_float(wanted):
            raise DTypeError(f"{type(self).__name__}.astype: dtype={wanted} holds no fractions, expected a float dtype")
        return self._convert(lambda array: array.astype(wanted) if is_float(array.dtype) else array)

    def double(self) -> Self:
        """Convert float parameters, gradients and buffers to float64, in place."""
        return self.astype(np.float64)

    def float(self) -> Self:
        """Convert float parameters, gradients and buffers to float32, in place."""
        return self.astype(np.float32)

    def _convert(self, function: Callable[[Any], Any]) -> Self:
        for tensor in itertools.chain(self.parameters(), self.buffers()):
            tensor.data = function(tensor.data)
            if tensor.grad is not None:
                tensor.grad.data = function(tensor.grad.data)
        return self

    # ---- printing

    def extra_repr(self) -> str:
        """The options printed in the parentheses of ``repr``."""
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in self.printed)

    def __repr__(self) -> str:
        lines = [f"({name}): {child!r}".replace("\n", "\n  ") for name, child in self.named_children()]
        if not lines:
            return f"{type(self).__name__}({self.extra_repr()})"
        head = [self.extra_repr()] if self.extra_repr() else []
        return f"{type(self).__name__}(\n  " + "\n  ".join(head + lines) + "\n)"
