"""Optimiser steps: each moves a weight in place, in one pass over it, its gradient and its slots.

All arrays have the shape and dtype of the weight ``w``; slots (``v``, ``m``, ...) are updated in place too, and None
where the option that needs them is off. ``g`` is the gradient, negated first when ``maximize``; ``weight_decay`` adds
``weight_decay * w`` to it. Results do not depend on the number of threads: every element is its own.
"""

from typing import Any

from minicnn.kernels.arrays import Array, allocate, is_abstract, twin


def _run(name: str, w: Array, arrays: tuple[Array | None, ...], *numbers: Any) -> None:
    """Call the twin ``name`` on flat views; an absent slot is an empty array."""
    if is_abstract(w):
        return
    flat = [allocate(w, (0,)) if a is None else a.reshape(-1) for a in arrays]
    getattr(twin(__name__, w), name)(w.reshape(-1), *flat, *numbers)


def sgd_step(w: Array, g: Array, lr: float, weight_decay: float, maximize: bool) -> None:
    """``w -= lr g``."""
    _run("sgd_step", w, (g,), lr, weight_decay, maximize)


def momentum_step(
    w: Array,
    g: Array,
    v: Array,
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
    w: Array,
    g: Array,
    v: Array,
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
    w: Array,
    g: Array,
    m: Array,
    v: Array,
    largest: Array | None,
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
    w: Array,
    g: Array,
    square: Array,
    mean: Array | None,
    v: Array | None,
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


def adagrad_step(w: Array, g: Array, total: Array, lr: float, eps: float, weight_decay: float, maximize: bool) -> None:
    """``total += g^2``, ``w -= lr g / (sqrt(total) + eps)``. **See** Duchi et al. 2011."""
    _run("adagrad_step", w, (g, total), lr, eps, weight_decay, maximize)


def adadelta_step(
    w: Array,
    g: Array,
    square: Array,
    moved: Array,
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
