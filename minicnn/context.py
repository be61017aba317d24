"""What holds for the running thread: gradient mode, abstract mode, recomputation and the stack of running layers.

All are ``ContextVar`` s: a new thread starts with the defaults, and no mode leaks out of its ``with`` block.
"""

import itertools
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

T = TypeVar("T")

_grad_enabled: ContextVar[bool] = ContextVar("minicnn_grad_enabled", default=True)
_abstract: ContextVar[bool] = ContextVar("minicnn_abstract", default=False)
_recomputing: ContextVar[bool] = ContextVar("minicnn_recomputing", default=False)
_layers: ContextVar[tuple[Any, ...]] = ContextVar("minicnn_layers", default=())


@contextmanager
def bound(variable: ContextVar[T], value: T) -> Iterator[None]:
    """Inside the block ``variable`` has ``value``, and afterwards what it had before."""
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)


def is_grad_enabled() -> bool:
    """Whether operations are recorded for the backward pass."""
    return _grad_enabled.get()


def set_grad_enabled(enabled: bool) -> AbstractContextManager[None]:
    """Record (or do not record) operations inside the block."""
    return bound(_grad_enabled, enabled)


def no_grad() -> Any:
    """Context manager: operations inside the block are not recorded, results never require gradients."""
    return set_grad_enabled(False)


def enable_grad() -> Any:
    """Context manager: operations are recorded again inside a ``no_grad`` block."""
    return set_grad_enabled(True)


def is_abstract_mode() -> bool:
    """Whether new tensors are shapes without values."""
    return _abstract.get()


def abstract() -> AbstractContextManager[None]:
    """Context manager: new tensors are ``ShapeArray`` s, so a model is built and run by its shapes alone.

    Nothing is computed and no weight is drawn: EfficientNet-sized models take milliseconds.
    """
    return bound(_abstract, True)


def is_recomputing() -> bool:
    """Whether a checkpointed block runs for the second time: state that it changed the first time must stay."""
    return _recomputing.get()


def recomputing() -> AbstractContextManager[None]:
    """Mark the block as the second run of a checkpointed one."""
    return bound(_recomputing, True)


class running_layer:
    """Context manager: ``layer`` (a module) is running; errors raised meanwhile name its path.

    A class, because every call of every layer enters it: a generator would cost three times as much.
    """

    __slots__ = ("_layer", "_token")

    def __init__(self, layer: Any) -> None:
        self._layer = layer

    def __enter__(self) -> None:
        self._token = _layers.set((*_layers.get(), self._layer))

    def __exit__(self, *_: object) -> None:
        _layers.reset(self._token)


def running_layers() -> tuple[Any, ...]:
    """The modules whose ``forward`` is running, outermost first."""
    return _layers.get()


def layer_path(layers: tuple[Any, ...] | None = None) -> str:
    """The dotted path of the innermost layer seen from the outermost one, e.g. ``layer3.0.conv2``.

    A module may call a grandchild directly, so each step searches all descendants of its caller.
    """
    stack = _layers.get() if layers is None else layers
    path: list[str] = []
    for caller, callee in itertools.pairwise(stack):
        path.append(next((name for name, module in caller.named_modules() if module is callee), "?"))
    return ".".join(path)
