"""What batch norm, a sum and a ReLU share: done in one visit to the memory where they follow each other.

``normalised``, ``summed`` and ``bounded`` are how ``batch_norm``, ``add`` and ``relu`` end. Inside a module the step
waits (``minicnn/deferred.py``); ``_run`` does what has come together, in this order, as one recorded operation.
A ``pointwise`` activation waits too, only to be written over its input where nobody reads that again.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from minicnn.context import is_grad_enabled
from minicnn.deferred import Deferred, is_pending, may_defer
from minicnn.kernels import fused as K
from minicnn.kernels import norm
from minicnn.kernels.arrays import FLOAT_DTYPES, Array, contiguous, is_storage
from minicnn.record import record
from minicnn.tensor import Tensor, as_array

FREE = float("nan")  # no bound


@dataclass(slots=True)
class Norm:
    """The statistics (1, C), float64, of a batch norm, and its weight and bias, tensors and (C,) arrays, or None."""

    mean: Array
    rstd: Array
    affine: tuple[Any, Any]
    weight: Array | None
    bias: Array | None
    frozen: bool  # statistics that are constants

    rank: ClassVar[int] = 0
    name: ClassVar[str] = "batch_norm"


@dataclass(slots=True)
class Sum:
    """Adds a tensor of the same shape."""

    rank: ClassVar[int] = 1
    name: ClassVar[str] = "add"


@dataclass(slots=True)
class Bounds:
    """``min(max(x, low), high)``, under the name of the operation."""

    low: float
    high: float
    name: str

    rank: ClassVar[int] = 2


@dataclass(slots=True)
class Pointwise:
    """An activation of two gates: ``forward(x, out)``, in ``out`` where given, which may be x; ``grad_x(gy, x)``."""

    name: str
    forward: Callable[[Array, Array | None], Array]
    grad_x: Callable[[Array, Array], Array]

    rank: ClassVar[int] = 3


NO_BOUNDS = Bounds(FREE, FREE, "")


def normalised(x: Any, step: Norm) -> Tensor:
    """The end of a batch norm of ``x`` (N, C, *), whose statistics are known; its weights are those of now."""
    if not isinstance(x, Tensor) or not may_defer():
        return _run(x, (step,), None)
    step.weight, step.bias = (None if array is None else array.copy() for array in (step.weight, step.bias))
    return Deferred(x, step, _run)


def summed(x: Any, other: Any) -> Tensor | None:
    """The sum of two tensors of one shape and dtype, inside a module; None of anything else."""
    if not (isinstance(x, Tensor) and isinstance(other, Tensor) and may_defer()):
        return None
    if x.shape != other.shape or x.dtype != other.dtype or x.dtype not in FLOAT_DTYPES or x.device != other.device:
        return None
    if is_pending(other) and not (is_pending(x) and isinstance(x._step, Norm)):
        x, other = other, x
    return Deferred(x, Sum(), _run, other)


def bounded(x: Any, low: float, high: float, name: str) -> Tensor | None:
    """``x`` within bounds, inside a module; None of what is no float tensor of this device."""
    return Deferred(x, Bounds(low, high, name), _run) if _may_wait(x) else None


def pointwise(x: Any, step: Pointwise) -> Tensor | None:
    """The activation of ``x``, inside a module; None of what is no float tensor of this device."""
    return Deferred(x, step, _run) if _may_wait(x) else None


def _may_wait(x: Any) -> bool:
    if not isinstance(x, Tensor) or not may_defer():
        return False
    return x.dtype in FLOAT_DTYPES or (is_storage(x.dtype) and x.device != "cpu")


def _run(
    x: Any, steps: tuple[Any, ...], other: Tensor | None, x_is_free: bool = False, other_is_free: bool = False
) -> Tensor:
    """All ``steps`` on ``x``; what is free may be written over, unless backward needs it."""
    if isinstance(steps[-1], Pointwise):
        if len(steps) > 1:
            x, x_is_free = _run(x, steps[:-1], other, x_is_free, other_is_free), True
        return _activated(x, steps[-1], x_is_free)
    name = "_".join(step.name for step in steps)
    bounds = steps[-1] if isinstance(steps[-1], Bounds) else NO_BOUNDS
    xa, oa = contiguous(as_array(x)), None if other is None else contiguous(other.data)
    spare = oa if other_is_free else None
    if isinstance(steps[0], Norm):
        inputs = (x, *steps[0].affine, other)
        saved = is_grad_enabled() and any(isinstance(t, Tensor) and t.edge is not None for t in inputs)
        return _normed(name, inputs, (xa, oa), steps[0], bounds, xa if x_is_free and not saved else spare)
    return _bounded(name, (x, other), (xa, oa), bounds, xa if x_is_free else spare)


def _activated(x: Tensor, step: Pointwise, x_is_free: bool) -> Tensor:
    xa, grad_x = contiguous(x.data), step.grad_x
    saved = is_grad_enabled() and x.edge is not None
    y = step.forward(xa, xa if x_is_free and not saved else None)
    return record(step.name, y, (x,), lambda gy, needs: (grad_x(gy, xa),))


def _bounded(
    name: str, inputs: tuple[Any, ...], arrays: tuple[Array, Array | None], bounds: Bounds, out: Array | None
) -> Tensor:
    low, high = bounds.low, bounds.high
    y = K.bounded_forward(*arrays, low, high, out)

    def vjp(gy: Array, needs: tuple[bool, ...]) -> tuple[Array | None, ...]:
        g = K.bounded_grad(gy, y, low, high)
        return tuple(g if needed else None for needed in needs)

    def plain(gy: Array, needs: tuple[bool, ...]) -> tuple[Array | None, ...]:
        return tuple(gy if needed else None for needed in needs)

    return record(name, y, inputs, plain if bounds is NO_BOUNDS else vjp)


def _normed(
    name: str,
    inputs: tuple[Any, ...],
    arrays: tuple[Array, Array | None],
    step: Norm,
    bounds: Bounds,
    out: Array | None,
) -> Tensor:
    (xa, oa), low, high = arrays, bounds.low, bounds.high
    mean, rstd, weight, bias, frozen = step.mean, step.rstd, step.weight, step.bias, step.frozen
    if oa is None and out is None and bounds is NO_BOUNDS:
        y = norm.channels_forward(xa, mean, rstd, weight, bias)
    else:
        y = K.norm_forward(xa, mean, rstd, weight, bias, oa, low, high, out)

    def vjp(gy: Array, needs: tuple[bool, ...]) -> Any:
        return K.norm_grads(gy, y, xa, mean, rstd, weight, needs, frozen, low, high)

    def unbounded(gy: Array, needs: tuple[bool, ...]) -> Any:
        return *norm.channels_grads(gy, xa, mean, rstd, weight, needs[:3], frozen), gy if needs[3] else None

    return record(name, y, inputs, unbounded if bounds is NO_BOUNDS else vjp)
