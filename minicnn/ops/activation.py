"""Activations: elementwise nonlinearities, and softmax. PyTorch's ``inplace`` is absent: inputs are never written."""

import math
from collections.abc import Callable
from typing import Any

from minicnn.errors import ArgumentError, ShapeError
from minicnn.kernels import activation as K
from minicnn.kernels.arrays import Array, contiguous
from minicnn.ops.arguments import number
from minicnn.ops.fused import FREE, Pointwise, bounded, pointwise
from minicnn.ops.geometry import integer
from minicnn.record import as_tensor, record, unwrap
from minicnn.tensor import Tensor, parse_dtype

SELU_ALPHA, SELU_SCALE = 1.6732632423543772848, 1.0507009873554804934

SILU = Pointwise("silu", K.silu_forward, K.silu_grad_x)
HARDSWISH = Pointwise("hardswish", K.hardswish_forward, K.hardswish_grad_x)


def _elementwise(
    op: str, x: Any, forward: Callable[..., Array], grad_x: Callable[..., Array], keep: str, *options: Any
) -> Tensor:
    """The op made of two gates; ``keep`` says whether the derivative is computed from ``"x"`` or from ``"y"``."""
    (xa,) = unwrap(op, x=x)
    y = forward(xa, *options)
    kept = y if keep == "y" else xa
    return record(op, y, (x,), lambda gy, needs: (grad_x(gy, kept, *options),))


def relu(x: Any) -> Tensor:
    """Rectified linear unit.

    **Shapes** any -> same. **Math** ``y = max(x, 0)``; derivative 0 at 0. NaN stays NaN.
    """
    deferred = bounded(x, 0.0, FREE, "relu")
    return _elementwise("relu", x, K.relu_forward, K.relu_grad_x, "y") if deferred is None else deferred


def relu6(x: Any) -> Tensor:
    """ReLU that stops at 6.

    **Shapes** any -> same. **Math** ``y = min(max(x, 0), 6)``; derivative 0 at 0 and at 6.
    """
    deferred = bounded(x, 0.0, 6.0, "relu6")
    if deferred is not None:
        return deferred
    return _elementwise("relu6", x, K.hardtanh_forward, K.hardtanh_grad_x, "y", 0.0, 6.0)


