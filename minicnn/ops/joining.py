"""Putting tensors together and taking them apart along a dimension."""

from itertools import accumulate, pairwise
from typing import Any

from minicnn.errors import ArgumentError, ShapeError
from minicnn.kernels.arrays import Array, allocate, array_module
from minicnn.kernels.rows import joined
from minicnn.ops.axes import many_axes, one_axis
from minicnn.ops.geometry import integer
from minicnn.ops.operands import same_dtype_arrays
from minicnn.record import record, record_several
from minicnn.tensor import Tensor, as_array

Needs = tuple[bool, ...]


def cat(tensors: Any, dim: int = 0) -> Tensor:
    """Tensors laid end to end along ``dim`` (``concatenate`` is another name).

    **Shapes** equal but for ``dim``, whose sizes add up. **Saves** nothing.

    **Raises** ShapeError for an empty list or sizes that differ elsewhere.
    """
    inputs, arrays = _listed("cat", tensors)
    first = arrays[0].shape
    axis = one_axis("cat", "dim", dim, first)
    for position, array in enumerate(arrays):
        if array.ndim == 0:
            raise ShapeError(f"cat: tensors[{position}] has shape (), expected at least 1 dimension; fix: ops.stack")
        if (*array.shape[:axis], *array.shape[axis + 1 :]) != (*first[:axis], *first[axis + 1 :]):
            raise ShapeError(
                f"cat: tensors[{position}] has shape {array.shape}, but tensors[0] has {first}; all sizes but that of "
                f"dim={axis} must be equal"
            )
    bounds = list(pairwise(accumulate((array.shape[axis] for array in arrays), initial=0)))
    lead = (slice(None),) * axis

    def vjp(gy: Array, needs: Needs) -> list[Array | None]:
        return [gy[(*lead, slice(a, b))] if needed else None for (a, b), needed in zip(bounds, needs, strict=True)]

    return record("cat", joined(arrays, axis), inputs, vjp)


def stack(tensors: Any, dim: int = 0) -> Tensor:
    """Tensors of one shape laid side by side along a new dimension ``dim``. **Saves** nothing.

    **Raises** ShapeError for an empty list or shapes that differ.
    """
    inputs, arrays = _listed("stack", tensors)
    first = arrays[0].shape
    axis = one_axis("stack", "dim", dim, (*first, 1))
    for position, array in enumerate(arrays):
        if array.shape != first:
            raise ShapeError(
                f"stack: tensors[{position}] has shape {array.shape}, but tensors[0] has {first}; all must be equal"
            )
    lead = (slice(None),) * axis

    def vjp(gy: Array, needs: Needs) -> list[Array | None]:
        return [gy[(*lead, i)] if needed else None for i, needed in enumerate(needs)]

    return record("stack", array_module(arrays[0]).stack(arrays, axis), inputs, vjp)


def _listed(op: str, tensors: Any) -> tuple[tuple[Any, ...], list[Array]]:
    if not isinstance(tensors, (list, tuple)):
        raise ArgumentError(f"{op}: tensors is a {type(tensors).__name__}, expected a list of tensors")
    if not tensors:
        raise ShapeError(f"{op}: the list of tensors is empty, expected at least one")
    return tuple(tensors), same_dtype_arrays(op, tensors)


def split(x: Any, split_size_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """``x`` cut along ``dim`` into pieces of one size (the last may be smaller), or of the given sizes.

    The pieces share memory with ``x``. **Saves** nothing.

    **Raises** ShapeError when the given sizes do not add up to that of ``dim``.
    """
    xa = as_array(x, op="split", name="x")
    axis = one_axis("split", "dim", dim, xa.shape)
    if not xa.ndim:
        raise ShapeError("split: x has shape (), expected at least 1 dimension")
    size = xa.shape[axis]
    if isinstance(split_size_or_sections, (list, tuple)):
        sizes = [integer("split", "split_size_or_sections", n, 0) for n in split_size_or_sections]
        if sum(sizes) != size:
            raise ShapeError(f"split: sizes {sizes} add up to {sum(sizes)}, but dim={axis} of x {xa.shape} is {size}")
    else:
        each = integer("split", "split_size_or_sections", split_size_or_sections, 1)
        sizes = [min(each, size - start) for start in range(0, size, each)] or [0]
    return _pieces("split", x, xa, sizes, axis)


def chunk(x: Any, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """``x`` cut along ``dim`` into ``chunks`` pieces of equal size, the last smaller; fewer when it does not go round.

    The pieces share memory with ``x``. **Saves** nothing.
    """
    xa = as_array(x, op="chunk", name="x")
    axis = one_axis("chunk", "dim", dim, xa.shape)
    if not xa.ndim:
        raise ShapeError("chunk: x has shape (), expected at least 1 dimension")
    size, count = xa.shape[axis], integer("chunk", "chunks", chunks, 1)
    each = -(-size // count)
    sizes = [min(each, size - start) for start in range(0, size, each)] if size else [0] * count
    return _pieces("chunk", x, xa, sizes, axis)


def _pieces(op: str, x: Any, xa: Array, sizes: list[int], axis: int) -> tuple[Tensor, ...]:
    lead, shape = (slice(None),) * axis, xa.shape
    cuts = [(*lead, slice(a, b)) for a, b in pairwise(accumulate(sizes, initial=0))]

    def vjp(grads: tuple[Array | None, ...], needs: Needs) -> tuple[Array]:
        some = next(g for g in grads if g is not None)
        gx = allocate(some, shape, fill=0)
        for cut, grad in zip(cuts, grads, strict=True):
            if grad is not None:
                gx[cut] = grad
        return (gx,)

    return record_several(op, tuple(xa[cut] for cut in cuts), (x,), vjp)


def flip(x: Any, dims: Any) -> Tensor:
    """The order of the elements reversed along ``dims``. **Saves** nothing."""
    xa = as_array(x, op="flip", name="x")
    axes = many_axes("flip", "dims", tuple(dims) if isinstance(dims, (list, tuple)) else (dims,), xa.shape)
    turn = tuple(slice(None, None, -1) if d in axes else slice(None) for d in range(xa.ndim))
    return record("flip", xa[turn], (x,), lambda gy, needs: (gy[turn],))
