"""Layers that move values and compute nothing."""

from typing import Any

from minicnn import ops
from minicnn.nn.module import Module
from minicnn.ops.geometry import Pair


class PixelShuffle(Module):
    """Channels become pixels; see ``minicnn.ops.pixel_shuffle``."""

    printed = ("upscale_factor",)

    def __init__(self, upscale_factor: int) -> None:
        super().__init__()
        self.upscale_factor = upscale_factor

    def forward(self, x: Any) -> Any:
        return ops.pixel_shuffle(x, self.upscale_factor)


class PixelUnshuffle(Module):
    """Pixels become channels; see ``minicnn.ops.pixel_unshuffle``."""

    printed = ("downscale_factor",)

    def __init__(self, downscale_factor: int) -> None:
        super().__init__()
        self.downscale_factor = downscale_factor

    def forward(self, x: Any) -> Any:
        return ops.pixel_unshuffle(x, self.downscale_factor)


class ChannelShuffle(Module):
    """Channels dealt out across groups; see ``minicnn.ops.channel_shuffle``."""

    printed = ("groups",)

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x: Any) -> Any:
        return ops.channel_shuffle(x, self.groups)


class Unfold(Module):
    """The windows of an image as columns (im2col); see ``minicnn.ops.unfold``."""

    printed = ("kernel_size", "dilation", "padding", "stride")

    def __init__(self, kernel_size: Pair, dilation: Pair = 1, padding: Pair = 0, stride: Pair = 1) -> None:
        super().__init__()
        self.kernel_size, self.dilation, self.padding, self.stride = kernel_size, dilation, padding, stride

    def forward(self, x: Any) -> Any:
        return ops.unfold(x, self.kernel_size, self.dilation, self.padding, self.stride)


class Fold(Module):
    """Columns summed back into an image (col2im); see ``minicnn.ops.fold``."""

    printed = ("output_size", "kernel_size", "dilation", "padding", "stride")

    def __init__(
        self, output_size: Pair, kernel_size: Pair, dilation: Pair = 1, padding: Pair = 0, stride: Pair = 1
    ) -> None:
        super().__init__()
        self.output_size, self.kernel_size = output_size, kernel_size
        self.dilation, self.padding, self.stride = dilation, padding, stride

    def forward(self, x: Any) -> Any:
        return ops.fold(x, self.output_size, self.kernel_size, self.dilation, self.padding, self.stride)


class ZeroPad2d(Module):
    """Zeros round an image; ``padding`` is one number or (left, right, top, bottom); see ``minicnn.ops.pad``."""

    printed = ("padding",)

    def __init__(self, padding: int | tuple[int, int, int, int]) -> None:
        super().__init__()
        self.padding = (padding,) * 4 if isinstance(padding, int) else tuple(padding)

    def forward(self, x: Any) -> Any:
        return ops.pad(x, self.padding)
