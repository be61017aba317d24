"""Gradient clipping, between ``backward`` and ``step``; gradients are changed in place."""

import math
from collections.abc import Iterable

from minicnn.errors import ArgumentError, DeviceError, GradientError
from minicnn.kernels import optim as K
from minicnn.kernels.arrays import Array, is_cupy
from minicnn.optim.optimizer import writable
from minicnn.tensor import Tensor


def _gradients(op: str, parameters: Tensor | Iterable[Tensor]) -> list[Array]:
    tensors = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    for tensor in tensors:
        if not isinstance(tensor, Tensor):
            raise ArgumentError(f"{op}: a parameter is a {type(tensor).__name__}, expected a Tensor")
    gradients = [tensor.grad for tensor in tensors if tensor.grad is not None]
    devices = sorted({gradient.device for gradient in gradients})
    if len(devices) > 1:
        raise DeviceError(
            f"{op}: gradients are on {' and '.join(devices)}; fix: clip those of each device by themselves"
        )
    return [writable(gradient) if is_cupy(gradient.data) else gradient.data for gradient in gradients]


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor], max_norm: float, norm_type: float = 2.0, error_if_nonfinite: bool = False
) -> float | Tensor:
    """Scale all gradients together so that their joint norm is at most ``max_norm``; returns the norm before.

    **Math** ``g *= max_norm / (norm + 1e-6)`` where that is below 1; ``norm_type`` may be ``math.inf``. The norm is
    summed in float64 and is a Python float on the CPU (PyTorch: a tensor), on the GPU a 0-d tensor, so that nothing
    waits until ``float()`` is taken of it. A NaN norm spoils every gradient, as in PyTorch, unless
    ``error_if_nonfinite``, which waits for the GPU.
    """
    op = "clip_grad_norm_"
    if not max_norm >= 0 or not norm_type > 0:
        raise ArgumentError(f"{op}: max_norm={max_norm!r}, norm_type={norm_type!r}; expected >= 0 and > 0")
    gradients = _gradients(op, parameters)
    if not gradients:
        return 0.0
    norm = K.joint_norm(gradients, float(norm_type))
    if error_if_nonfinite and not math.isfinite(float(norm)):
        raise GradientError(
            f"{op}: the norm of the gradients is {float(norm)}; fix: a smaller learning rate, or look for NaN"
        )
    K.scale_to_norm(gradients, norm, max_norm)
    return Tensor.wrap(norm) if is_cupy(norm) else float(norm)


def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float) -> None:
    """Limit every gradient element to ``[-clip_value, clip_value]``; NaN stays NaN."""
    if not clip_value >= 0:
        raise ArgumentError(f"clip_grad_value_: clip_value={clip_value!r}, expected a number of at least 0")
    gradients = _gradients("clip_grad_value_", parameters)
    if gradients:
        K.clip_values(gradients, clip_value)
