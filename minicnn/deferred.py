"""Results that are computed when they are read, so that what follows can be done in the same visit to the memory.

    relu(norm(conv(x)) + shortcut)

is what a model says; a pass for the norm, one for the sum and one for the ReLU is not what it needs. Inside the forward
pass of a module these three return a ``Deferred`` tensor, which knows its source and the ``step`` to do. Whoever reads
its values, history or gradient makes it first, so nothing else in the engine knows of it. A deferred tensor that only
the next step reads is never made: that step does both.

Who holds what is Python's own count of references, taken when the ``forward`` that made the tensor has usually
returned. It errs on the safe side only: what a hook or a running ``forward`` still holds, it can look at, so steps are
done one by one then. The same count tells when the memory of a source may be written over.
"""

import contextvars
import sys
from collections.abc import Callable
from math import prod
from typing import Any, TypeGuard

from minicnn.context import is_abstract_mode, layer_path, running_layers
from minicnn.errors import GradientError
from minicnn.tensor import Tensor

# What a Deferred lacks until it is made: slots of Tensor, so that reading one ends in ``__getattr__``.
_MADE = ("_data", "node", "output", "requires_grad", "version")

# run(source, steps, other, source_is_free, other_is_free): the result of the last step; what is free may be written.
Run = Callable[[Tensor, tuple[Any, ...], Tensor | None, bool, bool], Tensor]


class Deferred(Tensor):
    """What ``step`` makes of ``source`` and perhaps an ``other`` tensor; shape, dtype and device are the source's.

    Steps of rising ``rank`` may be done together; of one chain, only one has an ``other``.
    """

    __slots__ = ("_context", "_facts", "_other", "_run", "_source", "_step", "_versions")

    _facts: Any
    _source: Any  # this and what follows is None once it is made
    _other: Any
    _step: Any
    _run: Any
    _versions: Any
    _context: Any

    def __init__(self, source: Tensor, step: Any, run: Run, other: Tensor | None = None) -> None:
        for tensor in (source, other):  # chains stay short, whatever is added to whatever
            if is_pending(tensor) and tensor._step.rank >= step.rank:
                settle(tensor)
        self.grad, self._hooks = None, None
        self._facts = source.shape, source.dtype, source.device
        self._source, self._other, self._step, self._run = source, other, step, run
        self._versions = _version(source), _version(other)
        self._context = contextvars.copy_context()  # gradient mode and running layers

    def __getattr__(self, name: str) -> Any:
        if name not in _MADE or not is_pending(self):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        self._make()
        return getattr(self, name)

    def __reduce_ex__(self, protocol: Any) -> Any:
        settle(self)  # before it is copied
        return super().__reduce_ex__(protocol)

    @property
    def shape(self) -> tuple[int, ...]:
        return self._facts[0]  # type: ignore[no-any-return]

    @property
    def ndim(self) -> int:
        return len(self._facts[0])

    @property
    def size(self) -> int:
        return prod(self._facts[0])

    @property
    def dtype(self) -> Any:
        return self._facts[1]

    @property
    def device(self) -> str:
        return self._facts[2]  # type: ignore[no-any-return]

    def _make(self) -> None:
        first, other = self, self
        steps: tuple[Any, ...] = (self._step,)
        self._check_versions()
        while is_pending(first._source) and sys.getrefcount(first._source) == _ONE:
            first = first._source
            first._check_versions()
            steps = (first._step, *steps)
            other = first if other._other is None else other
        settle(first._source)
        settle(other._other)
        free = (
            sys.getrefcount(first._source) == _ONE and _is_owner(first._source),
            sys.getrefcount(other._other) == _ONE and _is_owner(other._other),
        )
        made = self._context.run(self._run, first._source, steps, other._other, *free)
        for name in _MADE:
            setattr(self, name, getattr(made, name))
        self._source = self._other = self._step = self._run = self._context = self._versions = None

    def _check_versions(self) -> None:
        for tensor, version in zip((self._source, self._other), self._versions, strict=True):
            if version is not None and version != _version(tensor):
                path = self._context.run(layer_path)
                raise GradientError(
                    f"{path}: a tensor of shape {tensor.shape} was written after it was given to an operation and "
                    "before the result was read; fix: write first, or read the result (y.data) before"
                )


def is_pending(x: Any) -> TypeGuard[Deferred]:
    """Whether ``x`` is a deferred tensor that is not made yet."""
    return type(x) is Deferred and x._step is not None


def may_defer() -> bool:
    """Whether a result may wait: inside the forward pass of a module, with values."""
    return bool(running_layers()) and not is_abstract_mode()


def settle(result: Any) -> None:
    """Make every deferred tensor of a result: a tensor, or a tuple, list or dict of results."""
    if is_pending(result):
        result._make()
    elif isinstance(result, (tuple, list, dict)):
        for part in result.values() if isinstance(result, dict) else result:
            settle(part)


def _version(x: Tensor | None) -> int | None:
    """The write count; None where nothing was there to be written."""
    return None if x is None or is_pending(x) else x.version[0]


def _is_owner(x: Tensor | None) -> bool:
    """Whether only ``x`` holds its array, and only the array its memory."""
    if x is None or sys.getrefcount(x._data) != _ONE:
        return False
    base = getattr(x._data, "base", None)
    return base is None or getattr(base, "sole", False)


class _Holder:
    __slots__ = ("held",)


_holder: Any = _Holder()
_holder.held = object()
_ONE = sys.getrefcount(_holder.held)  # of what one slot holds and nobody else
