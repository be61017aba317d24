"""Losses: how far predictions are from targets, position by position.

Losses over classes see their input as (n, c, s): batch, classes, everything after the classes; the others compare two
arrays of one shape. Reductions (mean, sum) are the caller's: a gate returns one loss a position, and its backward takes
``scale``, the gradient of each of them.
"""

from typing import Any

from minicnn.kernels.arrays import Array, allocate, twin


def cross_entropy_forward(
    x: Array, target: Array, weight: Array, ignore_index: int, label_smoothing: float
) -> tuple[Array, Array]:
    """Log-softmax and negative log likelihood of a class index in one pass.

    **Shapes** x (n, c, s), target int64 (n, s), weight (c,) -> losses (n, s), lse (n, s) float64. **Math** with ``e``
    the label smoothing and ``lse = log sum_c exp(x_c)`` (maximum subtracted first, summed in float64),
    ``loss = (1-e) w_t (lse - x_t) + e/c sum_c w_c (lse - x_c)``; 0 where ``t == ignore_index``.
    A row with NaN or +inf, or all -inf, gives NaN. On the CPU labels are in range: the caller has checked them. On the
    GPU that would make the host wait: a label out of range gives a NaN loss, and a gradient of NaN.
    """
    n, _, s = x.shape
    losses, lse = allocate(x, (n, s)), allocate(x, (n, s), "float64")
    twin(__name__, x).cross_entropy_forward(x, target, weight, ignore_index, label_smoothing, losses, lse)
    return losses, lse


def cross_entropy_grad_x(
    scale: Array, x: Array, lse: Array, target: Array, weight: Array, ignore_index: int, label_smoothing: float
) -> Array:
    """``gx_c = scale ((1-e) w_t + e/c sum w) softmax_c - scale ((1-e) w_t [c = t] + e/c w_c)``; 0 where ignored."""
    gx = allocate(x, x.shape)
    twin(__name__, x).cross_entropy_grad_x(scale, x, lse, target, weight, ignore_index, label_smoothing, gx)
    return gx


def soft_cross_entropy_forward(x: Array, target: Array, weight: Array, label_smoothing: float) -> tuple[Array, Array]:
    """Cross entropy against class probabilities.

    **Shapes** x and target (n, c, s), weight (c,) -> losses (n, s), lse (n, s) float64.
    **Math** ``loss = sum_c w_c q_c (lse - x_c)`` with ``q = (1-e) target + e/c``.
    """
    n, _, s = x.shape
    losses, lse = allocate(x, (n, s)), allocate(x, (n, s), "float64")
    twin(__name__, x).soft_cross_entropy_forward(x, target, weight, label_smoothing, losses, lse)
    return losses, lse


def soft_cross_entropy_grad_x(
    scale: Array, x: Array, lse: Array, target: Array, weight: Array, label_smoothing: float
) -> Array:
    """``gx_c = scale (softmax_c sum_k w_k q_k - w_c q_c)``."""
    gx = allocate(x, x.shape)
    twin(__name__, x).soft_cross_entropy_grad_x(scale, x, lse, target, weight, label_smoothing, gx)
    return gx


def nll_forward(x: Array, target: Array, weight: Array, ignore_index: int) -> Array:
    """``loss = -w_t x_t`` of log-probabilities x (n, c, s), target (n, s) -> (n, s); 0 where ignored."""
    losses = allocate(x, (x.shape[0], x.shape[2]))
    twin(__name__, x).nll_forward(x, target, weight, ignore_index, losses)
    return losses


def nll_grad_x(scale: Array, target: Array, weight: Array, ignore_index: int) -> Array:
    """``gx_c = -scale w_t [c = t]``, 0 where ignored. **Shapes** scale and target (n, s), weight (c,) -> (n, c, s)."""
    gx = allocate(scale, (scale.shape[0], weight.shape[0], scale.shape[1]), fill=0)
    twin(__name__, scale).nll_grad_x(scale, target, weight, ignore_index, gx)
    return gx


def target_weight(target: Array, weight: Array, ignore_index: int) -> Any:
    """``sum of w_t`` over the positions that are not ignored, in float64: what the mean divides by.

    A number on the CPU; on the GPU an array without dimensions, which nothing waits for.
    """
    return twin(__name__, weight).target_weight(target, weight, ignore_index)


def _compare(name: str, x: Array, target: Array, *numbers: Any) -> Array:
    losses = allocate(x, x.shape)
    getattr(twin(__name__, x), name)(x.reshape(-1), target.reshape(-1), losses.reshape(-1), *numbers)
    return losses


def _compare_grad_x(name: str, scale: Array, x: Array, target: Array, *numbers: Any) -> Array:
    gx = allocate(x, x.shape)
    flat = (scale.reshape(-1), x.reshape(-1), target.reshape(-1), gx.reshape(-1))
    getattr(twin(__name__, x), name)(*flat, *numbers)
    return gx


def squared_error_forward(x: Array, target: Array) -> Array:
    """``(x - target)^2``, elementwise."""
    return _compare("squared_error_forward", x, target)


def squared_error_grad_x(scale: Array, x: Array, target: Array) -> Array:
    """``gx = 2 scale (x - target)``; the target's gradient is its negative."""
    return _compare_grad_x("squared_error_grad_x", scale, x, target)


def absolute_error_forward(x: Array, target: Array) -> Array:
    """``|x - target|``, elementwise."""
    return _compare("absolute_error_forward", x, target)


def absolute_error_grad_x(scale: Array, x: Array, target: Array) -> Array:
    """``gx = scale sign(x - target)``, 0 where equal; the target's gradient is its negative."""
    return _compare_grad_x("absolute_error_grad_x", scale, x, target)


def huber_forward(x: Array, target: Array, delta: float, factor: float) -> Array:
    """``factor`` times ``d^2 / 2`` where ``d = |x - target| < delta``, else ``delta (d - delta / 2)``."""
    return _compare("huber_forward", x, target, delta, factor)


def huber_grad_x(scale: Array, x: Array, target: Array, delta: float, factor: float) -> Array:
    """``gx = scale factor min(max(x - target, -delta), delta)``; the target's gradient is its negative."""
    return _compare_grad_x("huber_grad_x", scale, x, target, delta, factor)


def binary_cross_entropy_forward(x: Array, target: Array) -> Array:
    """``-target log(x) - (1 - target) log(1 - x)`` of probabilities x, each logarithm at least -100."""
    return _compare("binary_cross_entropy_forward", x, target)


def binary_cross_entropy_grad_x(scale: Array, x: Array, target: Array) -> Array:
    """``gx = scale (x - target) / max(x (1 - x), 1e-12)``."""
    return _compare_grad_x("binary_cross_entropy_grad_x", scale, x, target)


def logits_forward(x: Array, target: Array, pos_weight: Array) -> Array:
    """Binary cross entropy of ``sigmoid(x)``, without overflow.

    **Math** ``(1 - t) x + (1 + (p - 1) t) log(1 + exp(-x))``; ``pos_weight`` p has the shape of x, or is empty for 1.
    """
    return _compare("logits_forward", x, target, pos_weight.reshape(-1))


def logits_grad_x(scale: Array, x: Array, target: Array, pos_weight: Array) -> Array:
    """``gx = scale ((1 - t) sigmoid(x) - p t sigmoid(-x))``."""
    return _compare_grad_x("logits_grad_x", scale, x, target, pos_weight.reshape(-1))
