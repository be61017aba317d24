"""Layers that draw random masks while training and pass through in eval mode.

Each call draws one seed from the layer's ``generator`` (default: ``minicnn.random.default_generator()``).
"""

from typing import Any

from minicnn import ops
from minicnn.context import is_abstract_mode
from minicnn.errors import ArgumentError
from minicnn.nn.linear import Linear
from minicnn.nn.module import Module
from minicnn.ops.random import check_probability
from minicnn.random import Generator, generator_or_default


def _seed(module: Module, generator: Generator | None) -> int | None:
    """A seed from the module's own generator; None lets the operation ask the default one."""
    drawing = module.training and generator is not None and not is_abstract_mode()
    return generator_or_default(generator).next_seed() if drawing else None


class _Dropout(Module):
    printed = ("p",)

    def __init__(self, p: float = 0.5, *, generator: Generator | None = None) -> None:
        super().__init__()
        self.p, self.generator = check_probability(type(self).__name__, p), generator


class Dropout(_Dropout):
    """Zeroes elements; see ``minicnn.ops.dropout``."""

    def forward(self, x: Any) -> Any:
        return ops.dropout(x, self.p, self.training, seed=_seed(self, self.generator))


class Dropout2d(_Dropout):
    """Zeroes whole channels; see ``minicnn.ops.dropout2d``."""

    def forward(self, x: Any) -> Any:
        return ops.dropout2d(x, self.p, self.training, seed=_seed(self, self.generator))


class AlphaDropout(_Dropout):
    """Dropout for SELU networks; see ``minicnn.ops.alpha_dropout``."""

    def forward(self, x: Any) -> Any:
        return ops.alpha_dropout(x, self.p, self.training, seed=_seed(self, self.generator))


class StochasticDepth(Module):
    """Zeroes a residual branch; see ``minicnn.ops.stochastic_depth``. Arguments as in torchvision."""

    printed = ("p", "mode")

    def __init__(self, p: float, mode: str, *, generator: Generator | None = None) -> None:
        super().__init__()
        self.p, self.mode, self.generator = check_probability("StochasticDepth", p), mode, generator
        if mode not in ("batch", "row"):
            raise ArgumentError(f"StochasticDepth: mode={mode!r} is unknown, expected 'batch' or 'row'")

    def forward(self, x: Any) -> Any:
        return ops.stochastic_depth(x, self.p, self.mode, self.training, seed=_seed(self, self.generator))


class DropConnectLinear(Linear):
    """A linear layer whose weights are zeroed at random; see ``minicnn.ops.drop_connect``. PyTorch has no such layer.

    **Shapes** (*, in_features) -> (*, out_features).
    """

    printed = (*Linear.printed, "p")

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        p: float = 0.5,
        *,
        generator: Generator | None = None,
    ) -> None:
        super().__init__(in_features, out_features, bias, generator=generator)
        self.p, self.generator = check_probability("DropConnectLinear", p), generator

    def forward(self, x: Any) -> Any:
        weight = ops.drop_connect(self.weight, self.p, self.training, seed=_seed(self, self.generator))
        return ops.linear(x, weight, self.bias)
