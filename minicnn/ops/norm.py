"""Normalisations over (N, C, *): batch, layer, group and instance norm, and the length of vectors.

Statistics are computed in float64 by two passes whatever the dtype of ``x``.
"""

import sys
from collections.abc import Sequence
from math import prod
from typing import Any

from minicnn.context import is_recomputing
from minicnn.errors import ArgumentError, DTypeError, ShapeError
from minicnn.kernels import norm as K
from minicnn.kernels.arrays import Array, array_module, compute_dtype, is_abstract, is_array
from minicnn.ops.arguments import number
from minicnn.ops.fused import Norm, normalised
from minicnn.ops.geometry import integer
from minicnn.ops.operands import quiet
from minicnn.record import check_device, check_float, record, unwrap
from minicnn.tensor import Tensor, as_array

_MOMENTUM = "a number; for a cumulative average pass 1 / (number of batches seen)"


def batch_norm(
    x: Any,
    running_mean: Any,
    running_var: Any,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise each channel: over the batch when ``training``, else with the running statistics.

    **Shapes** x (N, C, *), the others (C,) -> y like x. **Math** ``y = (x - mean) / sqrt(var + eps) * weight + bias``.
    When ``training``, ``running = (1 - momentum) * running + momentum * batch`` is written in place, once, outside the
    tape (not again while a checkpointed block is recomputed); the running variance is the unbiased one. Running
    arrays may be None when ``training``. **Saves** x, and two float64 numbers a channel.

    **Raises** ShapeError when ``training`` with a single value a channel; ArgumentError without statistics to use.

    **See** Ioffe and Szegedy, "Batch Normalization", 2015, algorithms 1 and 2.
    """
    if not training:
        return batch_norm_eval(x, running_mean, running_var, weight, bias, eps)
    given = as_array(x, op="batch_norm", name="x")
    for name, running in (("running_mean", running_mean), ("running_var", running_var)):
        _check_running("batch_norm", name, running, given)
    momentum = number("batch_norm", "momentum", momentum, expected=_MOMENTUM)
    y, mean, var = _batch_norm_train(x, weight, bias, eps)
    count = y.size // y.shape[1]
    if count:
        _update(running_mean, mean, momentum)
        _update(running_var, var, momentum, count / (count - 1))
    return y


def batch_norm_train(x: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> tuple[Tensor, Tensor, Tensor]:
    """Batch norm with the statistics of this batch; returns y, mean and the biased variance, and changes nothing.

    **Shapes** x (N, C, *), weight and bias (C,) -> y like x, mean (C,), var (C,). The gradient of y includes its way
    through the statistics; ``mean`` and ``var`` as outputs are not differentiated.

    **Raises** ShapeError for a single value a channel, whose normalised value is always 0.
    """
    y, *statistics = _batch_norm_train(x, weight, bias, eps)
    mean, var = (Tensor.wrap(statistic.reshape(-1).astype(y.dtype)) for statistic in statistics)
    return y, mean, var


def _batch_norm_train(x: Any, weight: Any, bias: Any, eps: Any) -> tuple[Tensor, Array, Array]:
    """y, mean and variance, the last two (1, C) in float64."""
    xa, wa, ba = unwrap("batch_norm", ("weight", "bias"), x=x, weight=weight, bias=bias)
    _check_channels("batch_norm", xa, weight=wa, bias=ba)
    eps = number("batch_norm", "eps", eps, 0)
    if prod(xa.shape[:1] + xa.shape[2:]) == 1:
        raise ShapeError(
            f"batch_norm: x of shape {xa.shape} has one value per channel, expected more than 1 when training; "
            "fix: a larger batch, or training=False (model.eval())"
        )
    mean, var, rstd = K.moments(xa, (1, xa.shape[1]), eps)
    return normalised(x, Norm(mean, rstd, (weight, bias), wa, ba, False)), mean, var


def _normalised(
    op: str, tensors: tuple[Any, ...], arrays: tuple[Array, ...], shape: tuple[int, int], eps: float
) -> tuple[Tensor, Array, Array]:
    """x, weight and bias -> y, and the float64 mean and variance of ``shape`` that normalised it."""
    xa, wa, ba = arrays
    y, mean, var, rstd = K.normalise(xa, shape, wa, ba, eps)
    return record(op, y, tensors, lambda gy, needs: K.channels_grads(gy, xa, mean, rstd, wa, needs)), mean, var


def batch_norm_eval(
    x: Any, running_mean: Any, running_var: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> Tensor:
    """Batch norm with given statistics, which are constants: no gradient flows to them.

    **Shapes** x (N, C, *), the others (C,) -> like x. **Math** ``y = (x - mean) / sqrt(var + eps) * weight + bias``.
    """
    return _frozen("batch_norm", x, running_mean, running_var, weight, bias, eps)


def _frozen(op: str, x: Any, running_mean: Any, running_var: Any, weight: Any, bias: Any, eps: Any) -> Tensor:
    """Normalised by statistics that are constants."""
    if running_mean is None or running_var is None:
        missing = "running_mean" if running_mean is None else "running_var"
        raise ArgumentError(
            f"{op}: {missing} is None, expected an array; fix: "
            + ("training=True uses the batch's" if op == "batch_norm" else "use_input_stats=True uses those of x")
        )
    xa, wa, ba = unwrap(op, ("weight", "bias"), x=x, weight=weight, bias=bias)
    mean, var = unwrap(op, running_mean=running_mean, running_var=running_var)
    _check_channels(op, xa, weight=wa, bias=ba)
    for name, running in (("running_mean", mean), ("running_var", var)):
        _check_running(op, name, running, xa)
    eps = number(op, "eps", eps, 0)
    center, rstd = mean.reshape(1, -1).astype(float), K.reciprocal_std(var.reshape(1, -1).astype(float), eps)
    if op == "batch_norm":
        return normalised(x, Norm(center, rstd, (weight, bias), wa, ba, True))
    y = K.channels_forward(xa, center, rstd, wa, ba)

    def vjp(gy: Array, needs: tuple[bool, ...]) -> Any:
        return K.channels_grads(gy, xa, center, rstd, wa, needs, frozen=True)

    return record(op, y, (x, weight, bias), vjp)


def instance_norm(
    x: Any,
    running_mean: Any = None,
    running_var: Any = None,
    weight: Any = None,
    bias: Any = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise each channel of each image by itself, or (``use_input_stats=False``) with running statistics.

    **Shapes** x (N, C, *) with at least one *, the others (C,) -> like x. **Math** as ``batch_norm``, one image a
    batch; running arrays that are given are written in place with the mean over the images (variances unbiased).

    **Raises** ShapeError for one value per channel and image.
    """
    if not use_input_stats:
        return _frozen("instance_norm", x, running_mean, running_var, weight, bias, eps)
    xa, wa, ba = unwrap("instance_norm", ("weight", "bias"), x=x, weight=weight, bias=bias)
    _check_channels("instance_norm", xa, weight=wa, bias=ba)
    eps = number("instance_norm", "eps", eps, 0)
    momentum = number("instance_norm", "momentum", momentum, expected=_MOMENTUM)
    for name, running in (("running_mean", running_mean), ("running_var", running_var)):
        _check_running("instance_norm", name, running, xa)
    count = prod(xa.shape[2:])
    if xa.ndim < 3 or count == 1:
        raise ShapeError(
            f"instance_norm: x of shape {xa.shape} has one value per channel and image, expected (N, C, *) with more "
            "than 1 spatial element; fix: a larger image, or use_input_stats=False"
        )
    y, mean, var = _normalised("instance_norm", (x, weight, bias), (xa, wa, ba), xa.shape[:2], eps)
    if xa.size:
        _update(running_mean, mean.mean(0), momentum)
        _update(running_var, var.mean(0) * (count / (count - 1)), momentum)
    return y


def group_norm(x: Any, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Tensor:
    """Normalise each image over groups of C / num_groups channels.

    **Shapes** x (N, C, *), weight and bias (C,) -> like x. **Math** ``y = (x - mean) / sqrt(var + eps) * weight +
    bias``, biased variance. **Saves** x and two float64 numbers per image and group.

    **Raises** ShapeError when num_groups does not divide C, and (as PyTorch) when the whole batch is one value a group.

    **See** Wu and He, "Group Normalization", 2018.
    """
    xa, wa, ba = unwrap("group_norm", ("weight", "bias"), x=x, weight=weight, bias=bias)
    _check_channels("group_norm", xa, weight=wa, bias=ba)
    eps = number("group_norm", "eps", eps, 0)
    groups = integer("group_norm", "num_groups", num_groups, 1)
    n, c = xa.shape[:2]
    if c % groups:
        raise ShapeError(f"group_norm: num_groups={groups} does not divide the {c} channels of x, shape {xa.shape}")
    if n * c // groups * prod(xa.shape[2:]) == 1:
        raise ShapeError(
            f"group_norm: x of shape {xa.shape} has one value per group with num_groups={groups}, expected more than 1"
        )
    return _normalised("group_norm", (x, weight, bias), (xa, wa, ba), (n, groups), eps)[0]


def layer_norm(
    x: Any, normalized_shape: Sequence[int] | int, weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> Tensor:
    """Normalise over the last dimensions, whose sizes are ``normalized_shape``.

    **Shapes** x (*, normalized_shape), weight and bias of normalized_shape -> like x. **Math** ``y = (x - mean) /
    sqrt(var + eps) * weight + bias``, biased variance. **Saves** x and two float64 numbers per slice.

    **See** Ba, Kiros and Hinton, "Layer Normalization", 2016.
    """
    xa, wa, ba = unwrap("layer_norm", ("weight", "bias"), x=x, weight=weight, bias=bias)
    sizes = tuple(normalized_shape) if isinstance(normalized_shape, (tuple, list)) else (normalized_shape,)
    shape = tuple(integer("layer_norm", "normalized_shape", size, 1) for size in sizes)
    if not shape or xa.shape[-len(shape) :] != shape:
        raise ShapeError(f"layer_norm: x has shape {xa.shape}, expected its last dimensions to be {shape}")
    for name, array in (("weight", wa), ("bias", ba)):
        if array is not None and array.shape != shape:
            raise ShapeError(f"layer_norm: {name} has shape {array.shape}, expected normalized_shape {shape}")
    eps = number("layer_norm", "eps", eps, 0)
    size = prod(shape)
    y, mean, rstd = K.layer_norm_forward(xa, wa, ba, size, eps)

    def vjp(gy: Array, needs: tuple[bool, ...]) -> Any:
        gx, gw, gb = K.layer_norm_grads(gy, xa, mean, rstd, wa, size)
        return (
            gx if needs[0] else None,
            gw.reshape(shape) if needs[1] else None,
            gb.reshape(shape) if needs[2] else None,
        )

    return record("layer_norm", y, (x, weight, bias), vjp)


@quiet
def normalize(x: Any, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Tensor:
    """Divide vectors along ``dim`` by their p-norm, or by ``eps`` where that is larger.

    **Shapes** any with dimension ``dim`` -> same. **Math** ``y = x / max((sum |x|^p)^(1/p), eps)``. **Saves** x and
    the norms. PyTorch's ``out`` does not exist here, and ``p`` must be a finite number of at least 1.
    """
    (xa,) = unwrap("normalize", x=x)
    p, eps = (
        number("normalize", "p", p, 1, sys.float_info.max, "a finite number >= 1"),
        number("normalize", "eps", eps, 0),
    )
    dim = integer("normalize", "dim", dim, -xa.ndim)
    if dim >= xa.ndim:
        raise ShapeError(f"normalize: x has shape {tuple(xa.shape)}, which has no dimension {dim}")
    xp = array_module(xa)
    size = (xp.abs(xa) ** p).sum(axis=dim, keepdims=True) ** (1 / p)
    length = xp.maximum(size, eps)
    y = xa / length

    def vjp(gy: Array, needs: tuple[bool, ...]) -> Any:
        along = (gy * xa).sum(axis=dim, keepdims=True) / length
        free = size >= eps  # elsewhere the length is the constant eps
        slope = xp.where(free, along / length, 0) * xp.sign(xa) * (xp.abs(xa) / length) ** (p - 1)
        return ((gy / length - slope).astype(xa.dtype, copy=False),)

    return record("normalize", y, (x,), vjp)


# ---- checks and running statistics


def _check_channels(op: str, x: Array, **channelwise: Array | None) -> None:
    if x.ndim < 2:
        raise ShapeError(f"{op}: x has shape {tuple(x.shape)}, expected (N, C, *) with at least 2 dimensions")
    for name, array in channelwise.items():
        if array is not None and tuple(array.shape) != (x.shape[1],):
            raise ShapeError(
                f"{op}: {name} has shape {tuple(array.shape)}, expected ({x.shape[1]},), one number per channel of "
                f"x {tuple(x.shape)}"
            )


def _check_running(op: str, name: str, running: Any, x: Array) -> None:
    """Running arrays are written in place, so they must be arrays or tensors as they are, never converted."""
    if running is None:
        return
    if not isinstance(running, Tensor) and not is_array(running):
        raise ArgumentError(
            f"{op}: {name} is a {type(running).__name__}, expected a Tensor or an array to update in place"
        )
    array = as_array(running, op=op, name=name)
    check_float(op, name, array)
    _check_channels(op, x, **{name: array})
    if array.dtype not in (x.dtype, compute_dtype(x.dtype)):
        raise DTypeError(f"{op}: {name} has dtype {array.dtype}, but x has {x.dtype}; fix: {name}.astype('{x.dtype}')")
    check_device(op, ("x", x), (name, array))


def _update(running: Any, value: Array, momentum: float, factor: float = 1.0) -> None:
    """``running = (1 - momentum) * running + momentum * factor * value``, unless this is a second run of a block."""
    array = running.data if isinstance(running, Tensor) else running
    if running is None or is_recomputing() or is_abstract(array) or is_abstract(value):
        return
    K.update_running(array, value.reshape(-1), momentum, factor)
    if isinstance(running, Tensor):
        running.bump()
