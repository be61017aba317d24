"""Activations: elementwise functions and their derivatives, and softmax.

Elementwise gates take contiguous arrays of any shape and return one of the same shape and dtype. ``grad_x`` gates
take the upstream gradient ``gy`` first, then what the derivative is computed from: the output ``y`` where that is
enough, else the input ``x``. NaN stays NaN, and nothing overflows on the way to a finite result.
"""

from typing import Any

from minicnn.kernels.arrays import Array, allocate, twin


def _forward(name: str, x: Array, *numbers: Any, out: Array | None = None) -> Array:
    """The twin ``name`` of ``x``, in ``out`` where given, which may be ``x``."""
    y = allocate(x, x.shape) if out is None else out
    getattr(twin(__name__, x), name)(x.reshape(-1), y.reshape(-1), *numbers)
    return y


def _grad_x(name: str, gy: Array, kept: Array, *numbers: Any) -> Array:
    gx = allocate(gy, gy.shape)
    getattr(twin(__name__, gy), name)(gy.reshape(-1), kept.reshape(-1), gx.reshape(-1), *numbers)
    return gx


def relu_forward(x: Array) -> Array:
    """``y = max(x, 0)``. **Ties** At 0 the derivative is 0."""
    return _forward("relu_forward", x)


def relu_grad_x(gy: Array, y: Array) -> Array:
    """``gx = gy`` where ``y > 0``, else 0."""
    return _grad_x("relu_grad_x", gy, y)


def hardtanh_forward(x: Array, low: float, high: float) -> Array:
    """``y = min(max(x, low), high)``; ReLU6 is 0 and 6."""
    return _forward("hardtanh_forward", x, low, high)


def hardtanh_grad_x(gy: Array, y: Array, low: float, high: float) -> Array:
    """``gx = gy`` where ``low < y < high``, else 0."""
    return _grad_x("hardtanh_grad_x", gy, y, low, high)


def leaky_relu_forward(x: Array, slope: float) -> Array:
    """``y = x`` where ``x > 0``, else ``slope x``."""
    return _forward("leaky_relu_forward", x, slope)


def leaky_relu_grad_x(gy: Array, x: Array, slope: float) -> Array:
    """``gx = gy`` where ``x > 0``, else ``slope gy``; a kept y serves as x when the slope is not negative."""
    return _grad_x("leaky_relu_grad_x", gy, x, slope)


def elu_forward(x: Array, scale: float, alpha: float, beta: float) -> Array:
    """``y = scale x`` where ``x > 0``, else ``scale alpha (exp(beta x) - 1)``: ELU, CELU and SELU."""
    return _forward("elu_forward", x, scale, alpha, beta)


def elu_grad_x(gy: Array, x: Array, scale: float, alpha: float, beta: float) -> Array:
    """``gx = scale gy`` where ``x > 0``, else ``scale alpha beta exp(beta x) gy``."""
    return _grad_x("elu_grad_x", gy, x, scale, alpha, beta)


def gelu_forward(x: Array, by_tanh: bool) -> Array:
    """``y = x Phi(x)``, Phi by erfc, or ``x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))``."""
    return _forward("gelu_forward", x, by_tanh)


def gelu_grad_x(gy: Array, x: Array, by_tanh: bool) -> Array:
    """``gx = gy (Phi(x) + x phi(x))``, or the derivative of the approximation."""
    return _grad_x("gelu_grad_x", gy, x, by_tanh)


def silu_forward(x: Array, out: Array | None = None) -> Array:
    """``y = x sigmoid(x)`` (swish). **See** Ramachandran et al. 2017."""
    return _forward("silu_forward", x, out=out)


def silu_grad_x(gy: Array, x: Array) -> Array:
    """``gx = gy s (1 + x (1 - s))`` with ``s = sigmoid(x)``."""
    return _grad_x("silu_grad_x", gy, x)


def hardswish_forward(x: Array, out: Array | None = None) -> Array:
    """``y = 0`` where ``x <= -3``, ``x`` where ``x >= 3``, else ``x (x + 3) / 6``. **See** Howard et al. 2019."""
    return _forward("hardswish_forward", x, out=out)


def hardswish_grad_x(gy: Array, x: Array) -> Array:
    """``gx = gy (2x + 3) / 6`` where ``-3 < x < 3``, 0 below, gy above."""
    return _grad_x("hardswish_grad_x", gy, x)


