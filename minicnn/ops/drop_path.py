"""FractalNet's join: the mean of several paths, some of which are dropped while training."""

from typing import Any

from minicnn.errors import ArgumentError, ShapeError
from minicnn.kernels import random as K
from minicnn.kernels.arrays import Array, allocate, array_module, compute_dtype, is_abstract
from minicnn.kernels.random.hashing import mix64
from minicnn.ops.geometry import integer
from minicnn.ops.random import check_probability, mask_seed
from minicnn.random import first_sample
from minicnn.record import record, unwrap
from minicnn.tensor import Tensor


def drop_path(
    branches: Any, p: float = 0.15, training: bool = True, *, column: int | None = None, seed: int | None = None
) -> Tensor:
    """Join paths by the mean over those that are alive.

    **Shapes** a list of B tensors (N, *) of one shape -> the same shape.

    **Math** local drop-path (``column=None``): each path of each sample is dropped with probability ``p``; where all
    would be, one drawn evenly stays; ``y[n] = mean of the living x_b[n]``. Global drop-path: ``column`` names the one
    path that stays, for every sample. With ``training=False``: the mean of all.

    Masks are a hash of (seed, global sample, path) as in ``dropout``. **Saves** one number a path and sample.
    PyTorch has no such operation.

    **See** Larsson, Maire, Shakhnarovich, "FractalNet", 2017, sections 2 and 3.
    """
    if not isinstance(branches, (list, tuple)) or not branches:
        raise ArgumentError("drop_path: branches must be a non-empty list of tensors, one a path")
    p = check_probability("drop_path", p)
    arrays = unwrap("drop_path", **{f"branches[{b}]": x for b, x in enumerate(branches)})
    for b, array in enumerate(arrays):
        if array.shape != arrays[0].shape or array.ndim < 1:
            raise ShapeError(
                f"drop_path: branches[{b}] has shape {array.shape}, but branches[0] {arrays[0].shape}; expected (N, *)"
            )
    if column is not None and integer("drop_path", "column", column, 0) >= len(arrays):
        raise ArgumentError(f"drop_path: column={column} does not exist, expected 0 to {len(arrays) - 1} or None")
    random = training and not is_abstract(arrays[0])
    weights = _shares(arrays[0], len(arrays), p if random else 0.0, column if random else None, seed)
    xp = array_module(arrays[0])
    dtype = compute_dtype(arrays[0].dtype)
    y = allocate(arrays[0], arrays[0].shape, dtype, fill=0)
    for weight, array in zip(weights, arrays, strict=True):
        # what is dropped is not read: 0 * inf would be NaN
        y = y + xp.where(weight > 0, weight * array.astype(dtype, copy=False), dtype.type(0))
    return record("drop_path", y.astype(arrays[0].dtype, copy=False), tuple(branches), _spread(weights))


def _spread(weights: list[Array]) -> Any:
    """Each path receives its share of the upstream gradient."""

    def vjp(gy: Array, needs: tuple[bool, ...]) -> tuple[Array | None, ...]:
        return tuple(weight * gy if need else None for weight, need in zip(weights, needs, strict=True))

    return vjp


def _shares(x: Array, count: int, p: float, column: int | None, seed: int | None) -> list[Array]:
    """What each path contributes to each sample: (N, 1, ...) a path, adding up to 1."""
    n, xp = x.shape[0], array_module(x)
    if column is not None:
        alive = allocate(x, (n, count), fill=0)
        alive[:, column] = 1
    elif p == 0:
        alive = allocate(x, (n, count), fill=1)
    else:
        drawn, first = mask_seed("drop_path", x, seed), first_sample()
        alive = K.mask_forward(allocate(x, (n, count), fill=1), drawn, first * count, 1, p, 1.0)
        survivors = xp.asarray([mix64(mix64(drawn) ^ (first + sample)) % count for sample in range(n)], dtype="int64")
        nobody = alive.sum(1) == 0
        alive[xp.arange(n), survivors] = xp.maximum(alive[xp.arange(n), survivors], nobody)
    shares = alive / alive.sum(1, keepdims=True)
    return [shares[:, b].reshape(n, *(1,) * (x.ndim - 1)) for b in range(count)]
