"""Losses over classes: how far predicted scores are from labels or probabilities.

PyTorch's deprecated ``size_average`` and ``reduce`` are absent: ``reduction`` says the same. Means are summed in
float64.
"""

import math
from typing import Any

import numpy as np

from minicnn.errors import ArgumentError, DTypeError, IndexRangeError, ShapeError
from minicnn.kernels import loss as K
from minicnn.kernels.arrays import Array, allocate, contiguous, device_of, is_abstract, is_float
from minicnn.ops.arguments import number
from minicnn.ops.loss_reduction import check_reduction, reduced, refuse_grad, scale_of
from minicnn.record import check_device, record, unwrap
from minicnn.tensor import Tensor, as_array


def _class_view(op: str, x: Array) -> tuple[int, int, int]:
    """(C,), (N, C) or (N, C, d1, ...) as (n, c, s)."""
    if x.ndim == 0:
        raise ShapeError(f"{op}: x is a single number, expected (C,), (N, C) or (N, C, d1, ...)")
    n, c, s = (1, x.shape[0], 1) if x.ndim == 1 else (x.shape[0], x.shape[1], math.prod(x.shape[2:]))
    if c == 0:
        raise ShapeError(f"{op}: x has shape {x.shape}: no classes; expected at least one")
    return n, c, s


def _labels(op: str, x: Array, target: Any, ignore_index: int) -> Array:
    """The class indices as int64 of shape (n, s), on the CPU every one of them in range or ignored.

    The kernels of the GPU turn a label out of range into NaN instead: to look here, the host would wait for the GPU.
    """
    n, c, s = _class_view(op, x)
    labels = as_array(target, op=op, name="target")
    if labels.dtype.kind not in "iu":
        raise DTypeError(
            f"{op}: target has dtype {labels.dtype} and shape {labels.shape}, expected integer class indices"
            f"{'' if op == 'nll_loss' else f', or probabilities of the shape of x, {x.shape}'}"
            "; fix: target.astype('int64')"
        )
    expected = () if x.ndim == 1 else (x.shape[0], *x.shape[2:])
    if labels.shape != expected:
        hint = "; one-hot labels: fix: target.argmax(1), or floats" if labels.shape == x.shape and x.ndim > 1 else ""
        raise ShapeError(f"{op}: target has shape {labels.shape}, expected {expected} for x of shape {x.shape}{hint}")
    check_device(op, ("x", x), ("target", labels))
    whole = contiguous(labels.astype(np.int64, copy=False)).reshape(n, s)
    # As unsigned numbers negative labels are the largest: one look tells the common case.
    if device_of(labels) == device_of(x) == "cpu" and whole.view(np.uint64).max(initial=0) >= c:
        wrong = (labels != ignore_index) & ((labels < 0) | (labels >= c))
        if wrong.any():
            index = np.unravel_index(int(wrong.argmax()), labels.shape)
            place = ", ".join(str(int(i)) for i in index)
            raise IndexRangeError(
                f"{op}: target[{place}] is {int(labels[index])}, expected 0 to {c - 1} (x has {c} classes) or "
                f"ignore_index={ignore_index}; fix: labels start at 0; give the model one output a class"
            )
    return whole


def _class_weight(op: str, x: Array, weight: Array | None) -> Array:
    _, c, _ = _class_view(op, x)
    if weight is None:
        return allocate(x, (c,), fill=1)
    if weight.shape != (c,):
        raise ShapeError(f"{op}: weight has shape {weight.shape}, expected ({c},): one weight a class")
    return weight


def _ignore(op: str, ignore_index: Any) -> int:
    if isinstance(ignore_index, bool) or not isinstance(ignore_index, (int, np.integer)):
        raise ArgumentError(f"{op}: ignore_index={ignore_index!r} is a {type(ignore_index).__name__}, expected an int")
    return int(ignore_index)


