"""Picking elements: ``x[...]``, gather and index_select.

A backward pass puts the gradient back where it was read; where one element was read twice the gradients are added in
the order of the index, so the result is the same run after run.

CuPy wraps an index that is out of range round, silently, so for tensors on the GPU every index is checked here. Index
arrays on the CPU are checked there; one on the GPU makes the host wait for its values.
"""

from typing import Any

import numpy as np

from minicnn.errors import DTypeError, IndexRangeError, ShapeError
from minicnn.kernels import indexing as K
from minicnn.kernels.arrays import Array, allocate, array_module, is_abstract, is_array, is_cupy
from minicnn.ops.axes import one_axis
from minicnn.record import check_device, record
from minicnn.tensor import Tensor, as_array, beside, from_values


def getitem(x: Any, index: Any) -> Tensor:
    """``x[index]`` by NumPy's rules: ints, slices, None, ``...``, integer and bool arrays or tensors.

    Basic indexing shares memory with ``x``; index arrays copy. **Saves** the index.

    **Raises** IndexRangeError for an index outside ``x``, DTypeError for one that is no index.
    """
    xa = as_array(x, op="getitem", name="x")
    parts = tuple(_part(part) for part in (index if isinstance(index, tuple) else (index,)))
    repeats = any(is_array(part) and part.dtype.kind in "iu" for part in parts)
    try:
        parts = _on_device(xa, parts)
        y = xa[parts]
    except IndexError as error:
        raise IndexRangeError(f"getitem: x of shape {xa.shape} has no [{_shown(index)}]: {error}") from None
    shape = xa.shape
    return record("getitem", y, (x,), lambda gy, needs: (scattered(gy, shape, parts, repeats),))


def _part(part: Any) -> Any:
    """One component of an index, as NumPy takes it."""
    if isinstance(part, (Tensor, list)) or is_array(part):
        # Not as_array: an index given by its values keeps them in abstract mode, where a mask decides the shape.
        array = part.data if isinstance(part, Tensor) else part
        if isinstance(array, list):
            array = from_values(array, None if array else np.intp, "getitem", "index")
        if is_abstract(array) and array.dtype.kind == "b":
            raise ShapeError(
                "getitem: how many elements a mask without values picks is unknown; fix: give the mask as a NumPy array"
            )
        if array.dtype.kind in "iub":
            return array
        raise DTypeError(
            f"getitem: an index array has dtype {array.dtype}, expected integers or bools; fix: .astype('int64')"
        )
    if part is None or part is Ellipsis or isinstance(part, (int, slice, np.integer, np.bool_)):
        return part
    raise DTypeError(f"getitem: {part!r} is a {type(part).__name__}, expected an int, a slice, None, ... or an array")


def _on_device(xa: Array, parts: tuple[Any, ...]) -> tuple[Any, ...]:
    """``parts`` checked, their arrays moved to where ``xa`` is, masks as the positions they pick.

    **Raises** IndexError as NumPy's indexing does.
    """
    for part in parts:
        if is_cupy(part):
            check_device("getitem", ("x", xa), ("index", part))
    if not is_cupy(xa) or not any(is_array(part) or isinstance(part, (bool, np.bool_)) for part in parts):
        return parts
    taken = sum(_dimensions(part) for part in parts)
    if taken > xa.ndim:
        raise IndexError(f"too many indices: x has {xa.ndim} dimensions, but {taken} were indexed")
    placed: list[Any] = []
    axis = 0
    for part in parts:
        if is_array(part):
            placed += [beside(positions, xa) for positions in _positions(part, axis, xa.shape)]
        else:
            placed.append(part)
        axis += xa.ndim - taken if part is Ellipsis else _dimensions(part)
    return tuple(placed)


def _dimensions(part: Any) -> int:
    """How many dimensions of the array one component of an index uses up."""
    if isinstance(part, (bool, np.bool_)) or (is_array(part) and part.dtype.kind == "b" and not part.ndim):
        raise DTypeError("getitem: a single bool is no index on the GPU; fix: x[None], or x.to('cpu')")
    if is_array(part) and part.dtype.kind == "b":
        return int(part.ndim)
    return 0 if part is None or part is Ellipsis else 1


def _positions(part: Array, axis: int, shape: tuple[int, ...]) -> tuple[Array, ...]:
    """One index array a dimension from ``axis`` on, every index in range."""
    if part.dtype.kind == "b":
        if part.shape != shape[axis : axis + part.ndim]:
            raise IndexError(f"a mask of shape {part.shape} meets dimensions of {shape[axis : axis + part.ndim]}")
        positions: tuple[Array, ...] = part.nonzero()
        return positions
    size, part = shape[axis], part.astype(np.int64, copy=False)
    outside = (part < -size) | (part >= size)
    if bool(outside.any()):
        found = int(part.ravel()[int(outside.argmax())])
        raise IndexError(f"index {found} is out of bounds for axis {axis} with size {size}")
    return (part,)