def hardtanh(x: Any, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    """x held between two bounds.

    **Shapes** any -> same. **Math** ``y = min(max(x, min_val), max_val)``; derivative 0 at the bounds.
    """
    low, high = number("hardtanh", "min_val", min_val), number("hardtanh", "max_val", max_val)
    if not low < high:
        raise ArgumentError(f"hardtanh: min_val={min_val!r} is not below max_val={max_val!r}")
    return _elementwise("hardtanh", x, K.hardtanh_forward, K.hardtanh_grad_x, "y", low, high)


def leaky_relu(x: Any, negative_slope: float = 0.01) -> Tensor:
    """ReLU with a slope below 0.

    **Shapes** any -> same. **Math** ``y = x`` where ``x > 0``, else ``negative_slope x``.
    """
    slope = number("leaky_relu", "negative_slope", negative_slope)
    keep = "y" if slope >= 0 else "x"  # y has the sign of x
    return _elementwise("leaky_relu", x, K.leaky_relu_forward, K.leaky_relu_grad_x, keep, slope)


def prelu(x: Any, weight: Any) -> Tensor:
    """ReLU with a learned slope below 0: one, or one a channel.

    **Shapes** x any, weight (1,) or (), or (C,) with x (N, C, ...) -> shape of x.
    **Math** ``y = x`` where ``x > 0``, else ``weight_c x``. **Saves** x and weight. **See** He et al. 2015.
    """
    xa, wa = unwrap("prelu", x=x, weight=weight)
    if wa.size == 1 and wa.ndim < 2:
        view = (1, 1, xa.size)
    elif xa.ndim > 1 and wa.shape == (xa.shape[1],):
        view = (xa.shape[0], xa.shape[1], math.prod(xa.shape[2:]))
    else:
        channels = f" or ({xa.shape[1]},): one slope a channel" if xa.ndim > 1 else ""
        raise ShapeError(
            f"prelu: weight has shape {wa.shape}, expected (1,): one slope{channels}, for x of shape {xa.shape}"
        )
    y = K.prelu_forward(xa.reshape(view), wa.reshape(-1)).reshape(xa.shape)

    def vjp(gy: Array, needs: tuple[bool, ...]) -> tuple[Array | None, ...]:
        g3, x3 = contiguous(gy).reshape(view), xa.reshape(view)
        return (
            K.prelu_grad_x(g3, x3, wa.reshape(-1)).reshape(xa.shape) if needs[0] else None,
            K.prelu_grad_w(g3, x3).reshape(wa.shape) if needs[1] else None,
        )

    return record("prelu", y, (x, weight), vjp)


def elu(x: Any, alpha: float = 1.0) -> Tensor:
    """Exponential linear unit.

    **Shapes** any -> same. **Math** ``y = x`` where ``x > 0``, else ``alpha (exp(x) - 1)``. **Saves** x.
    **See** Clevert et al. 2016.
    """
    return _elementwise("elu", x, K.elu_forward, K.elu_grad_x, "x", 1.0, number("elu", "alpha", alpha), 1.0)


def celu(x: Any, alpha: float = 1.0) -> Tensor:
    """ELU with a continuous derivative for every alpha.

    **Shapes** any -> same. **Math** ``y = x`` where ``x > 0``, else ``alpha (exp(x/alpha) - 1)``. **Saves** x.
    **See** Barron 2017.
    """
    bend = number("celu", "alpha", alpha)
    if bend == 0:
        raise ArgumentError("celu: alpha=0 divides by zero; expected another number")
    return _elementwise("celu", x, K.elu_forward, K.elu_grad_x, "x", 1.0, bend, 1 / bend)


def selu(x: Any) -> Tensor:
    """ELU scaled so that activations keep mean 0 and variance 1.

    **Shapes** any -> same. **Math** ``y = 1.0507 elu(x, 1.6733)`` (the constants in full). **Saves** x.
    **See** Klambauer et al. 2017.
    """
    return _elementwise("selu", x, K.elu_forward, K.elu_grad_x, "x", SELU_SCALE, SELU_ALPHA, 1.0)


def gelu(x: Any, approximate: str = "none") -> Tensor:
    """x weighted by the normal distribution's probability of less than x.

    **Shapes** any -> same. **Math** ``y = x Phi(x)``; with ``approximate="tanh"``
    ``y = x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))``. **Saves** x. **See** Hendrycks and Gimpel 2016.
    """
    if approximate not in ("none", "tanh"):
        raise ArgumentError(f"gelu: approximate={approximate!r} is unknown, expected 'none' or 'tanh'")
    return _elementwise("gelu", x, K.gelu_forward, K.gelu_grad_x, "x", approximate == "tanh")


def silu(x: Any) -> Tensor:
    """x times its sigmoid (swish).

    **Shapes** any -> same. **Math** ``y = x / (1 + exp(-x))``; NaN at -inf, as in PyTorch. **Saves** x.
    """
    deferred = pointwise(x, SILU)
    return _elementwise("silu", x, K.silu_forward, K.silu_grad_x, "x") if deferred is None else deferred


def mish(x: Any) -> Tensor:
    """x times the tanh of its softplus.

    **Shapes** any -> same. **Math** ``y = x tanh(log(1 + exp(x)))``; NaN at -inf, as in PyTorch. **Saves** x.
    **See** Misra 2019.
    """
    return _elementwise("mish", x, K.mish_forward, K.mish_grad_x, "x")


def hardswish(x: Any) -> Tensor:
    """Swish made of straight pieces and a parabola.

    **Shapes** any -> same. **Math** ``y = 0`` where ``x <= -3`` (also at -inf, where PyTorch gives NaN), ``x`` where
    ``x >= 3``, else ``x (x + 3) / 6``. **Saves** x. **See** Howard et al. 2019.
    """
    deferred = pointwise(x, HARDSWISH)
    return _elementwise("hardswish", x, K.hardswish_forward, K.hardswish_grad_x, "x") if deferred is None else deferred


def hardsigmoid(x: Any) -> Tensor:
    """Sigmoid made of straight pieces.

    **Shapes** any -> same. **Math** ``y = min(max(x + 3, 0), 6) / 6``; derivative 0 at both corners. **Saves** x.
    """
    return _elementwise("hardsigmoid", x, K.hardsigmoid_forward, K.hardsigmoid_grad_x, "x")


def sigmoid(x: Any) -> Tensor:
    """Logistic function. **Shapes** any -> same. **Math** ``y = 1 / (1 + exp(-x))``. **Saves** y."""
    return _elementwise("sigmoid", x, K.sigmoid_forward, K.sigmoid_grad_x, "y")


def logsigmoid(x: Any) -> Tensor:
    """Logarithm of the sigmoid. **Shapes** any -> same. **Math** ``y = -log(1 + exp(-x))``. **Saves** x."""
    return _elementwise("logsigmoid", x, K.logsigmoid_forward, K.logsigmoid_grad_x, "x")


def tanh(x: Any) -> Tensor:
    """Hyperbolic tangent. **Shapes** any -> same. **Saves** y."""
    return _elementwise("tanh", x, K.tanh_forward, K.tanh_grad_x, "y", 1.0, 1.0)


def scaled_tanh(x: Any) -> Tensor:
    """LeNet-5's squashing function, with ``y(1) = 1``.

    **Shapes** any -> same. **Math** ``y = 1.7159 tanh(2x/3)``. **Saves** y. **See** LeCun et al. 1998, appendix A.
    """
    return _elementwise("scaled_tanh", x, K.tanh_forward, K.tanh_grad_x, "y", 1.7159, 2 / 3)


def softplus(x: Any, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """Smooth ReLU.

    **Shapes** any -> same. **Math** ``y = log(1 + exp(beta x)) / beta``, and ``x`` where ``beta x > threshold``.
    **Saves** x.
    """
    b, top = number("softplus", "beta", beta), number("softplus", "threshold", threshold)
    if b == 0:
        raise ArgumentError("softplus: beta=0 divides by zero; expected another number, usually positive")
    return _elementwise("softplus", x, K.softplus_forward, K.softplus_grad_x, "x", b, top)


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
    x = x if dtype is None else as_tensor(x, "softmax").astype(parse_dtype("softmax", dtype))
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
    x = x if dtype is None else as_tensor(x, "log_softmax").astype(parse_dtype("log_softmax", dtype))
    (xa,) = unwrap("log_softmax", x=x)
    view = _distributions("log_softmax", xa, dim)
    y = K.log_softmax_forward(xa.reshape(view)).reshape(xa.shape)

    def vjp(gy: Array, needs: tuple[bool, ...]) -> tuple[Array, ...]:
        return (K.log_softmax_grad_x(contiguous(gy).reshape(view), y.reshape(view)).reshape(y.shape),)

    return record("log_softmax", y, (x,), vjp)
