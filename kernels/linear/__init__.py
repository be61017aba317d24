"""The fully connected layer: one matrix product a pass.

``x (R, I)`` holds the rows of all leading dimensions, ``weight (O, I)``, ``bias (O,)`` or None; ``y``, ``gy (R, O)``.
"""

from minicnn.kernels.arrays import Array, allocate, array_module, is_abstract
from minicnn.kernels.counting import count_macs


def linear_forward(x: Array, weight: Array, bias: Array | None) -> Array:
    """``y = x W^T + b``, (R, I) @ (I, O)."""
    y = allocate(x, (x.shape[0], weight.shape[0]))
    count_macs("linear", x.shape[0] * weight.size)
    if not is_abstract(x):
        array_module(x).matmul(x, weight.T, out=y)
        if bias is not None:
            y += bias
    return y


def linear_grad_x(gy: Array, weight: Array) -> Array:
    """``gx = gy W``, (R, O) @ (O, I)."""
    count_macs("linear_grad_x", gy.shape[0] * weight.size)
    gx = allocate(gy, (gy.shape[0], weight.shape[1]))
    array_module(gy).matmul(gy, weight, out=gx)
    return gx


def linear_grad_w(gy: Array, x: Array) -> Array:
    """``gW = gy^T x``, (O, R) @ (R, I)."""
    gw = allocate(x, (gy.shape[1], x.shape[1]))
    count_macs("linear_grad_w", gy.shape[0] * gw.size)
    array_module(x).matmul(gy.T, x, out=gw)
    return gw
