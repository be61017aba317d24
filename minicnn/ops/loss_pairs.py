"""Losses between two arrays of one shape: differences, and cross entropies of yes and no.

PyTorch's deprecated ``size_average`` and ``reduce`` are absent. Where PyTorch broadcasts x and target with a warning,
unequal shapes are refused here.
"""

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from minicnn.errors import ArgumentError, ShapeError
from minicnn.kernels import loss as K
from minicnn.kernels.arrays import Array, allocate, array_module, contiguous, device_of, is_abstract, is_cupy
from minicnn.ops.arguments import number
from minicnn.ops.loss_reduction import check_reduction, reduced, refuse_grad, scale_of
from minicnn.record import record, unwrap
from minicnn.tensor import Tensor


def _checked(op: str, x: Any, target: Any, weight: Any, reduction: str) -> tuple[Array, Array, Array | None]:
    check_reduction(op, reduction)
    refuse_grad(op, weight=weight)
    xa, ta, wa = unwrap(op, ("weight",), x=x, target=target, weight=weight)
    if ta.shape != xa.shape:
        raise ShapeError(
            f"{op}: target has shape {ta.shape}, expected {xa.shape}, the shape of x; "
            f"fix: reshape one of them, e.g. target.reshape({xa.shape})"
        )
    return xa, ta, wa


def _same_shape(op: str, weight: Array | None, x: Array) -> None:
    if weight is not None and weight.shape != x.shape:
        raise ShapeError(f"{op}: weight has shape {weight.shape}, expected {x.shape}, the shape of x")


def _spread(op: str, name: str, weight: Array, x: Array) -> Array:
    """``weight`` broadcast to the shape of ``x``."""
    try:
        fits = np.broadcast_shapes(weight.shape, x.shape) == x.shape
    except ValueError:
        fits = False
    if not fits:
        raise ShapeError(f"{op}: {name} has shape {weight.shape}, which does not broadcast to {x.shape}, that of x")
    return contiguous(array_module(x).broadcast_to(weight, x.shape))


def _record(
    op: str,
    tensors: tuple[Any, Any],
    arrays: tuple[Array, Array, Array | None],
    reduction: str,
    forward: Callable[..., Array],
    grad_x: Callable[..., Array],
    *options: Any,
    grad_target: Callable[..., Array] | None = None,
    count: Any = None,
) -> Tensor:
    """Compute, weight and reduce; without ``grad_target`` the target's gradient is minus that of x."""
    xa, ta, wa = arrays
    losses = forward(xa, ta, *options)
    losses = losses if wa is None else losses * wa
    divisor = float(losses.size) if count is None else count

    def vjp(gy: Array, needs: tuple[bool, ...]) -> tuple[Array | None, ...]:
        scale = scale_of(gy, xa.shape, reduction, divisor)
        scale = scale if wa is None else scale * wa
        if grad_target is None:
            gx = grad_x(scale, xa, ta, *options)
            return gx if needs[0] else None, -gx if needs[1] else None
        return (
            grad_x(scale, xa, ta, *options) if needs[0] else None,
            grad_target(scale, xa, ta, *options) if needs[1] else None,
        )

    return record(op, reduced(losses, reduction, divisor), tensors, vjp)


def _sum(weight: Array | None) -> Any:
    """The sum in float64, or None for the number of elements; on the GPU an array, which nothing waits for."""
    if weight is None or is_abstract(weight):
        return None
    total = weight.sum(dtype=np.float64)
    return total if is_cupy(total) else float(total)


def mse_loss(x: Any, target: Any, reduction: str = "mean", weight: Any = None) -> Tensor:
    """Squared differences.

    **Shapes** x, target and weight the same -> (), or theirs with ``reduction="none"``.
    **Math** ``weight (x - target)^2``; the mean divides by the sum of the weights. **Saves** x, target and weight.
    """
    arrays = _checked("mse_loss", x, target, weight, reduction)
    _same_shape("mse_loss", arrays[2], arrays[0])
    gates = K.squared_error_forward, K.squared_error_grad_x
    return _record("mse_loss", (x, target), arrays, reduction, *gates, count=_sum(arrays[2]))


def l1_loss(x: Any, target: Any, reduction: str = "mean", weight: Any = None) -> Tensor:
    """Absolute differences.

    **Shapes** x, target and weight the same -> (), or theirs with ``reduction="none"``.
    **Math** ``weight |x - target|``, derivative 0 where equal; the mean divides by the sum of the weights.
    **Saves** x, target and weight.
    """
    arrays = _checked("l1_loss", x, target, weight, reduction)
    _same_shape("l1_loss", arrays[2], arrays[0])
    gates = K.absolute_error_forward, K.absolute_error_grad_x
    return _record("l1_loss", (x, target), arrays, reduction, *gates, count=_sum(arrays[2]))


