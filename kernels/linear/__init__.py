"""The fully connected layer, one matrix product a pass, and products of batches of matrices.

``x (R, I)`` holds the rows of all leading dimensions, ``weight (O, I)``, ``bias (O,)`` or None; ``y``, ``gy (R, O)``.
"""

import importlib
from functools import cache
from math import prod
from typing import Any

import numpy as np

from minicnn.kernels.arrays import Array, allocate, array_module, contiguous, is_abstract, is_cupy, is_storage
from minicnn.kernels.counting import count_macs


def linear_forward(x: Array, weight: Array, bias: Array | None) -> Array:
    """``y = x W^T + b``, (R, I) @ (I, O)."""
    y = allocate(x, (x.shape[0], weight.shape[0]))
    count_macs("linear", x.shape[0] * weight.size)
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


def matmul(a: Array, b: Array) -> Array:
    """``y = a b``, (*, M, K) @ (*, K, N), broadcasting over the leading dimensions; both may be transposed views."""
    if type(a) is not np.ndarray:
        return _matmul_elsewhere(a, b)
    lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    y = allocate(a, (*lead, a.shape[-2], b.shape[-1]), fill=None if a.shape[-1] else 0)
    if not (y.size and a.size):
        return y
    (left, a_flip), (right, b_flip) = _stored(a), _stored(b)
    if b.ndim == 2 and not (a_flip and a.ndim > 2):  # one matrix on the right: all rows meet it at once
        left = left if a_flip else left.reshape(-1, a.shape[-1])
        _product(left, a_flip, right, b_flip, y.reshape(-1, b.shape[-1]))
    else:
        _kernels().products(left, a_flip, right, b_flip, y)
    return y


def _matmul_elsewhere(a: Array, b: Array) -> Array:
    """CuPy multiplies batches of half in float32 anyway, and those of bfloat16 slowly."""
    xp = array_module(a)
    if b.ndim == 2:
        return xp.matmul(a.reshape(prod(a.shape[:-1]), a.shape[-1]), b).reshape(*a.shape[:-1], b.shape[-1])
    if is_storage(a.dtype):
        return xp.matmul(a.astype(np.float32), b.astype(np.float32)).astype(a.dtype)
    return xp.matmul(a, b)


def _stored(x: Array) -> tuple[Array, int]:
    """The contiguous array that a matrix, or a batch of them, is stored in, and whether as its transpose."""
    turned = x.swapaxes(-1, -2)
    if turned.flags.c_contiguous and not x.flags.c_contiguous:
        return turned, 1
    return contiguous(x), 0


def _product(a: Array, a_flip: int, b: Array, b_flip: int, out: Array) -> None:
    """``out = A @ B``; a flipped operand is stored as its transpose."""
    if is_cupy(out):
        array_module(out).matmul(a.T if a_flip else a, b.T if b_flip else b, out=out)
    elif out.size and not is_abstract(out):
        _kernels().product(a, a_flip, b, b_flip, out)


@cache
def _kernels() -> Any:
    return importlib.import_module("minicnn.kernels.linear.product_cpu")
