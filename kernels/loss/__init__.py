"""Losses: how far predictions are from targets, position by position.

Losses over classes see their input as (n, c, s): batch, classes, everything after the classes. Reductions (mean, sum)
are the caller's: a gate returns one loss a position, and its backward takes ``scale``, the gradient of each of them.
"""

from minicnn.kernels.arrays import Array, allocate, array_module, is_abstract, twin


def cross_entropy_forward(
    x: Array, target: Array, weight: Array, ignore_index: int, label_smoothing: float
) -> tuple[Array, Array]:
    """Log-softmax and negative log likelihood of a class index in one pass.

    **Shapes** x (n, c, s), target int64 (n, s), weight (c,) -> losses (n, s), lse (n, s) float64. **Math** with ``e``
    the label smoothing and ``lse = log sum_c exp(x_c)`` (maximum subtracted first, summed in float64),
    ``loss = (1-e) w_t (lse - x_t) + e/c sum_c w_c (lse - x_c)``; 0 where ``t == ignore_index``.
    Labels are in range: the caller has checked them. A row with NaN or +inf, or all -inf, gives NaN.
    """
    n, _, s = x.shape
    losses, lse = allocate(x, (n, s)), allocate(x, (n, s), "float64")
    if not is_abstract(x):
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
    if not is_abstract(x):
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
    if not is_abstract(x):
        twin(__name__, x).nll_forward(x, target, weight, ignore_index, losses)
    return losses


def nll_grad_x(scale: Array, target: Array, weight: Array, ignore_index: int) -> Array:
    """``gx_c = -scale w_t [c = t]``, 0 where ignored. **Shapes** scale and target (n, s), weight (c,) -> (n, c, s)."""
    gx = allocate(scale, (scale.shape[0], weight.shape[0], scale.shape[1]), fill=0)
    twin(__name__, scale).nll_grad_x(scale, target, weight, ignore_index, gx)
    return gx


def target_weight(target: Array, weight: Array, ignore_index: int) -> float:
    """``sum of w_t`` over the positions that are not ignored, in float64: what the mean divides by."""
    xp = array_module(weight)
    kept = target[target != ignore_index]
    return float(xp.bincount(kept, minlength=weight.shape[0]).astype("float64") @ weight.astype("float64"))
