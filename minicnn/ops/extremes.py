"""Largest and smallest elements over dimensions, and where they are. NaN wins every comparison, as in PyTorch."""

from typing import Any, NamedTuple

import numpy as np

from minicnn.errors import ShapeError
from minicnn.kernels.arrays import Array, allocate, array_module
from minicnn.ops.axes import many_axes, one_axis
from minicnn.ops.operands import Shape, quiet, rounded_once
from minicnn.ops.reduction import reduced_shape
from minicnn.record import record
from minicnn.tensor import Tensor, as_array

Needs = tuple[bool, ...]


class Extremes(NamedTuple):
    """What ``max(x, dim)`` returns."""

    values: Tensor
    indices: Tensor


@rounded_once
def max(x: Any, dim: Any = None, keepdim: bool = False) -> Tensor | Extremes:
    """The largest element; with ``dim``, the largest along it and its position: ``values, indices = max(x, 1)``.

    **Ties** without ``dim`` share the gradient evenly; with ``dim`` the first one is named and gets it all.
    **Saves** x (without ``dim``), or the indices. **Raises** ShapeError when there is no element.
    """
    return _extreme("max", x, keepdim) if dim is None else _along("max", x, dim, keepdim)


@rounded_once
def min(x: Any, dim: Any = None, keepdim: bool = False) -> Tensor | Extremes:
    """The smallest element; with ``dim``, the smallest along it and its position: ``values, indices = min(x, 1)``.

    **Ties** without ``dim`` share the gradient evenly; with ``dim`` the first one is named and gets it all.
    **Saves** x (without ``dim``), or the indices. **Raises** ShapeError when there is no element.
    """
    return _extreme("min", x, keepdim) if dim is None else _along("min", x, dim, keepdim)


@rounded_once
def amax(x: Any, dim: Any = None, keepdim: bool = False) -> Tensor:
    """The largest elements over ``dim`` (an int, several or None for all).

    **Ties** share the gradient evenly. **Saves** x and y. **Raises** ShapeError when there is no element.
    """
    return _extreme("amax", x, keepdim, dim)


@rounded_once
def amin(x: Any, dim: Any = None, keepdim: bool = False) -> Tensor:
    """The smallest elements over ``dim`` (an int, several or None for all).

    **Ties** share the gradient evenly. **Saves** x and y. **Raises** ShapeError when there is no element.
    """
    return _extreme("amin", x, keepdim, dim)


@rounded_once
def argmax(x: Any, dim: Any = None, keepdim: bool = False) -> Tensor:
    """Position of the largest element along ``dim``, or in the flattened tensor: int64. **Ties** the first."""
    return Tensor(_position("argmax", as_array(x, op="argmax", name="x"), dim, keepdim))


@rounded_once
def argmin(x: Any, dim: Any = None, keepdim: bool = False) -> Tensor:
    """Position of the smallest element along ``dim``, or in the flattened tensor: int64. **Ties** the first."""
    return Tensor(_position("argmin", as_array(x, op="argmin", name="x"), dim, keepdim))


@quiet
def _extreme(op: str, x: Any, keepdim: bool, dim: Any = None) -> Tensor:
    xa = as_array(x, op=op, name="x")
    axes = many_axes(op, "dim", dim, xa.shape)
    _check_some(op, xa.shape, axes)
    reduce = xa.max if op.endswith("max") else xa.min
    y = reduce(axes, keepdims=bool(keepdim))
    kept = reduced_shape(xa.shape, axes)

    def vjp(gy: Array, needs: Needs) -> tuple[Array]:
        best = y.reshape(kept)
        ties = ((xa == best) | ((xa != xa) & (best != best))).astype(gy.dtype)
        return (ties * (gy.reshape(kept) / ties.sum(axes, keepdims=True)),)

    return record(op, y, (x,), vjp)


@quiet
def _along(op: str, x: Any, dim: Any, keepdim: bool) -> Extremes:
    xa = as_array(x, op=op, name="x")
    axis = one_axis(op, "dim", dim, xa.shape)
    shape = xa.shape
    where = _position("arg" + op, xa, dim, True)
    y = array_module(xa).take_along_axis(xa, where, axis) if shape else xa.copy()

    def vjp(gy: Array, needs: Needs) -> tuple[Array]:
        if not shape:
            return (gy,)
        gx = allocate(gy, shape, fill=0)
        array_module(gy).put_along_axis(gx, where, gy.reshape(where.shape), axis)
        return (gx,)

    final = y.shape if keepdim else shape[:axis] + shape[axis + 1 :]
    return Extremes(record(op, y.reshape(final), (x,), vjp), Tensor(where.reshape(final)))


def _position(op: str, xa: Array, dim: Any, keepdim: bool) -> Array:
    """The index array of an argmax or argmin (0 for a 0-d tensor)."""
    axes = (one_axis(op, "dim", dim, xa.shape),) if dim is not None else many_axes(op, "dim", None, xa.shape)
    axes = axes if xa.ndim else ()
    _check_some(op, xa.shape, axes)
    axis = axes[0] if dim is not None and axes else None
    where = xa.argmax(axis) if op == "argmax" else xa.argmin(axis)
    final = reduced_shape(xa.shape, axes, keepdim)
    return (where if hasattr(where, "reshape") else np.asarray(where)).astype(np.int64).reshape(final)


def _check_some(op: str, shape: Shape, axes: tuple[int, ...]) -> None:
    empty = [d for d in axes if shape[d] == 0]
    if empty:
        raise ShapeError(f"{op}: x of shape {shape} has no elements along dimension {empty[0]}, expected at least 1")
