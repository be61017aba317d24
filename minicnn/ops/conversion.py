"""Copies of a tensor: of another dtype, on another device, or just another array."""

from typing import Any

import numpy as np

from minicnn.kernels.arrays import device_of
from minicnn.record import as_tensor, record
from minicnn.tensor import Tensor, as_array, move, parse_dtype


def astype(x: Any, dtype: Any) -> Tensor:
    """``x`` converted to ``dtype``; ``x`` itself when it has that dtype already. **Saves** nothing.

    Between float dtypes the gradient is converted back; integers and bools have no gradient.

    **Raises** DTypeError when ``dtype`` is none of float, integer or bool.
    """
    tensor, wanted = as_tensor(x, "astype"), parse_dtype("astype", dtype)
    xa = as_array(tensor)
    if xa.dtype == wanted:
        return tensor
    old = xa.dtype
    with np.errstate(all="ignore"):
        y = xa.astype(wanted)
    return record("astype", y, (tensor,), lambda gy, needs: (gy.astype(old),))


def to_device(x: Any, device: str) -> Tensor:
    """``x`` on ``device`` ("cpu", "gpu" = "cuda", "cuda:1"); ``x`` itself when it is there. **Saves** nothing.

    The gradient moves back. **Raises** DeviceError when this machine has no such device.
    """
    tensor = as_tensor(x, "to_device")
    old = device_of(tensor.data)
    y = move(tensor.data, device)
    if y is tensor.data:
        return tensor
    return record("to_device", y, (tensor,), lambda gy, needs: (move(gy, old),))


def clone(x: Any) -> Tensor:
    """A copy with its own memory; the gradient flows back to ``x``. **Saves** nothing."""
    return record("clone", as_array(x, op="clone", name="x").copy(), (x,), lambda gy, needs: (gy,))
