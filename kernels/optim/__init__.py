"""Optimiser steps: each moves weights in place, in one pass over them, their gradients and their slots.

Arguments are lists with one array a weight, of its shape and dtype; slots (``v``, ``m``, ...) are updated in place too,
and None where the option that needs them is off. ``g`` is the gradient, negated first when ``maximize``;
``weight_decay`` adds ``weight_decay * w`` to it. The CPU takes one weight after the other, the GPU all in one launch.
Results do not depend on the number of threads: every element is its own.
"""

from collections.abc import Sequence
from typing import Any

from minicnn.kernels.arrays import Array, allocate, is_cupy, twin

Arrays = Sequence[Array]


def _run(name: str, w: Arrays, columns: tuple[Arrays | None, ...], *numbers: Any) -> None:
    """Call the twin ``name``: on the CPU once a weight on flat views, where an absent slot is an empty array."""
    step = getattr(twin(__name__, w[0]), name)
    if is_cupy(w[0]):
        step(w, *columns, *numbers)
        return
    for number, weight in enumerate(w):
        flat = [allocate(weight, (0,)) if column is None else column[number].reshape(-1) for column in columns]
        step(weight.reshape(-1), *flat, *numbers)


def sgd_step(w: Arrays, g: Arrays, lr: float, weight_decay: float, maximize: bool) -> None:
    """``w -= lr g``."""
    _run("sgd_step", w, (g,), lr, weight_decay, maximize)


def momentum_step(
    w: Arrays,
    g: Arrays,
    v: Arrays,
    lr: float,
    momentum: float,
    dampening: float,
    weight_decay: float,
    nesterov: bool,
    maximize: bool,
) -> None:
    """``v = momentum v + (1 - dampening) g``, then ``w -= lr v``, or ``w -= lr (g + momentum v)`` with Nesterov.

    **See** Sutskever et al. 2013; the form of PyTorch, where the learning rate stands outside the velocity.
    """
    _run("momentum_step", w, (g, v), lr, momentum, dampening, weight_decay, nesterov, maximize)


def caffe_momentum_step(
    w: Arrays,
    g: Arrays,
    v: Arrays,
    lr: float,
    momentum: float,
    weight_decay: float,
    nesterov: bool,
    maximize: bool,
) -> None:
    """``v' = momentum v + lr g``, then ``w -= v'``, or ``w -= (1 + momentum) v' - momentum v`` with Nesterov.

    **See** Krizhevsky et al. 2012, section 5; Caffe's SGD and Nesterov solvers. Equal to PyTorch's form while the
    learning rate is constant; after a drop the velocity still carries the old rate.
    """
    _run("caffe_momentum_step", w, (g, v), lr, momentum, weight_decay, nesterov, maximize)


def adam_step(
    w: Arrays,
    g: Arrays,
    m: Arrays,
    v: Arrays,
    largest: Arrays | None,
    step: int,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    decoupled: bool,
    maximize: bool,
) -> None:
    """``m = b1 m + (1-b1) g``, ``v = b2 v + (1-b2) g^2``, ``w -= lr m^ / (sqrt(v^) + eps)``, hats bias-corrected.

    ``step`` counts from 1. ``decoupled`` shrinks ``w`` by ``1 - lr weight_decay`` instead of touching the gradient
    (AdamW). With ``largest`` (AMSGrad) the running maximum of ``v`` takes its place. **See** Kingma and Ba 2015;
    Loshchilov and Hutter 2019; Reddi et al. 2018.
    """
    rate, root = lr / (1 - beta1**step), (1 - beta2**step) ** 0.5
    shrink = 1 - lr * weight_decay if decoupled else 1.0
    coupled = 0.0 if decoupled else weight_decay
    _run("adam_step", w, (g, m, v, largest), rate, root, beta1, beta2, eps, coupled, shrink, maximize)


def rmsprop_step(
    w: Arrays,
    g: Arrays,
    square: Arrays,
    mean: Arrays | None,
    v: Arrays | None,
    lr: float,
    alpha: float,
    eps: float,
    weight_decay: float,
    momentum: float,
    maximize: bool,
) -> None:
    """``square = alpha square + (1-alpha) g^2``, ``w -= lr g / (sqrt(square) + eps)``.

    With ``mean`` (centred) ``square - mean^2`` stands under the root, 0 where rounding makes it negative (PyTorch:
    NaN); with ``v`` the quotient goes through ``v = momentum v + quotient``. **See** Hinton, lecture 6e; Graves 2013.
    """
    _run("rmsprop_step", w, (g, square, mean, v), lr, alpha, eps, weight_decay, momentum, maximize)


def adagrad_step(
    w: Arrays, g: Arrays, total: Arrays, lr: float, eps: float, weight_decay: float, maximize: bool
) -> None:
    """``total += g^2``, ``w -= lr g / (sqrt(total) + eps)``. **See** Duchi et al. 2011."""
    _run("adagrad_step", w, (g, total), lr, eps, weight_decay, maximize)


def adadelta_step(
    w: Arrays,
    g: Arrays,
    square: Arrays,
    moved: Arrays,
    lr: float,
    rho: float,
    eps: float,
    weight_decay: float,
    maximize: bool,
) -> None:
    """``square = rho square + (1-rho) g^2``, ``d = sqrt(moved + eps) / sqrt(square + eps) g``, ``w -= lr d``.

    Then ``moved = rho moved + (1-rho) d^2``. **See** Zeiler 2012, algorithm 1.
    """
    _run("adadelta_step", w, (g, square, moved), lr, rho, eps, weight_decay, maximize)


def average_step(average: Arrays, w: Arrays, fresh: float) -> None:
    """``average += fresh (w - average)``."""
    twin(__name__, w[0]).average_step(average, w, fresh)


def joint_norm(g: Arrays, norm_type: float) -> Any:
    """The norm of all elements together, in float64: a number on the CPU, a 0-d array on the GPU (nothing waits).

    **Math** ``(sum |g|^p)^(1/p)``, or the largest ``|g|`` where ``p`` is infinite.
    """
    return twin(__name__, g[0]).joint_norm(g, norm_type)


def scale_to_norm(g: Arrays, norm: Any, max_norm: float) -> None:
    """``g *= max_norm / (norm + 1e-6)`` where that is below 1, or NaN; ``norm`` is that of ``joint_norm``."""
    twin(__name__, g[0]).scale_to_norm(g, norm, max_norm)


def clip_values(g: Arrays, limit: float) -> None:
    """``g = min(max(g, -limit), limit)``; NaN stays NaN."""
    twin(__name__, g[0]).clip_values(g, limit)
