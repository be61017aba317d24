"""Gradient clipping, between ``backward`` and ``step``; gradients are changed in place."""

import math
from collections.abc import Iterable

import numpy as np

from minicnn.errors import ArgumentError, GradientError
from minicnn.kernels.arrays import Array, array_module
from minicnn.tensor import Tensor


def _gradients(op: str, parameters: Tensor | Iterable[Tensor]) -> list[Array]:
    tensors = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    for tensor in tensors:
        if not isinstance(tensor, Tensor):
            raise ArgumentError(f"{op}: a parameter is a {type(tensor).__name__}, expected a Tensor")
    return [tensor.grad.data for tensor in tensors if tensor.grad is not None]


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor], max_norm: float, norm_type: float = 2.0, error_if_nonfinite: bool = False
) -> float:
    """Scale all gradients together so that their joint norm is at most ``max_norm``; returns the norm before.

    **Math** ``g *= max_norm / (norm + 1e-6)`` where that is below 1; ``norm_type`` may be ``math.inf``. The norm is
    summed in float64 and returned as a Python float (PyTorch returns a tensor). A NaN norm spoils every gradient, as
    in PyTorch, unless ``error_if_nonfinite``.
    """
    op = "clip_grad_norm_"
    if not max_norm >= 0 or not norm_type > 0:
        raise ArgumentError(f"{op}: max_norm={max_norm!r}, norm_type={norm_type!r}; expected >= 0 and > 0")
    gradients = _gradients(op, parameters)
    norm = _joint_norm(gradients, float(norm_type))
    if error_if_nonfinite and not math.isfinite(norm):
        raise GradientError(f"{op}: the norm of the gradients is {norm}; fix: a smaller learning rate, or look for NaN")
    scale = max_norm / (norm + 1e-6)
    if not scale >= 1:
        for g in gradients:
            g *= scale
    return norm


def _joint_norm(gradients: list[Array], norm_type: float) -> float:
    present = [g for g in gradients if g.size]
    if norm_type == math.inf:
        return float(np.max([float(abs(g).max()) for g in present], initial=0.0))
    powers = sum(float((abs(g).astype(np.float64) ** norm_type).sum()) for g in present)
    return float(powers ** (1 / norm_type))


def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float) -> None:
    """Limit every gradient element to ``[-clip_value, clip_value]``; NaN stays NaN."""
    if not clip_value >= 0:
        raise ArgumentError(f"clip_grad_value_: clip_value={clip_value!r}, expected a number of at least 0")
    for g in _gradients("clip_grad_value_", parameters):
        array_module(g).clip(g, -clip_value, clip_value, out=g)
