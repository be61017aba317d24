"""Pooling layers."""

from typing import Any

from minicnn import ops
from minicnn.nn.module import Module
from minicnn.ops.geometry import Pair


class MaxPool2d(Module):
    """The largest pixel under each window; see ``minicnn.ops.max_pool2d``."""

    printed = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")

    def __init__(
        self,
        kernel_size: Pair,
        stride: Pair | None = None,
        padding: Pair = 0,
        dilation: Pair = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding, self.dilation = padding, dilation
        self.return_indices, self.ceil_mode = return_indices, ceil_mode

    def forward(self, x: Any) -> Any:
        return ops.max_pool2d(
            x, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode, self.return_indices
        )


class MinPool2d(MaxPool2d):
    """The smallest pixel under each window; see ``minicnn.ops.min_pool2d``. PyTorch has no such layer."""

    def forward(self, x: Any) -> Any:
        return ops.min_pool2d(
            x, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode, self.return_indices
        )


class AvgPool2d(Module):
    """The mean of the pixels under each window; see ``minicnn.ops.avg_pool2d``."""

    printed = ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad")

    def __init__(
        self,
        kernel_size: Pair,
        stride: Pair | None = None,
        padding: Pair = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        super().__init__()
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding, self.ceil_mode = padding, ceil_mode
        self.count_include_pad, self.divisor_override = count_include_pad, divisor_override

    def forward(self, x: Any) -> Any:
        return ops.avg_pool2d(
            x,
            self.kernel_size,
            self.stride,
            self.padding,
            self.ceil_mode,
            self.count_include_pad,
            self.divisor_override,
        )


class AdaptiveAvgPool2d(Module):
    """Means over ``output_size`` bins (None: as many as pixels); see ``minicnn.ops.adaptive_avg_pool2d``."""

    printed = ("output_size",)

    def __init__(self, output_size: Any) -> None:
        super().__init__()
        self.output_size = output_size

    def forward(self, x: Any) -> Any:
        return ops.adaptive_avg_pool2d(x, self.output_size)


class AdaptiveMaxPool2d(Module):
    """Maxima over ``output_size`` bins (None: as many as pixels); see ``minicnn.ops.adaptive_max_pool2d``."""

    printed = ("output_size",)

    def __init__(self, output_size: Any, return_indices: bool = False) -> None:
        super().__init__()
        self.output_size, self.return_indices = output_size, return_indices

    def forward(self, x: Any) -> Any:
        return ops.adaptive_max_pool2d(x, self.output_size, self.return_indices)


class GlobalAvgPool2d(Module):
    """The mean of each plane; see ``minicnn.ops.global_avg_pool2d``."""

    def forward(self, x: Any) -> Any:
        return ops.global_avg_pool2d(x)


class GlobalMaxPool2d(Module):
    """The maximum of each plane; see ``minicnn.ops.global_max_pool2d``."""

    def forward(self, x: Any) -> Any:
        return ops.global_max_pool2d(x)


class MaxUnpool2d(Module):
    """Puts the winners of a max pool back where they were; see ``minicnn.ops.max_unpool2d``."""

    printed = ("kernel_size", "stride", "padding")

    def __init__(self, kernel_size: Pair, stride: Pair | None = None, padding: Pair = 0) -> None:
        super().__init__()
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding = padding

    def forward(self, x: Any, indices: Any, output_size: Any = None) -> Any:
        return ops.max_unpool2d(x, indices, self.kernel_size, self.stride, self.padding, output_size)
