"""Activation layers."""

from typing import Any

from minicnn import ops
from minicnn.nn.init import filled
from minicnn.nn.module import Module
from minicnn.ops.geometry import integer


class ReLU(Module):
    """``max(x, 0)``; see ``minicnn.ops.relu``."""

    def forward(self, x: Any) -> Any:
        return ops.relu(x)


class ReLU6(Module):
    """``min(max(x, 0), 6)``; see ``minicnn.ops.relu6``."""

    def forward(self, x: Any) -> Any:
        return ops.relu6(x)


class LeakyReLU(Module):
    """x, or ``negative_slope * x`` below 0; see ``minicnn.ops.leaky_relu``."""

    printed = ("negative_slope",)

    def __init__(self, negative_slope: float = 0.01) -> None:
        super().__init__()
        self.negative_slope = negative_slope

    def forward(self, x: Any) -> Any:
        return ops.leaky_relu(x, self.negative_slope)


class ELU(Module):
    """x, or ``alpha * (exp(x) - 1)`` below 0; see ``minicnn.ops.elu``."""

    printed = ("alpha",)

    def __init__(self, alpha: float = 1.0) -> None:
        super().__init__()
        self.alpha = alpha

    def forward(self, x: Any) -> Any:
        return ops.elu(x, self.alpha)


class SELU(Module):
    """The self-normalising exponential unit; see ``minicnn.ops.selu``."""

    def forward(self, x: Any) -> Any:
        return ops.selu(x)


class CELU(Module):
    """x, or ``alpha * (exp(x / alpha) - 1)`` below 0; see ``minicnn.ops.celu``."""

    printed = ("alpha",)

    def __init__(self, alpha: float = 1.0) -> None:
        super().__init__()
        self.alpha = alpha

    def forward(self, x: Any) -> Any:
        return ops.celu(x, self.alpha)


class GELU(Module):
    """``x * Phi(x)``, exact or (``approximate="tanh"``) by tanh; see ``minicnn.ops.gelu``."""

    printed = ("approximate",)

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        self.approximate = approximate

    def forward(self, x: Any) -> Any:
        return ops.gelu(x, approximate=self.approximate)


class SiLU(Module):
    """``x * sigmoid(x)``; see ``minicnn.ops.silu``."""

    def forward(self, x: Any) -> Any:
        return ops.silu(x)


class Mish(Module):
    """``x * tanh(softplus(x))``; see ``minicnn.ops.mish``."""

    def forward(self, x: Any) -> Any:
        return ops.mish(x)


class Hardswish(Module):
    """``x * relu6(x + 3) / 6``; see ``minicnn.ops.hardswish``."""

    def forward(self, x: Any) -> Any:
        return ops.hardswish(x)


class Hardsigmoid(Module):
    """``relu6(x + 3) / 6``; see ``minicnn.ops.hardsigmoid``."""

    def forward(self, x: Any) -> Any:
        return ops.hardsigmoid(x)


class Hardtanh(Module):
    """x held between ``min_val`` and ``max_val``; see ``minicnn.ops.hardtanh``."""

    printed = (
        "min_val",
        "max_val",
    )

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0) -> None:
        super().__init__()
        self.min_val, self.max_val = min_val, max_val

    def forward(self, x: Any) -> Any:
        return ops.hardtanh(x, self.min_val, self.max_val)


class Sigmoid(Module):
    """``1 / (1 + exp(-x))``; see ``minicnn.ops.sigmoid``."""

    def forward(self, x: Any) -> Any:
        return ops.sigmoid(x)


class Tanh(Module):
    """The hyperbolic tangent; see ``minicnn.ops.tanh``."""

    def forward(self, x: Any) -> Any:
        return ops.tanh(x)


class Softplus(Module):
    """``log(1 + exp(beta * x)) / beta``, x itself where ``beta * x > threshold``; see ``minicnn.ops.softplus``."""

    printed = (
        "beta",
        "threshold",
    )

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        super().__init__()
        self.beta, self.threshold = beta, threshold

    def forward(self, x: Any) -> Any:
        return ops.softplus(x, self.beta, self.threshold)


class Softmax(Module):
    """Probabilities along ``dim``; see ``minicnn.ops.softmax``."""

    printed = ("dim",)

    def __init__(self, dim: int | None = None) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: Any) -> Any:
        return ops.softmax(x, self.dim)


class LogSoftmax(Module):
    """Logarithms of the probabilities along ``dim``; see ``minicnn.ops.log_softmax``."""

    printed = ("dim",)

    def __init__(self, dim: int | None = None) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: Any) -> Any:
        return ops.log_softmax(x, self.dim)


class PReLU(Module):
    """x, or a learned slope times x below 0; see ``minicnn.ops.prelu``. One slope, or one a channel."""

    printed = ("num_parameters",)

    def __init__(self, num_parameters: int = 1, init: float = 0.25) -> None:
        super().__init__()
        self.num_parameters = integer("PReLU", "num_parameters", num_parameters, 1)
        self.weight = filled(init, num_parameters)

    def forward(self, x: Any) -> Any:
        return ops.prelu(x, self.weight)
