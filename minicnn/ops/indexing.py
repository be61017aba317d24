"""Picking elements: ``x[...]``, gather and index_select.

A backward pass puts the gradient back where it was read; where one element was read twice the gradients are added in
the order of the index, so the result is the same run after run.
"""

from typing import Any

import numpy as np

from minicnn.errors import DTypeError, IndexRangeError
from minicnn.kernels.arrays import Array, array_module, is_array
from minicnn.record import record
from minicnn.tensor import Tensor, as_array


def getitem(x: Any, index: Any) -> Tensor:
    """``x[index]`` by NumPy's rules: ints, slices, None, ``...``, integer and bool arrays or tensors.

    Basic indexing shares memory with ``x``; index arrays copy. **Saves** the index.

    **Raises** IndexRangeError for an index outside ``x``, DTypeError for one that is no index.
    """
    xa = as_array(x)
    parts = tuple(_part(part) for part in (index if isinstance(index, tuple) else (index,)))
    try:
        y = xa[parts]
    except IndexError as error:
        raise IndexRangeError(f"getitem: x of shape {xa.shape} has no [{_shown(index)}]: {error}") from None
    shape = xa.shape
    repeats = any(is_array(part) and part.dtype.kind in "iu" for part in parts)
    return record("getitem", y, (x,), lambda gy, needs: (scattered(gy, shape, parts, repeats),))


def _part(part: Any) -> Any:
    """One component of an index, as NumPy takes it."""
    if isinstance(part, (Tensor, list)) or is_array(part):
        array = as_array(np.asarray(part, np.intp) if isinstance(part, list) and not part else part)
        if array.dtype.kind in "iub":
            return array
        raise DTypeError(
            f"getitem: an index array has dtype {array.dtype}, expected integers or bools; fix: .astype('int64')"
        )
    if part is None or part is Ellipsis or isinstance(part, (int, slice, np.integer, np.bool_)):
        return part
    raise DTypeError(f"getitem: {part!r} is a {type(part).__name__}, expected an int, a slice, None, ... or an array")


def _shown(index: Any) -> str:
    parts = index if isinstance(index, tuple) else (index,)
    return ", ".join(
        f"array of shape {part.shape}" if isinstance(part, Tensor) or is_array(part) else str(part) for part in parts
    )


def scattered(gy: Array, shape: tuple[int, ...], index: tuple[Any, ...], repeats: bool) -> Array:
    """Zeros of ``shape`` with ``gy`` added at ``index``; ``repeats``: an element may be named more than once."""
    xp = array_module(gy)
    gx = xp.zeros(shape, gy.dtype)
    if repeats:
        xp.add.at(gx, index, gy)
    else:
        gx[index] = gy
    return gx
