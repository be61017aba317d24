"""Fully connected layers."""

from typing import Any

from minicnn import ops
from minicnn.nn import init
from minicnn.nn.module import Module
from minicnn.ops.geometry import integer
from minicnn.random import Generator


class Linear(Module):
    """``y = x @ weight.T + bias``.

    **Shapes** (*, in_features) -> (*, out_features); weight (out_features, in_features).
    """

    printed: tuple[str, ...] = ("in_features", "out_features")

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, *, generator: Generator | None = None
    ) -> None:
        super().__init__()
        self.in_features = integer("Linear", "in_features", in_features, 1)
        self.out_features = integer("Linear", "out_features", out_features, 1)
        self.weight = init.parameter(out_features, in_features)
        self.bias = init.parameter(out_features) if bias else None
        init.default_(self.weight, self.bias, generator)

    def forward(self, x: Any) -> Any:
        return ops.linear(x, self.weight, self.bias)
