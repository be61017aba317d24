"""The operations on the edges of searched cells: separable and dilated convolutions, pools, skips, reductions.

ReLU, convolution, batch norm is the order of all that has weights. The nets of TensorFlow pad where a stride meets an
even size by one pixel more at the end than at the start ("SAME"), PyTorch's pad both ends alike: with the same counts
they are different functions.

**See** Zoph et al., "Learning Transferable Architectures for Scalable Image Recognition", 2017.
"""

from functools import partial
from typing import Any

from minicnn import nn, ops
from minicnn.errors import ArgumentError
from minicnn.ops.geometry import same_padding
from minicnn.random import Generator

OPERATIONS = ("sep_3x3", "sep_5x5", "sep_7x7", "dil_3x3", "dil_5x5", "avg_3x3", "max_3x3", "skip")


class SameConv2d(nn.Conv2d):
    """A convolution padded by TensorFlow's rule: where a stride meets an even size, one pixel more at the end."""

    def forward(self, x: Any) -> Any:
        padding = same_padding(x.shape[2:], self.kernel_size, self.stride, self.dilation)
        return ops.conv2d(x, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)


class Pool3x3(nn.Module):
    """A 3x3 pool of stride 1 or 2; ``same``: padded as ``SameConv2d``. Means are of the pixels that are there."""

    printed = ("kind", "stride", "same")

    def __init__(self, kind: str, stride: int, same: bool) -> None:
        super().__init__()
        self.kind, self.stride, self.same = kind, stride, same

    def forward(self, x: Any) -> Any:
        # TensorFlow's padding where a stride of 2 meets an even size: the last window hangs over the end
        hangs = self.same and self.stride == 2
        padding = (x.shape[2] % 2, x.shape[3] % 2) if hangs else 1
        if self.kind == "max":
            return ops.max_pool2d(x, 3, self.stride, padding, ceil_mode=hangs)
        return ops.avg_pool2d(x, 3, self.stride, padding, ceil_mode=hangs, count_include_pad=False)


class FactorizedReduction(nn.Module):
    """Halves a map by two 1x1 convolutions with stride 2, the second one pixel further down and right.

    **Shapes** (N, C, H, W) -> (N, K, ceil(H/2), ceil(W/2)), half of the K channels each. No row and no column is lost,
    as with a single 1x1 with stride 2; half of the pixels are, those whose row is even and column odd, or the reverse.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, relu: bool = True, generator: Generator | None = None
    ) -> None:
        super().__init__()
        if out_channels % 2:
            raise ArgumentError(f"FactorizedReduction: out_channels={out_channels} is odd, expected two equal halves")
        self.act = nn.ReLU() if relu else nn.Identity()
        half = partial(nn.Conv2d, in_channels, out_channels // 2, 1, 2, bias=False, generator=generator)
        self.path_1, self.path_2 = nn.Sequential(conv=half()), nn.Sequential(conv=half())
        self.final_path_bn = nn.BatchNorm2d(out_channels)

    def forward(self, x: Any) -> Any:
        x = self.act(x)
        shifted = ops.pad(x, (-1, 1, -1, 1))  # an odd size ends with zeros
        return self.final_path_bn(ops.concatenate([self.path_1(x), self.path_2(shifted)], 1))


class Operations:
    """Builds what the names of a genotype stand for; families with other forms override a kind.

    ``same``: TensorFlow's padding in convolutions and pools, else PyTorch's.
    """

    def __init__(self, *, same: bool, generator: Generator | None) -> None:
        self.same, self.generator = same, generator

    def __call__(self, name: str, in_channels: int, out_channels: int, stride: int) -> nn.Module:
        kind, _, size = name.partition("_")  # "sep_5x5": sep, 5x5
        if kind == "skip":
            return self.skip(in_channels, out_channels, stride)
        if kind in ("max", "avg"):
            return self.pool(kind, in_channels, out_channels, stride)
        build = self.sep if kind == "sep" else self.dil
        return build(in_channels, out_channels, int(size[0]), stride)

    def conv(
        self, in_channels: int, out_channels: int, kernel: int, stride: int = 1, dilation: int = 1, groups: int = 1
    ) -> nn.Conv2d:
        build, padding = (SameConv2d, 0) if self.same else (nn.Conv2d, dilation * (kernel // 2))
        return build(
            *(in_channels, out_channels, kernel, stride, padding, dilation, groups),
            bias=False,
            generator=self.generator,
        )

    def unit(self, in_channels: int, out_channels: int, kernel: int = 1, stride: int = 1) -> nn.Module:
        """ReLU, convolution, batch norm: the order of all that has weights in a cell."""
        conv = self.conv(in_channels, out_channels, kernel, stride)
        return nn.Sequential(act=nn.ReLU(), conv=conv, bn=nn.BatchNorm2d(out_channels))

    def reduce(self, in_channels: int, out_channels: int) -> nn.Module:
        """What brings an older input, or a skipped one, to half its size."""
        return FactorizedReduction(in_channels, out_channels, generator=self.generator)

    def depthwise_separable(
        self, in_channels: int, out_channels: int, kernel: int, stride: int, dilation: int = 1
    ) -> nn.Module:
        """A filter a channel, then a 1x1 that mixes the channels; nothing between."""
        return nn.Sequential(
            depthwise_conv2d=self.conv(in_channels, in_channels, kernel, stride, dilation, in_channels),
            pointwise_conv2d=self.conv(in_channels, out_channels, 1),
        )

    def sep(self, in_channels: int, out_channels: int, kernel: int, stride: int) -> nn.Module:
        """A separable convolution, twice; the stride is in the first."""
        return nn.Sequential(
            act_1=nn.ReLU(),
            separable_1=self.depthwise_separable(in_channels, out_channels, kernel, stride),
            bn_sep_1=nn.BatchNorm2d(out_channels),
            act_2=nn.ReLU(),
            separable_2=self.depthwise_separable(out_channels, out_channels, kernel, 1),
            bn_sep_2=nn.BatchNorm2d(out_channels),
        )

    def dil(self, in_channels: int, out_channels: int, kernel: int, stride: int) -> nn.Module:
        """One separable convolution with a hole of one pixel between the taps."""
        return nn.Sequential(
            act=nn.ReLU(),
            separable=self.depthwise_separable(in_channels, out_channels, kernel, stride, 2),
            bn=nn.BatchNorm2d(out_channels),
        )

    def pool(self, kind: str, in_channels: int, out_channels: int, stride: int) -> nn.Module:
        """A 3x3 pool, with a 1x1 after it where the channels change."""
        pool = Pool3x3(kind, stride, self.same)
        if in_channels == out_channels:
            return pool
        return nn.Sequential(pool=pool, conv=self.conv(in_channels, out_channels, 1), bn=nn.BatchNorm2d(out_channels))

    def skip(self, in_channels: int, out_channels: int, stride: int) -> nn.Module:
        """The state itself, halved where there is a stride."""
        return nn.Identity() if stride == 1 else self.reduce(in_channels, out_channels)
