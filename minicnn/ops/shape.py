"""Rearranging a tensor without arithmetic: reshape, flatten, permute and their relatives.

Results share memory with ``x`` where they can.
"""

import math
from typing import Any

import numpy as np

from minicnn.errors import ArgumentError, ShapeError
from minicnn.kernels.arrays import Array, array_module
from minicnn.ops.axes import many_axes, one_axis
from minicnn.ops.geometry import integer
from minicnn.ops.operands import Shape, unbroadcast
from minicnn.record import record
from minicnn.tensor import Tensor, as_array


def reshape(x: Any, shape: Any) -> Tensor:
    """The same elements, in order, in another shape; one size may be -1: what is left.

    **Saves** nothing. **Raises** ShapeError when the number of elements differs.
    """
    xa = as_array(x, op="reshape", name="x")
    return _reshaped("reshape", x, xa, _wanted("reshape", shape, xa.shape))


def _wanted(op: str, shape: Any, old: Shape) -> Shape:
    sizes = [integer(op, "shape", size, -1) for size in (shape if isinstance(shape, (tuple, list)) else (shape,))]
    known, total = math.prod(size for size in sizes if size != -1), math.prod(old)
    if sizes.count(-1) > 1:
        raise ShapeError(f"{op}: shape {tuple(sizes)} has more than one -1; only one size can be left open")
    if -1 in sizes:
        if not known or total % known:
            raise ShapeError(
                f"{op}: x of shape {old} has {total} elements, which the known sizes of shape {tuple(sizes)} "
                "do not divide; fix: another shape"
            )
        sizes[sizes.index(-1)] = total // known
    elif known != total:
        raise ShapeError(
            f"{op}: x of shape {old} has {total} elements, but shape {tuple(sizes)} has {known}; fix: -1 for one size"
        )
    return tuple(sizes)


def _reshaped(op: str, x: Any, xa: Array, shape: Shape) -> Tensor:
    old = xa.shape
    return record(op, xa.reshape(shape), (x,), lambda gy, needs: (gy.reshape(old),))


def flatten(x: Any, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Dimensions ``start_dim`` to ``end_dim`` joined into one; a 0-d tensor becomes (1,). **Saves** nothing."""
    xa = as_array(x, op="flatten", name="x")
    start = one_axis("flatten", "start_dim", start_dim, xa.shape)
    end = one_axis("flatten", "end_dim", end_dim, xa.shape)
    if start > end:
        raise ArgumentError(
            f"flatten: start_dim={start_dim} comes after end_dim={end_dim} for x of shape {xa.shape}; fix: swap them"
        )
    joined = math.prod(xa.shape[start : end + 1])
    return _reshaped("flatten", x, xa, (*xa.shape[:start], joined, *xa.shape[end + 1 :]))


def permute(x: Any, dims: Any) -> Tensor:
    """The dimensions in another order: dimension ``i`` of the result is ``dims[i]`` of ``x``.

    **Saves** nothing. ``dims=None`` reverses them all.
    """
    xa = as_array(x, op="permute", name="x")
    order = tuple(reversed(range(xa.ndim))) if dims is None else _order(dims, xa.shape)
    return _permuted("permute", x, xa, order)


def _order(dims: Any, shape: Shape) -> tuple[int, ...]:
    if not isinstance(dims, (tuple, list)):
        raise ArgumentError(f"permute: dims={dims!r} is a {type(dims).__name__}, expected the order of the dimensions")
    given = tuple(dims[0]) if len(dims) == 1 and isinstance(dims[0], (tuple, list)) else tuple(dims)
    order = tuple(one_axis("permute", "dims", dim, shape) for dim in given)
    if sorted(order) != list(range(len(shape))):
        raise ArgumentError(f"permute: dims={given} is no order of the {len(shape)} dimensions of x {shape}")
    return order


def _permuted(op: str, x: Any, xa: Array, order: tuple[int, ...]) -> Tensor:
    back = tuple(np.argsort(order).tolist())
    return record(op, xa.transpose(order), (x,), lambda gy, needs: (gy.transpose(back),))


def transpose(x: Any, dim0: int, dim1: int) -> Tensor:
    """Two dimensions swapped. **Saves** nothing. (``Tensor.transpose(*axes)`` is NumPy's: see ``permute``.)"""
    xa = as_array(x, op="transpose", name="x")
    first, second = one_axis("transpose", "dim0", dim0, xa.shape), one_axis("transpose", "dim1", dim1, xa.shape)
    order = list(range(xa.ndim))
    if order:
        order[first], order[second] = order[second], order[first]
    return _permuted("transpose", x, xa, tuple(order))


def squeeze(x: Any, dim: Any = None) -> Tensor:
    """Dimensions of size 1 removed: all of them, or those in ``dim`` (others stay, as in PyTorch).

    **Saves** nothing.
    """
    xa = as_array(x, op="squeeze", name="x")
    axes = many_axes("squeeze", "dim", dim, xa.shape)
    return _reshaped("squeeze", x, xa, tuple(n for d, n in enumerate(xa.shape) if n != 1 or d not in axes))


def unsqueeze(x: Any, dim: int) -> Tensor:
    """A dimension of size 1 put in at position ``dim``. **Saves** nothing."""
    xa = as_array(x, op="unsqueeze", name="x")
    axis = one_axis("unsqueeze", "dim", dim, (*xa.shape, 1))
    return _reshaped("unsqueeze", x, xa, (*xa.shape[:axis], 1, *xa.shape[axis:]))


def broadcast_to(x: Any, shape: Any) -> Tensor:
    """Repeated without copying up to ``shape``; a size of -1 keeps that of ``x``.

    **Saves** nothing; the gradient is summed over the repetitions.
    **Raises** ShapeError unless every size of x, from the right, is 1 or the size wanted.
    """
    xa = as_array(x, op="broadcast_to", name="x")
    sizes = [integer("broadcast_to", "shape", n, -1) for n in (shape if isinstance(shape, (tuple, list)) else (shape,))]
    old, extra = xa.shape, len(sizes) - xa.ndim
    wanted = tuple(old[d - extra] if n == -1 and d >= extra else n for d, n in enumerate(sizes))
    if extra < 0 or -1 in wanted or any(a not in (1, b) for a, b in zip(old, wanted[extra:], strict=True)):
        raise ShapeError(
            f"broadcast_to: x of shape {old} cannot be repeated to shape {tuple(sizes)}; from the right, each size "
            "of x must be 1 or the wanted one"
        )
    y = array_module(xa).broadcast_to(xa, wanted)
    return record("broadcast_to", y, (x,), lambda gy, needs: (unbroadcast(gy, old),))
