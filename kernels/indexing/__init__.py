"""Adding at positions that may repeat: the backward pass of reading through an index.

On the CPU this is one call of NumPy's, which adds in the order of the index. A GPU would add with atomics, in whatever
order its threads come; here they are sorted by where they go instead, and one thread owns each element.
"""

from typing import Any

import numpy as np

from minicnn.kernels.arrays import Array, array_module, contiguous, is_cupy, twin


def add_at(gx: Array, index: tuple[Any, ...], gy: Array) -> None:
    """``gx[index] += gy`` in place, ``gx`` contiguous; an element that ``index`` names twice gets both, in order."""
    if is_cupy(gx) and gy.size:
        positions = _positions(gx.shape, index, array_module(gx))
        order = positions.argsort()  # CuPy's is stable
        twin(__name__, gx).add_at(contiguous(gy), order, positions[order], gx)
    elif isinstance(gx, np.ndarray):
        np.add.at(gx, index, gy)


def _positions(shape: tuple[int, ...], index: tuple[Any, ...], xp: Any) -> Array:
    """Where in the flat array each element of ``array[index]`` lies, as a vector: no more memory than the result."""
    total: Array = 0
    stride = 1
    for d in reversed(range(len(shape))):
        line = xp.arange(shape[d]).reshape(tuple(-1 if e == d else 1 for e in range(len(shape))))
        total = total + xp.broadcast_to(line, shape)[index] * stride
        stride *= shape[d]
    return total.ravel()