def cross_entropy(
    x: Any,
    target: Any,
    weight: Any = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Log-softmax and negative log likelihood in one, from unnormalised scores.

    **Shapes** x (C,), (N, C) or (N, C, d1, ...); target class indices (), (N,) or (N, d1, ...), or class
    probabilities of the shape of x (floats) -> () or, unreduced, the shape of the indices.
    **Math** ``-sum_c w_c q_c log_softmax(x)_c`` with ``q = (1 - e) target + e/C`` (``e`` the label smoothing; an index
    stands for its one-hot vector, whose weight is that of its class). The mean of indices divides by the summed
    weights of the targets not ignored: NaN when all are ignored, as in PyTorch. The mean of probabilities divides by
    the number of positions.
    **Saves** x, target, and one float64 a position.

    **Raises** IndexRangeError naming the first label out of range. On the GPU nobody looks, because the host would have
    to wait: the loss of such a label, and every mean or sum with it, is NaN, and so is its gradient.
    """
    check_reduction("cross_entropy", reduction)
    ignore_index = _ignore("cross_entropy", ignore_index)
    smoothing = number("cross_entropy", "label_smoothing", label_smoothing, 0, 1)
    refuse_grad("cross_entropy", weight=weight)
    xa, wa = unwrap("cross_entropy", ("weight",), x=x, weight=weight)
    probabilities = as_array(target, op="cross_entropy", name="target")
    if is_float(probabilities.dtype) and probabilities.shape == xa.shape:
        return _soft_cross_entropy(x, target, wa, ignore_index, reduction, smoothing)
    labels, shape = _labels("cross_entropy", xa, target, ignore_index), probabilities.shape
    wa, x3 = _class_weight("cross_entropy", xa, wa), xa.reshape(_class_view("cross_entropy", xa))
    losses, lse = K.cross_entropy_forward(x3, labels, wa, ignore_index, smoothing)
    count = K.target_weight(labels, wa, ignore_index) if reduction == "mean" and not is_abstract(xa) else 0.0

    def vjp(gy: Array, needs: tuple[bool, ...]) -> tuple[Array | None, ...]:
        scale = scale_of(gy, labels.shape, reduction, count)
        return (K.cross_entropy_grad_x(scale, x3, lse, labels, wa, ignore_index, smoothing).reshape(xa.shape),)

    return record("cross_entropy", reduced(losses.reshape(shape), reduction, count), (x,), vjp)


def _soft_cross_entropy(
    x: Any, target: Any, weight: Array | None, ignore_index: int, reduction: str, smoothing: float
) -> Tensor:
    """Cross entropy against probabilities; both x and target may want gradients."""
    if ignore_index >= 0:
        raise ArgumentError(f"cross_entropy: ignore_index={ignore_index} needs class indices; target is probabilities")
    xa, ta = unwrap("cross_entropy", x=x, target=target)
    n, c, s = _class_view("cross_entropy", xa)
    wa = _class_weight("cross_entropy", xa, weight)
    x3, t3 = xa.reshape(n, c, s), ta.reshape(n, c, s)
    losses, lse = K.soft_cross_entropy_forward(x3, t3, wa, smoothing)

    def vjp(gy: Array, needs: tuple[bool, ...]) -> tuple[Array | None, ...]:
        scale = scale_of(gy, (n, s), reduction, n * s)
        gx = K.soft_cross_entropy_grad_x(scale, x3, lse, t3, wa, smoothing).reshape(xa.shape) if needs[0] else None
        gt = None
        if needs[1]:
            log_p = (x3 - lse.reshape(n, 1, s)).astype(xa.dtype)
            gt = (-(1 - smoothing) * scale.reshape(n, 1, s) * wa.reshape(1, c, 1) * log_p).reshape(ta.shape)
            gt = gt.astype(ta.dtype, copy=False)  # a bfloat16 times a number is a float32
        return gx, gt

    shape = () if xa.ndim == 1 else (xa.shape[0], *xa.shape[2:])
    return record("cross_entropy", reduced(losses.reshape(shape), reduction, n * s), (x, target), vjp)


def nll_loss(x: Any, target: Any, weight: Any = None, ignore_index: int = -100, reduction: str = "mean") -> Tensor:
    """Negative log likelihood of class indices, from log-probabilities.

    **Shapes** x (C,), (N, C) or (N, C, d1, ...), target (), (N,) or (N, d1, ...) -> () or, unreduced, that of target.
    **Math** ``-w_t x_t``; the mean divides by the summed weights of the targets not ignored (NaN when all are).
    **Saves** target only. **Raises** IndexRangeError for a label out of range; on the GPU its loss is NaN, as in
    ``cross_entropy``.
    """
    check_reduction("nll_loss", reduction)
    ignore_index = _ignore("nll_loss", ignore_index)
    refuse_grad("nll_loss", weight=weight)
    xa, wa = unwrap("nll_loss", ("weight",), x=x, weight=weight)
    labels, wa = _labels("nll_loss", xa, target, ignore_index), _class_weight("nll_loss", xa, wa)
    losses = K.nll_forward(xa.reshape(_class_view("nll_loss", xa)), labels, wa, ignore_index)
    count = K.target_weight(labels, wa, ignore_index) if reduction == "mean" and not is_abstract(xa) else 0.0
    shape = xa.shape

    def vjp(gy: Array, needs: tuple[bool, ...]) -> tuple[Array | None, ...]:
        return (K.nll_grad_x(scale_of(gy, labels.shape, reduction, count), labels, wa, ignore_index).reshape(shape),)

    out = losses.reshape(() if xa.ndim == 1 else (shape[0], *shape[2:]))
    return record("nll_loss", reduced(out, reduction, count), (x,), vjp)
