"""The state of a module as a dictionary of arrays: collecting, checking and writing it."""

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from minicnn.errors import ArgumentError, CheckpointError
from minicnn.kernels.arrays import is_abstract, is_float
from minicnn.tensor import Tensor, move

if TYPE_CHECKING:
    from minicnn.nn.module import Module

T = TypeVar("T", bound=Tensor)
_SHOWN = 8  # misfits of a kind that a message lists


class LoadReport(NamedTuple):
    """What ``load_state_dict(strict=False)`` did not find on either side."""

    missing_keys: list[str]
    unexpected_keys: list[str]


def unique(module: "Module", own: "Callable[[Module], Iterable[tuple[str, T]]]") -> Iterator[tuple[str, T]]:
    """The tensors that ``own`` finds in each module, each object once, under its first path."""
    seen: set[int] = set()
    for prefix, submodule in module.named_modules():
        for name, tensor in own(submodule):
            if id(tensor) not in seen:
                seen.add(id(tensor))
                yield f"{prefix}.{name}" if prefix else name, tensor


def _stateful(module: "Module", prefix: str = "") -> Iterator[tuple[str, Tensor, bool]]:
    """(path, tensor, whether a state dict may lack it) in PyTorch's order; a tied tensor comes once a path."""
    for name, parameter in module.own_parameters():
        yield prefix + name, parameter, name in module.optional_state
    for name, buffer in module.own_buffers(persistent_only=True):
        yield prefix + name, buffer, name in module.optional_state
    for name, child in module.named_children():
        yield from _stateful(child, f"{prefix}{name}.")


def state_dict(module: "Module") -> dict[str, Any]:
    """Copies on the CPU; an abstract module gives its ``ShapeArray`` s."""
    return {
        path: tensor.data if is_abstract(tensor.data) else np.array(move(tensor.data, "cpu"))
        for path, tensor, _ in _stateful(module)
    }


def load_state_dict(module: "Module", values: Any, strict: bool) -> LoadReport:
    if not isinstance(values, Mapping):
        raise ArgumentError(f"load_state_dict: values is a {type(values).__name__}, expected name -> array")
    targets = {path: (tensor, optional) for path, tensor, optional in _stateful(module)}
    missing = [path for path, (_, optional) in targets.items() if path not in values and not optional]
    unexpected = [path for path in values if path not in targets]
    given = {path: _array(values[path]) for path in targets if path in values}
    problems = [problem for path, array in given.items() for problem in _misfit(path, array, targets[path][0])]
    if strict:
        problems = _names("missing", missing, unexpected) + _names("unexpected", unexpected, missing) + problems
    if problems:
        raise CheckpointError(
            f"load_state_dict: the values are not those of this {type(module).__name__}; nothing was written:\n  "
            + "\n  ".join(problems)
            + "\n  fix: build the model with the options it was saved with"
            + (", or strict=False to take what fits by name" if strict and (missing or unexpected) else "")
        )
    for path, array in given.items():
        target = targets[path][0]
        target.copy_(array.astype(target.dtype, copy=False))
    return LoadReport(missing, unexpected)


def _array(value: Any) -> Any:
    data = value.data if isinstance(value, Tensor) else value
    return data if is_abstract(data) else np.asarray(move(data, "cpu"))


def _misfit(path: str, array: Any, target: Tensor) -> Iterator[str]:
    if tuple(array.shape) != target.shape:
        yield f"{path}: has shape {tuple(array.shape)}, expected {target.shape}"
    elif is_float(array.dtype) != is_float(target.dtype):
        yield f"{path}: has dtype {array.dtype}, expected {target.dtype}"


def _names(kind: str, names: list[str], others: list[str]) -> list[str]:
    lines = []
    for name in names[:_SHOWN]:
        close = difflib.get_close_matches(name, others, 1, 0.5)
        lines.append(f"{kind} {name!r}" + (f" (nearest: {close[0]!r})" if close else ""))
    return lines + ([f"{kind}: {len(names) - _SHOWN} more"] if len(names) > _SHOWN else [])
