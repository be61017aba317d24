"""Matrix products of vectors, matrices and batches of matrices."""

import math
from typing import Any

from minicnn.errors import ShapeError
from minicnn.kernels import linear as K
from minicnn.kernels.arrays import Array
from minicnn.kernels.counting import count_macs
from minicnn.ops.operands import Shape, broadcast_shape, unbroadcast
from minicnn.record import record, unwrap
from minicnn.tensor import Tensor


def matmul(x: Any, other: Any) -> Tensor:
    """Matrix product, broadcasting over the leading dimensions.

    **Shapes** (*, M, K) @ (*, K, N) -> (*, M, N); a vector (K,) is a row on the left, a column on the right, and its
    dimension of 1 is removed again. **Math** ``y[m, n] = sum_k x[m, k] other[k, n]``. **Saves** x and other.

    **Raises** ShapeError when K differs, the leading dimensions do not broadcast, or an operand is a number.
    """
    a, b = unwrap("matmul", x=x, other=other)
    _check(a.shape, b.shape)
    left, right = ((1, *a.shape) if a.ndim == 1 else a.shape), ((*b.shape, 1) if b.ndim == 1 else b.shape)
    y = _product("matmul", a.reshape(left), b.reshape(right))
    full = y.shape
    squeezed = full[:-2] + full[-2:-1] * (a.ndim > 1) + full[-1:] * (b.ndim > 1)

    def vjp(gy: Array, needs: tuple[bool, ...]) -> tuple[Array | None, ...]:
        g = gy.reshape(full)
        gx = _grad_left(g, b.reshape(right), left).reshape(a.shape) if needs[0] else None
        gother = _grad_right(g, a.reshape(left), right).reshape(b.shape) if needs[1] else None
        return gx, gother

    return record("matmul", y.reshape(squeezed), (x, other), vjp)


def _check(a: Shape, b: Shape) -> None:
    if not a or not b:
        raise ShapeError(f"matmul: x has shape {a} and other {b}, each needs a dimension; fix: x * other")
    inner = b[-2] if len(b) > 1 else b[0]
    if a[-1] != inner:
        raise ShapeError(
            f"matmul: x has shape {a} and other has shape {b}; the last size of x ({a[-1]}) must equal the "
            f"{'second last' if len(b) > 1 else 'only'} size of other ({inner}); fix: transpose one of them"
        )
    broadcast_shape("matmul", x=a[:-2], other=b[:-2])


def _swapped(x: Array) -> Array:
    return x.transpose(*range(x.ndim - 2), x.ndim - 1, x.ndim - 2)


def _product(op: str, a: Array, b: Array) -> Array:
    """(*, M, K) @ (*, K, N), counted."""
    lead = broadcast_shape(op, x=a.shape[:-2], other=b.shape[:-2])
    count_macs(op, math.prod((*lead, *a.shape[-2:], b.shape[-1])))
    return K.matmul(a, b)


def _grad_left(gy: Array, b: Array, shape: Shape) -> Array:
    """``gx = gy @ other^T``, summed over the leading dimensions x was repeated along."""
    return unbroadcast(_product("matmul_grad_x", gy, _swapped(b)), shape)


def _grad_right(gy: Array, a: Array, shape: Shape) -> Array:
    """``gother = x^T @ gy``; for a single matrix the sum over the batch is part of the GEMM."""
    if len(shape) == 2 and gy.shape[:-2] == a.shape[:-2]:
        rows = math.prod(a.shape[:-1])
        return _product("matmul_grad_other", _swapped(a.reshape(rows, shape[0])), gy.reshape(rows, shape[1]))
    return unbroadcast(_product("matmul_grad_other", _swapped(a), gy), shape)
