"""Activations: elementwise functions and their derivatives.

Every gate takes contiguous arrays of any shape and returns one of the same shape and dtype. ``grad_x`` gates take the
upstream gradient ``gy`` first, then what the derivative is computed from.
"""

from minicnn.kernels.arrays import Array, allocate, is_abstract, twin


def relu_forward(x: Array) -> Array:
    """``y = max(x, 0)``. **Ties** NaN stays NaN; at 0 the derivative is 0."""
    y = allocate(x, x.shape)
    if not is_abstract(x):
        twin(__name__, x).relu_forward(x.reshape(-1), y.reshape(-1))
    return y


def relu_grad_x(gy: Array, y: Array) -> Array:
    """``gx = gy`` where ``y > 0``, else 0 (computed from the output, so the input need not be kept)."""
    gx = allocate(gy, gy.shape)
    twin(__name__, gy).relu_grad_x(gy.reshape(-1), y.reshape(-1), gx.reshape(-1))
    return gx


def softmax_forward(x: Array) -> Array:
    """``y_c = exp(x_c - max x) / sum_k exp(x_k - max x)`` over the middle axis of (n, c, s); sums in float64.

    A row with NaN or +inf, or all -inf, gives NaN.
    """
    y = allocate(x, x.shape)
    if not is_abstract(x) and x.size:
        twin(__name__, x).softmax_forward(x, y)
    return y


def softmax_grad_x(gy: Array, y: Array) -> Array:
    """``gx_c = y_c (gy_c - sum_k gy_k y_k)``."""
    gx = allocate(gy, gy.shape)
    twin(__name__, gy).softmax_grad_x(gy, y, gx)
    return gx


def log_softmax_forward(x: Array) -> Array:
    """``y_c = x_c - max x - log sum_k exp(x_k - max x)`` over the middle axis of (n, c, s); sums in float64.

    A row with NaN or +inf, or all -inf, gives NaN.
    """
    y = allocate(x, x.shape)
    if not is_abstract(x) and x.size:
        twin(__name__, x).log_softmax_forward(x, y)
    return y


def log_softmax_grad_x(gy: Array, y: Array) -> Array:
    """``gx_c = gy_c - exp(y_c) sum_k gy_k``."""
    gx = allocate(gy, gy.shape)
    twin(__name__, gy).log_softmax_grad_x(gy, y, gx)
    return gx
