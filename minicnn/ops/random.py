"""Random layers: dropout and its relatives.

Masks are a hash of (seed, global index of the sample and element): the same on every device, recomputed in backward,
never saved. The seed is drawn from the default generator, one a call, unless ``seed=`` is given; inside
``minicnn.random.sample_offset(first)`` the samples at hand count from ``first``. With ``training=False``, ``p=0`` or
under ``minicnn.abstract()``, ``x`` itself comes back and nothing is drawn: the expectation of the layer.
PyTorch's ``inplace`` does not exist here. A dropped element is exactly 0, also where ``x`` is NaN or inf.
"""

from collections.abc import Callable
from math import prod
from typing import Any

from minicnn.errors import ArgumentError, ShapeError
from minicnn.kernels import random as K
from minicnn.kernels.arrays import Array, allocate, is_abstract
from minicnn.ops.arguments import number
from minicnn.random import check_seed, default_generator, first_sample
from minicnn.record import as_tensor, record, unwrap
from minicnn.tensor import Tensor, as_array


def dropout(x: Any, p: float = 0.5, training: bool = True, *, seed: int | None = None) -> Tensor:
    """Zero each element with probability ``p`` and scale the others by ``1 / (1 - p)``.

    **Shapes** (N, *) -> same. **Saves** nothing.

    **See** Srivastava et al., "Dropout", 2014.
    """
    return _masked("dropout", "x", x, p, training, seed, lambda shape: (prod(shape[1:]), 1))


def dropout2d(x: Any, p: float = 0.5, training: bool = True, *, seed: int | None = None) -> Tensor:
    """Zero whole channels of whole images with probability ``p`` and scale the others by ``1 / (1 - p)``.

    **Shapes** (N, C, *) -> same; 3 dimensions are (N, C, L), as in PyTorch. **Saves** nothing.

    **See** Tompson et al., "Efficient Object Localization Using Convolutional Networks", 2015 (SpatialDropout).
    """
    _at_least("dropout2d", x, 2, "(N, C, *)")
    return _masked("dropout2d", "x", x, p, training, seed, lambda shape: (shape[1], prod(shape[2:])))


def drop_connect(weight: Any, p: float = 0.5, training: bool = True, *, seed: int | None = None) -> Tensor:
    """Zero each weight with probability ``p`` and scale the others by ``1 / (1 - p)``: dropout of connections.

    **Shapes** any -> same. One mask for the whole batch (the paper draws one a sample and approximates the
    expectation at test time by a normal distribution); a weight has no samples, so ``sample_offset`` does not apply.

    **See** Wan et al., "Regularization of Neural Networks using DropConnect", 2013.
    """
    return _masked("drop_connect", "weight", weight, p, training, seed, lambda shape: (0, 1))


def stochastic_depth(x: Any, p: float, mode: str, training: bool = True, *, seed: int | None = None) -> Tensor:
    """Zero a residual branch with probability ``p``, for each sample (``mode="row"``) or for all (``"batch"``).

    **Shapes** (N, *) -> same. What is kept is scaled by ``1 / (1 - p)``. Arguments as in torchvision.

    **See** Huang et al., "Deep Networks with Stochastic Depth", 2016.
    """
    if mode not in ("batch", "row"):
        raise ArgumentError(f"stochastic_depth: mode={mode!r} is unknown, expected 'batch' or 'row'")
    _at_least("stochastic_depth", x, 1, "(N, *)")
    rows = mode == "row"
    return _masked(
        "stochastic_depth",
        "x",
        x,
        p,
        training,
        seed,
        lambda shape: (1, prod(shape[1:])) if rows else (0, prod(shape)),
    )


def alpha_dropout(x: Any, p: float = 0.5, training: bool = False, *, seed: int | None = None) -> Tensor:
    """Set elements to SELU's lower limit with probability ``p``, then rescale: mean 0 and variance 1 are preserved.

    **Shapes** (N, *) -> same. **Math** ``y = a * (x if kept else l) + b`` with ``l = -1.7580993408473766``,
    ``a = ((1 - p) (1 + p l^2))^-0.5`` and ``b = -a p l``. ``p=1`` gives zeros, as in PyTorch.

    **See** Klambauer et al., "Self-Normalizing Neural Networks", 2017.
    """
    limit = -1.7580993408473766
    p = check_probability("alpha_dropout", p)
    (xa,) = unwrap("alpha_dropout", x=x)
    if not training or p == 0:
        return as_tensor(x, "alpha_dropout")
    drawn = mask_seed("alpha_dropout", xa, seed)
    first = first_sample() * prod(xa.shape[1:])
    scale = ((1 - p) * (1 + p * limit * limit)) ** -0.5 if p < 1 else 0.0
    shift = scale * limit * (1 - p)
    above = allocate(xa, xa.shape)
    above[...] = xa - limit  # written into an array, because NumPy turns a 0-d difference into a scalar
    y = K.mask_forward(above, drawn, first, 1, p, scale)
    y += shift
    return record("alpha_dropout", y, (x,), lambda gy, needs: (K.mask_forward(gy, drawn, first, 1, p, scale),))


def _masked(
    op: str,
    name: str,
    x: Any,
    p: float,
    training: bool,
    seed: int | None,
    decisions: Callable[[tuple[int, ...]], tuple[int, int]],
) -> Tensor:
    """``decisions(shape)`` says how many of them each sample takes, and how many elements share one."""
    p = check_probability(op, p)
    (xa,) = unwrap(op, **{name: x})
    if not training or p == 0:
        return as_tensor(x, op, name)
    drawn = mask_seed(op, xa, seed)
    per_sample, shared = decisions(xa.shape)
    first = first_sample() * per_sample
    scale = 1 / (1 - p) if p < 1 else 0.0
    y = K.mask_forward(xa, drawn, first, shared, p, scale)
    return record(op, y, (x,), lambda gy, needs: (K.mask_forward(gy, drawn, first, shared, p, scale),))


def mask_seed(op: str, x: Array, seed: int | None) -> int:
    """The seed of one call's mask of ``x``: as given, else the default generator's next; shapes draw nothing."""
    if is_abstract(x):
        return 0
    return default_generator().next_seed() if seed is None else check_seed(op, seed)


def check_probability(op: str, p: Any) -> float:
    """``p`` as a Python float. **Raises** ArgumentError unless it is a number from 0 to 1."""
    return number(op, "p", p, 0, 1, "a probability from 0 to 1 (of dropping)")


def _at_least(op: str, x: Any, dimensions: int, expected: str) -> None:
    shape = as_array(x, op=op, name="x").shape
    if len(shape) < dimensions:
        raise ShapeError(f"{op}: x has shape {tuple(shape)}, expected {expected}")
