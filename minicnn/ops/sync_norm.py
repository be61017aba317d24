"""Batch norm whose batch is spread over several ranks: statistics, and the sums of backward, are those of all of it."""

from math import prod
from typing import Any, Protocol

from minicnn.errors import ShapeError
from minicnn.kernels import norm as K
from minicnn.kernels.arrays import Array, array_module
from minicnn.ops.arguments import number
from minicnn.ops.norm import _check_channels, _check_running, _update
from minicnn.record import record, unwrap
from minicnn.tensor import Tensor


class Ranks(Protocol):
    """What is asked of a communicator (`minicnn.parallel`)."""

    def sum(self, array: Array) -> None: ...

    def gather(self, array: Array) -> Array: ...


def sync_batch_norm(
    x: Any, running_mean: Any, running_var: Any, weight: Any, bias: Any, momentum: float, eps: float, ranks: Ranks
) -> Tensor:
    """``batch_norm`` in training, over the batches of all ``ranks`` together.

    **Shapes** x (N, C, *), N of each rank its own, also 0; the others (C,) -> y like x. **Math** as ``batch_norm``; the
    moments of the ranks are joined as by Chan et al., 1979: ``var = sum(n_r (var_r + (mean_r - mean)^2)) / sum(n_r)``.
    The gradients of weight and bias are this rank's share, as those of every other parameter; x's is whole.

    **Raises** ShapeError when there is a single value a channel on all ranks together.
    """
    xa, wa, ba = unwrap("batch_norm", ("weight", "bias"), x=x, weight=weight, bias=bias)
    _check_channels("batch_norm", xa, weight=wa, bias=ba)
    for name, running in (("running_mean", running_mean), ("running_var", running_var)):
        _check_running("batch_norm", name, running, xa)
    eps, momentum = number("batch_norm", "eps", eps, 0), number("batch_norm", "momentum", momentum)
    count, mean, var = _joined(xa, eps, ranks)
    if count == 1:
        raise ShapeError(
            f"batch_norm: x of shape {xa.shape} has one value per channel on all ranks together, expected more than 1 "
            "when training; fix: a larger batch"
        )
    rstd = K.reciprocal_std(var, eps)
    y = K.channels_forward(xa, mean, rstd, wa, ba)
    _update(running_mean, mean, momentum)
    _update(running_var, var, momentum, count / (count - 1))

    def vjp(gy: Array, needs: tuple[bool, ...]) -> tuple[Array | None, ...]:
        return _grads(gy, (xa, mean, rstd, wa), needs, count, ranks)

    return record("sync_batch_norm", y, (x, weight, bias), vjp)


def _joined(x: Array, eps: float, ranks: Ranks) -> tuple[float, Array, Array]:
    """How many values a channel has on all ranks, and their mean and biased variance, (1, C) in float64."""
    c = x.shape[1]
    own_count = prod(x.shape[:1] + x.shape[2:])
    xp = array_module(x)
    mean, var, _ = K.moments(x, (1, c), eps)
    told = ranks.gather(xp.concatenate([xp.full(1, float(own_count)), mean.reshape(-1), var.reshape(-1)]))  # (R, 1+2C)
    counts, means, variances = told[:, :1], told[:, 1 : c + 1], told[:, c + 1 :]
    count = float(counts.sum())
    joined = (counts * means).sum(0, keepdims=True) / count
    spread = (counts * (variances + (means - joined) ** 2)).sum(0, keepdims=True) / count
    return count, joined, spread


def _grads(
    gy: Array, saved: tuple[Any, ...], needs: tuple[bool, ...], count: float, ranks: Ranks
) -> tuple[Array | None, ...]:
    """**Math** with ``z = (x - mean) * rstd``, sums over all ranks,
    ``gx = rstd * weight * (gy - sum(gy) / count - z sum(gy z) / count)``."""
    x, mean, rstd, weight = saved
    gx, gw, gb = K.channels_grads(gy, x, mean, rstd, weight, (needs[0], True, True), frozen=True)
    if gx is not None:
        sums = array_module(x).stack([gb, gw]).astype(float)
        ranks.sum(sums)
        scale = rstd[0] if weight is None else rstd[0] * weight
        common, slope = ((scale * total / count).astype(x.dtype) for total in sums)
        gx -= K.channels_forward(x, mean, rstd, slope, common)
    return gx, gw if needs[1] else None, gb if needs[2] else None
