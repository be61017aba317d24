"""Activations: elementwise nonlinearities, and softmax. PyTorch's ``inplace`` is absent: inputs are never written."""

import math
from typing import Any

from minicnn.errors import ArgumentError
from minicnn.kernels import activation as K
from minicnn.kernels.arrays import Array, contiguous
from minicnn.ops.geometry import integer
from minicnn.record import as_tensor, record, unwrap
from minicnn.tensor import Tensor


def relu(x: Any) -> Tensor:
    """Rectified linear unit.

    **Shapes** any -> same. **Math** ``y = max(x, 0)``; derivative 0 at 0. NaN stays NaN.
    """
    (xa,) = unwrap("relu", x=x)
    y = K.relu_forward(xa)
    return record("relu", y, (x,), lambda gy, needs: (K.relu_grad_x(gy, y),))


def _distributions(op: str, x: Array, dim: Any) -> tuple[int, int, int]:
    """The (n, c, s) view of ``x`` whose middle axis is ``dim``."""
    if dim is None:
        raise ArgumentError(f"{op}: dim is missing: along which axis do the probabilities sum to 1? fix: dim=1")
    axis, last = integer(op, "dim", dim, -max(x.ndim, 1)), max(x.ndim, 1) - 1
    if axis > last:
        raise ArgumentError(f"{op}: dim={dim} is out of range for x of shape {x.shape}, expected at most {last}")
    shape = x.shape or (1,)
    axis %= len(shape)
    return math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :])


def softmax(x: Any, dim: int | None = None, dtype: Any = None) -> Tensor:
    """Probabilities proportional to ``exp(x)`` along ``dim``.

    **Shapes** any -> same. **Math** ``y_c = exp(x_c) / sum_k exp(x_k)``, the maximum subtracted first. A row with NaN
    or +inf, or all -inf, gives NaN. ``dtype`` converts x first. ``dim`` is required (PyTorch guesses it).
    """
    x = x if dtype is None else as_tensor(x).astype(dtype)
    (xa,) = unwrap("softmax", x=x)
    view = _distributions("softmax", xa, dim)
    y = K.softmax_forward(xa.reshape(view)).reshape(xa.shape)

    def vjp(gy: Array, needs: tuple[bool, ...]) -> tuple[Array, ...]:
        return (K.softmax_grad_x(contiguous(gy).reshape(view), y.reshape(view)).reshape(y.shape),)

    return record("softmax", y, (x,), vjp)


def log_softmax(x: Any, dim: int | None = None, dtype: Any = None) -> Tensor:
    """Logarithm of the softmax along ``dim``, without the overflow of computing the two in turn.

    **Shapes** any -> same. **Math** ``y_c = x_c - log sum_k exp(x_k)``, the maximum subtracted first. A row with NaN
    or +inf, or all -inf, gives NaN. ``dtype`` converts x first. ``dim`` is required (PyTorch guesses it).
    """
    x = x if dtype is None else as_tensor(x).astype(dtype)
    (xa,) = unwrap("log_softmax", x=x)
    view = _distributions("log_softmax", xa, dim)
    y = K.log_softmax_forward(xa.reshape(view)).reshape(xa.shape)

    def vjp(gy: Array, needs: tuple[bool, ...]) -> tuple[Array, ...]:
        return (K.log_softmax_grad_x(contiguous(gy).reshape(view), y.reshape(view)).reshape(y.shape),)

    return record("log_softmax", y, (x,), vjp)