def smooth_l1_loss(x: Any, target: Any, reduction: str = "mean", beta: float = 1.0) -> Tensor:
    """Squared differences below ``beta``, absolute ones above.

    **Shapes** x and target the same -> (), or theirs with ``reduction="none"``. **Math** with ``d = |x - target|``:
    ``d^2 / (2 beta)`` where ``d < beta``, else ``d - beta/2``; ``beta=0`` is ``l1_loss``. **Saves** x and target.
    **See** Girshick 2015.
    """
    beta = number("smooth_l1_loss", "beta", beta, 0, sys.float_info.max, "a finite number of at least 0")
    arrays = _checked("smooth_l1_loss", x, target, None, reduction)
    if beta == 0:
        gates = K.absolute_error_forward, K.absolute_error_grad_x
        return _record("smooth_l1_loss", (x, target), arrays, reduction, *gates)
    return _record("smooth_l1_loss", (x, target), arrays, reduction, K.huber_forward, K.huber_grad_x, beta, 1 / beta)


def huber_loss(x: Any, target: Any, reduction: str = "mean", delta: float = 1.0, weight: Any = None) -> Tensor:
    """Squared differences up to ``delta``, absolute ones beyond: ``delta`` times ``smooth_l1_loss``.

    **Shapes** x, target and weight the same -> (), or theirs with ``reduction="none"``. **Math** with
    ``d = |x - target|``: ``weight d^2 / 2`` where ``d < delta``, else ``weight delta (d - delta/2)``; the mean divides
    by the number of elements, also with weights (as in PyTorch). **Saves** x, target and weight. **See** Huber 1964.
    """
    delta = number("huber_loss", "delta", delta, sys.float_info.min, sys.float_info.max, "a finite number above 0")
    arrays = _checked("huber_loss", x, target, weight, reduction)
    _same_shape("huber_loss", arrays[2], arrays[0])
    gates = K.huber_forward, K.huber_grad_x
    return _record("huber_loss", (x, target), arrays, reduction, *gates, delta, 1.0)


def binary_cross_entropy(x: Any, target: Any, weight: Any = None, reduction: str = "mean") -> Tensor:
    """Cross entropy of yes and no, from probabilities of yes.

    **Shapes** x and target the same, weight broadcast to them -> (), or theirs with ``reduction="none"``.
    **Math** ``-weight (t log(x) + (1-t) log(1-x))``, each logarithm at least -100. **Saves** x, target and weight.
    **Raises** ArgumentError when x is outside 0 to 1. On the GPU the loss of such an x is NaN instead: to look, the
    host would have to wait.
    """
    op = "binary_cross_entropy"
    xa, ta, wa = _checked(op, x, target, weight, reduction)
    if device_of(xa) == "cpu":
        outside = (xa < 0) | (xa > 1)
        if outside.any():
            index = tuple(int(i) for i in np.unravel_index(int(outside.argmax()), xa.shape))
            raise ArgumentError(
                f"{op}: x[{', '.join(map(str, index))}] is {float(xa[index]):g}, expected probabilities from 0 to 1; "
                "fix: binary_cross_entropy_with_logits for unnormalised scores, or sigmoid first"
            )
    wa = None if wa is None else _spread(op, "weight", wa, xa)
    gates = K.binary_cross_entropy_forward, K.binary_cross_entropy_grad_x
    return _record(op, (x, target), (xa, ta, wa), reduction, *gates, grad_target=_bce_grad_target)


def _bce_grad_target(scale: Array, x: Array, target: Array) -> Array:
    xp = array_module(x)
    with np.errstate(divide="ignore"):
        return scale * (xp.maximum(xp.log1p(-x), -100) - xp.maximum(xp.log(x), -100))


def binary_cross_entropy_with_logits(
    x: Any, target: Any, weight: Any = None, reduction: str = "mean", pos_weight: Any = None
) -> Tensor:
    """Sigmoid and cross entropy of yes and no in one, from unnormalised scores, without overflow.

    **Shapes** x and target the same, weight and pos_weight broadcast to them -> (), or theirs with
    ``reduction="none"``. **Math** ``-weight (p t log(sigmoid(x)) + (1-t) log(1 - sigmoid(x)))`` with p the
    ``pos_weight``. **Saves** x, target, weight and pos_weight (broadcast).
    """
    op = "binary_cross_entropy_with_logits"
    xa, ta, wa = _checked(op, x, target, weight, reduction)
    refuse_grad(op, pos_weight=pos_weight)
    _, pa = unwrap(op, ("pos_weight",), x=xa, pos_weight=pos_weight)
    wa = None if wa is None else _spread(op, "weight", wa, xa)
    pa = allocate(xa, (0,)) if pa is None else _spread(op, "pos_weight", pa, xa)
    gates = K.logits_forward, K.logits_grad_x
    return _record(op, (x, target), (xa, ta, wa), reduction, *gates, pa, grad_target=_logits_grad_target)


def _logits_grad_target(scale: Array, x: Array, target: Array, pos_weight: Array) -> Array:
    if not pos_weight.size:
        return -scale * x
    return scale * ((pos_weight - 1) * array_module(x).logaddexp(0, -x) - x)