def hardsigmoid_forward(x: Array) -> Array:
    """``y = min(max(x + 3, 0), 6) / 6``."""
    return _forward("hardsigmoid_forward", x)


def hardsigmoid_grad_x(gy: Array, x: Array) -> Array:
    """``gx = gy / 6`` where ``-3 < x < 3``, else 0."""
    return _grad_x("hardsigmoid_grad_x", gy, x)


def sigmoid_forward(x: Array) -> Array:
    """``y = 1 / (1 + exp(-x))``."""
    return _forward("sigmoid_forward", x)


def sigmoid_grad_x(gy: Array, y: Array) -> Array:
    """``gx = gy y (1 - y)``."""
    return _grad_x("sigmoid_grad_x", gy, y)


def tanh_forward(x: Array, outer: float, inner: float) -> Array:
    """``y = outer tanh(inner x)``; LeNet-5 has 1.7159 and 2/3."""
    return _forward("tanh_forward", x, outer, inner)


def tanh_grad_x(gy: Array, y: Array, outer: float, inner: float) -> Array:
    """``gx = gy inner (outer - y^2 / outer)``."""
    return _grad_x("tanh_grad_x", gy, y, outer, inner)


def softplus_forward(x: Array, beta: float, threshold: float) -> Array:
    """``y = log(1 + exp(beta x)) / beta``, and ``x`` where ``beta x > threshold``."""
    return _forward("softplus_forward", x, beta, threshold)


def softplus_grad_x(gy: Array, x: Array, beta: float, threshold: float) -> Array:
    """``gx = gy sigmoid(beta x)``, and gy beyond the threshold."""
    return _grad_x("softplus_grad_x", gy, x, beta, threshold)


def mish_forward(x: Array) -> Array:
    """``y = x tanh(log(1 + exp(x)))``. **See** Misra 2019."""
    return _forward("mish_forward", x)


def mish_grad_x(gy: Array, x: Array) -> Array:
    """``gx = gy (t + x sigmoid(x) (1 - t^2))`` with ``t = tanh(log(1 + exp(x)))``."""
    return _grad_x("mish_grad_x", gy, x)


def logsigmoid_forward(x: Array) -> Array:
    """``y = min(x, 0) - log(1 + exp(-|x|))``."""
    return _forward("logsigmoid_forward", x)


def logsigmoid_grad_x(gy: Array, x: Array) -> Array:
    """``gx = gy sigmoid(-x)``."""
    return _grad_x("logsigmoid_grad_x", gy, x)


def prelu_forward(x: Array, weight: Array) -> Array:
    """``y = x`` where ``x > 0``, else ``weight_c x``. **Shapes** x (n, c, s), weight (c,). **See** He et al. 2015."""
    y = allocate(x, x.shape)
    twin(__name__, x).prelu_forward(x, weight, y)
    return y


def prelu_grad_x(gy: Array, x: Array, weight: Array) -> Array:
    """``gx = gy`` where ``x > 0``, else ``weight_c gy``."""
    gx = allocate(x, x.shape)
    twin(__name__, x).prelu_grad_x(gy, x, weight, gx)
    return gx


def prelu_grad_w(gy: Array, x: Array) -> Array:
    """``gw_c`` = sum of ``gy x`` where ``x <= 0``, in float64. **Shapes** gy and x (n, c, s) -> (c,)."""
    gw = allocate(x, (x.shape[1],))
    twin(__name__, x).prelu_grad_w(gy, x, gw)
    return gw


def softmax_forward(x: Array) -> Array:
    """``y_c = exp(x_c - max x) / sum_k exp(x_k - max x)`` over the middle axis of (n, c, s); sums in float64.

    A row with NaN or +inf, or all -inf, gives NaN.
    """
    y = allocate(x, x.shape)
    if x.size:
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
    if x.size:
        twin(__name__, x).log_softmax_forward(x, y)
    return y


def log_softmax_grad_x(gy: Array, y: Array) -> Array:
    """``gx_c = gy_c - exp(y_c) sum_k gy_k``."""
    gx = allocate(gy, gy.shape)
    twin(__name__, gy).log_softmax_grad_x(gy, y, gx)
    return gx
