"""The fully connected layer: one matrix product a pass.

``x (R, I)`` holds the rows of all leading dimensions, ``weight (O, I)``, ``bias (O,)`` or None; ``y``, ``gy (R, O)``.
"""

import importlib
from functools import cache
from typing import Any

from minicnn.kernels.arrays import Array, allocate, array_module, is_abstract, is_cupy
from minicnn.kernels.counting import count_macs


def linear_forward(x: Array, weight: Array, bias: Array | None) -> Array:
    """``y = x W^T + b``, (R, I) @ (I, O)."""
    y = allocate(x, (x.shape[0], weight.shape[0]))
    count_macs("linear", x.shape[0] * weight.size)
    if not is_abstract(x):
        _product(x, 0, weight, 1, y)
        if bias is not None:
            y += bias
    return y


def linear_grad_x(gy: Array, weight: Array) -> Array:
    """``gx = gy W``, (R, O) @ (O, I)."""
    count_macs("linear_grad_x", gy.shape[0] * weight.size)
    gx = allocate(gy, (gy.shape[0], weight.shape[1]))
    _product(gy, 0, weight, 0, gx)
    return gx


def linear_grad_w(gy: Array, x: Array) -> Array:
    """``gW = gy^T x``, (O, R) @ (R, I)."""
    gw = allocate(x, (gy.shape[1], x.shape[1]))
    count_macs("linear_grad_w", gy.shape[0] * gw.size)
    _product(gy, 1, x, 0, gw)
    return gw


def _product(a: Array, a_flip: int, b: Array, b_flip: int, out: Array) -> None:
    """``out = A @ B``; a flipped operand is stored as its transpose."""
    if is_cupy(out):
        array_module(out).matmul(a.T if a_flip else a, b.T if b_flip else b, out=out)
    elif out.size:
        _kernels().product(a, a_flip, b, b_flip, out)


@cache
def _kernels() -> Any:
    return importlib.import_module("minicnn.kernels.linear.product_cpu")
