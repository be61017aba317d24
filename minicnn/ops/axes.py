"""Parse ``dim`` arguments: every spelling of a dimension becomes a non-negative int, or an error that says why not."""

from typing import Any

from minicnn.errors import ArgumentError
from minicnn.ops.geometry import integer

Shape = tuple[int, ...]


def one_axis(op: str, name: str, dim: Any, shape: Shape) -> int:
    """``dim`` (negative counts from the end) as an axis of ``shape``; a 0-d tensor accepts 0 and -1, as in PyTorch."""
    number = integer(op, name, dim, -(10**9))
    rank = max(len(shape), 1)
    if not -rank <= number < rank:
        raise ArgumentError(
            f"{op}: {name}={number} is out of range for x of shape {shape}, expected {-rank} to {rank - 1}"
        )
    return number % rank


def many_axes(op: str, name: str, dim: Any, shape: Shape) -> tuple[int, ...]:
    """``dim`` as sorted axes: an int, a sequence of them, or None for all. Axis 0 of a 0-d tensor is no axis."""
    if dim is None:
        return tuple(range(len(shape)))
    axes = [one_axis(op, name, d, shape) for d in (dim if isinstance(dim, (tuple, list)) else (dim,))]
    if len(set(axes)) != len(axes):
        raise ArgumentError(f"{op}: {name}={dim} names a dimension twice")
    return tuple(sorted(axes)) if shape else ()