def _shown(index: Any) -> str:
    parts = index if isinstance(index, tuple) else (index,)
    return ", ".join(
        f"array of shape {part.shape}" if isinstance(part, Tensor) or is_array(part) else str(part) for part in parts
    )


def scattered(gy: Array, shape: tuple[int, ...], index: tuple[Any, ...], repeats: bool) -> Array:
    """Zeros of ``shape`` with ``gy`` added at ``index``; ``repeats``: an element may be named more than once."""
    gx = allocate(gy, shape, fill=0)
    if repeats:
        K.add_at(gx, index, gy)
    else:
        gx[index] = gy
    return gx


def gather(x: Any, dim: int, index: Any) -> Tensor:
    """One element of ``x`` for each element of ``index``, which says where along ``dim``.

    **Shapes** index has the rank of x and, but for ``dim``, at most its sizes; the result has the shape of index.
    **Math** for dim 1: ``y[i, j, k] = x[i, index[i, j, k], k]``. **Saves** index. **Ties** gradients of an element read
    twice are added.

    **Raises** IndexRangeError naming the first index outside ``0 .. size-1``; DTypeError unless index is integer.
    """
    xa = as_array(x, op="gather", name="x")
    ia = _integers("gather", index, xa)
    axis = one_axis("gather", "dim", dim, xa.shape)
    fits = all(a <= b or d == axis for d, (a, b) in enumerate(zip(ia.shape, xa.shape, strict=False)))
    if ia.ndim != xa.ndim or not fits:
        raise ShapeError(
            f"gather: index has shape {ia.shape}, but x has {xa.shape}; expected the same rank and sizes "
            f"no larger than those of x but for dim={axis}"
        )
    check_range("gather", ia, xa.shape[axis] if xa.ndim else 1)
    ia = beside(ia, xa)
    if not xa.ndim:
        return record("gather", xa.copy(), (x,), lambda gy, needs: (gy,))
    parts = tuple(ia if d == axis else _along(ia, d) for d in range(xa.ndim))
    shape = xa.shape
    return record("gather", xa[parts], (x,), lambda gy, needs: (scattered(gy, shape, parts, True),))


def _along(index: Array, d: int) -> Array:
    """0, 1, 2, ... along dimension ``d`` of ``index``, of size 1 in the others."""
    line = array_module(index).arange(index.shape[d])
    return line.reshape(tuple(-1 if e == d else 1 for e in range(index.ndim)))


def index_select(x: Any, dim: int, index: Any) -> Tensor:
    """The slices of ``x`` along ``dim`` that ``index`` (a vector, or one number) names, in its order.

    **Shapes** the size of ``dim`` becomes the length of index. **Saves** index.

    **Raises** IndexRangeError naming the first index outside ``0 .. size-1``; DTypeError unless index is integer.
    """
    xa = as_array(x, op="index_select", name="x")
    ia = _integers("index_select", index, xa)
    axis = one_axis("index_select", "dim", dim, xa.shape)
    if ia.ndim > 1 or not xa.ndim:
        raise ShapeError(
            f"index_select: x has shape {xa.shape} and index {ia.shape}, expected at least 1 dimension and at most 1"
        )
    check_range("index_select", ia, xa.shape[axis])
    ia = beside(ia, xa)
    parts, shape = ((slice(None),) * axis + (ia.reshape(-1),)), xa.shape
    return record("index_select", xa[parts], (x,), lambda gy, needs: (scattered(gy, shape, parts, True),))


def _integers(op: str, index: Any, x: Array) -> Array:
    array = as_array(index, op=op, name="index")
    if array.dtype.kind not in "iu":
        raise DTypeError(f"{op}: index has dtype {array.dtype}, expected integers; fix: index.astype('int64')")
    if is_cupy(array):
        check_device(op, ("x", x), ("index", array))
    return array


def check_range(op: str, index: Array, size: int) -> None:
    """**Raises** IndexRangeError naming the first element of ``index`` outside ``0 .. size-1``."""
    if is_abstract(index):
        return
    outside = (index < 0) | (index >= size)
    if bool(outside.any()):
        where = tuple(int(i) for i in np.unravel_index(int(outside.argmax()), index.shape))
        raise IndexRangeError(
            f"{op}: index{list(where)} is {int(index[where])}, expected 0 to {size - 1}: the dimension has size {size}"
        )
