"""Initialisers: fill a tensor in place from an explicit random state and return it.

``generator`` is a ``minicnn.random.Generator``; without one the default generator is used (``minicnn.manual_seed``).
Under ``minicnn.abstract()`` nothing is drawn.
"""

import math
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from minicnn import random
from minicnn.context import is_abstract_mode
from minicnn.errors import ArgumentError, ShapeError
from minicnn.kernels.arrays import compute_dtype, is_abstract
from minicnn.kernels.shape_array import ShapeArray
from minicnn.nn.parameter import Parameter
from minicnn.random import Generator
from minicnn.tensor import Tensor

T = TypeVar("T", bound=Tensor)

_GAINS = {
    **dict.fromkeys(("linear", "conv2d", "conv_transpose2d", "sigmoid"), 1.0),
    "tanh": 5 / 3,
    "relu": math.sqrt(2),
    "selu": 3 / 4,
}


def parameter(*shape: int) -> Parameter:
    """A float32 parameter whose values are still to be set; under ``abstract()`` it has a shape only."""
    return Parameter(ShapeArray(shape, np.float32) if is_abstract_mode() else np.empty(shape, np.float32))


def filled(value: float, *shape: int) -> Parameter:
    """A float32 parameter with one value everywhere."""
    return constant_(parameter(*shape), value)


def _fill(tensor: T, draw: Callable[[], Any]) -> T:
    """Write what ``draw`` returns, unless the tensor has a shape only."""
    if not is_abstract(tensor.data):
        tensor.copy_(draw())
    return tensor


def _source(generator: Generator | None) -> np.random.Generator:
    return random.generator_or_default(generator).numpy()


def uniform_(tensor: T, a: float = 0.0, b: float = 1.0, generator: Generator | None = None) -> T:
    """Uniform on [a, b)."""

    def draw() -> Any:
        values = _source(generator).random(tensor.shape, compute_dtype(tensor.dtype))
        values *= b - a
        values += a
        return values

    return _fill(tensor, draw)


def normal_(tensor: T, mean: float = 0.0, std: float = 1.0, generator: Generator | None = None) -> T:
    """Normal with the given mean and standard deviation."""

    def draw() -> Any:
        values = _source(generator).standard_normal(tensor.shape, compute_dtype(tensor.dtype))
        values *= std
        values += mean
        return values

    return _fill(tensor, draw)


def constant_(tensor: T, val: float) -> T:
    """One value everywhere."""
    return _fill(tensor, lambda: np.full(tensor.shape, val, tensor.dtype))


def zeros_(tensor: T) -> T:
    return constant_(tensor, 0.0)


def ones_(tensor: T) -> T:
    return constant_(tensor, 1.0)


def fans(tensor: Tensor) -> tuple[int, int]:
    """(fan_in, fan_out) of a weight (out, in / groups, kh, kw) or (out, in): the numbers of connections of a unit."""
    if tensor.ndim < 2:
        raise ShapeError(f"init: a weight of shape {tensor.shape} has no fan, expected at least 2 dimensions")
    field = math.prod(tensor.shape[2:])
    return tensor.shape[1] * field, tensor.shape[0] * field


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """How much the weights must grow to make up for a nonlinearity; ``param`` is the slope of ``leaky_relu``."""
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else param
        return math.sqrt(2 / (1 + slope**2))
    if nonlinearity not in _GAINS:
        raise ArgumentError(f"init: nonlinearity={nonlinearity!r} is unknown, expected {[*_GAINS, 'leaky_relu']}")
    return _GAINS[nonlinearity]


def xavier_uniform_(tensor: T, gain: float = 1.0, generator: Generator | None = None) -> T:
    """Uniform with standard deviation ``gain * sqrt(2 / (fan_in + fan_out))``.

    **See** Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks", 2010.
    """
    bound = gain * math.sqrt(6 / sum(fans(tensor)))
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: T, gain: float = 1.0, generator: Generator | None = None) -> T:
    """Normal with standard deviation ``gain * sqrt(2 / (fan_in + fan_out))``."""
    return normal_(tensor, 0.0, gain * math.sqrt(2 / sum(fans(tensor))), generator)


def _kaiming_std(tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    if mode not in ("fan_in", "fan_out"):
        raise ArgumentError(f"init: mode={mode!r} is unknown, expected 'fan_in' or 'fan_out'")
    fan = fans(tensor)[mode == "fan_out"]
    return calculate_gain(nonlinearity, a) / math.sqrt(fan) if fan else 0.0


def kaiming_uniform_(
    tensor: T,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> T:
    """Uniform with standard deviation ``gain / sqrt(fan)``; ``a`` is the slope of ``leaky_relu``.

    **See** He et al., "Delving Deep into Rectifiers", 2015, section 2.2.
    """
    bound = math.sqrt(3) * _kaiming_std(tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: T,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> T:
    """Normal with standard deviation ``gain / sqrt(fan)``; ``a`` is the slope of ``leaky_relu``."""
    return normal_(tensor, 0.0, _kaiming_std(tensor, a, mode, nonlinearity), generator)


def default_(weight: Parameter, bias: Parameter | None, generator: Generator | None = None) -> None:
    """PyTorch's default of linear and convolution layers: both uniform on +- 1 / sqrt(fan_in)."""
    kaiming_uniform_(weight, math.sqrt(5), generator=generator)
    if bias is not None:
        fan_in = fans(weight)[0]
        bound = 1 / math.sqrt(fan_in) if fan_in else 0.0
        uniform_(bias, -bound, bound, generator)
