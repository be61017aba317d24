"""Convolution layers."""

from typing import Any

from minicnn import ops
from minicnn.errors import ArgumentError, ShapeError
from minicnn.nn import init
from minicnn.nn.module import Module
from minicnn.ops.geometry import Padding, Pair, integer, pair
from minicnn.random import Generator


class _Conv(Module):
    """What both directions share: the checked options."""

    printed: tuple[str, ...] = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups")

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        stride: Pair,
        padding: Padding,
        dilation: Pair,
        groups: int,
        padding_mode: str,
    ) -> None:
        super().__init__()
        kind = type(self).__name__
        self.in_channels = integer(kind, "in_channels", in_channels, 1)
        self.out_channels = integer(kind, "out_channels", out_channels, 1)
        self.kernel_size = pair(kind, "kernel_size", kernel_size, 1)
        self.stride, self.padding, self.dilation = stride, padding, dilation
        self.groups = integer(kind, "groups", groups, 1)
        for name, channels in (("in_channels", in_channels), ("out_channels", out_channels)):
            if channels % groups:
                raise ShapeError(f"{kind}: groups={groups} does not divide {name}={channels}")
        if padding_mode != "zeros":
            raise ArgumentError(
                f"{kind}: padding_mode={padding_mode!r} is not supported, expected 'zeros'; fix: minicnn.ops.pad first"
            )


class Conv2d(_Conv):
    """Convolution (cross-correlation) with learned kernels.

    **Shapes** (N, C, H, W) -> (N, K, OH, OW), ``OH = floor((H + top + bottom - dh*(kh-1) - 1) / sh) + 1``; weight
    (K, C / groups, kh, kw). ``padding`` as in ``minicnn.ops.conv2d``. Of PyTorch's ``padding_mode`` s only 'zeros'.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        stride: Pair = 1,
        padding: Padding = 0,
        dilation: Pair = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        *,
        generator: Generator | None = None,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, padding_mode)
        self.weight = init.parameter(out_channels, in_channels // groups, *self.kernel_size)
        self.bias = init.parameter(out_channels) if bias else None
        init.default_(self.weight, self.bias, generator)

    def forward(self, x: Any) -> Any:
        return ops.conv2d(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class ConvTranspose2d(_Conv):
    """Transposed convolution: the gradient of ``Conv2d`` with respect to its input, as a layer.

    **Shapes** (N, C, H, W) -> (N, K, OH, OW), ``OH = (H-1)*sh - 2*ph + dh*(kh-1) + output_padding + 1``; weight
    (C, K / groups, kh, kw).
    """

    printed = (*_Conv.printed, "output_padding")

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        stride: Pair = 1,
        padding: Pair = 0,
        output_padding: Pair = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Pair = 1,
        padding_mode: str = "zeros",
        *,
        generator: Generator | None = None,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, padding_mode)
        self.output_padding = output_padding
        self.weight = init.parameter(in_channels, out_channels // groups, *self.kernel_size)
        self.bias = init.parameter(out_channels) if bias else None
        init.default_(self.weight, self.bias, generator)

    def forward(self, x: Any, output_size: tuple[int, int] | None = None) -> Any:
        """``output_size`` (OH, OW) chooses among the sizes that the stride makes possible."""
        extra = self.output_padding if output_size is None else self._extra(x, output_size)
        return ops.conv_transpose2d(
            x, self.weight, self.bias, self.stride, self.padding, extra, self.groups, self.dilation
        )

    def _extra(self, x: Any, output_size: tuple[int, int]) -> tuple[int, int]:
        """The output padding that gives ``output_size``."""
        wanted = pair("conv_transpose2d", "output_size", tuple(output_size)[-2:], 1)
        stride = pair("conv_transpose2d", "stride", self.stride, 1)
        sides = pair("conv_transpose2d", "padding", self.padding, 0)
        steps = pair("conv_transpose2d", "dilation", self.dilation, 1)
        least = tuple(
            (n - 1) * s - 2 * p + d * (k - 1) + 1
            for n, s, p, d, k in zip(x.shape[-2:], stride, sides, steps, self.kernel_size, strict=True)
        )
        extra = (wanted[0] - least[0], wanted[1] - least[1])
        if not all(0 <= e < s for e, s in zip(extra, stride, strict=True)):
            most = tuple(n + s - 1 for n, s in zip(least, stride, strict=True))
            raise ShapeError(f"conv_transpose2d: output_size={output_size!r}, expected between {least} and {most}")
        return extra
