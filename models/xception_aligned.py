"""Aligned Xception: the deeper Xceptions of DeepLabv3+, whose strides stand in separable convolutions.

Three changes to ``models/xception.py`` make a backbone for dense prediction: more blocks; no pools, the last of a
block's three separable convolutions has the stride instead (so that it can be dilated); batch norm also between the
depthwise filter and the 1x1. As before, ReLUs stand before separable convolutions; only the last block, which has no
shortcut, has them after each of its filters. State dicts of timm load.

**See** Chen et al., "Encoder-Decoder with Atrous Separable Convolution for Semantic Image Segmentation", 2018.
"""

from functools import partial
from itertools import pairwise
from typing import Any

from minicnn import nn
from minicnn.errors import ArgumentError
from minicnn.models.network import Network
from minicnn.models.resnet import Residual
from minicnn.models.spec import spec
from minicnn.nn import init
from minicnn.ops.geometry import integer
from minicnn.random import Generator

Norm = partial(nn.BatchNorm2d, eps=1e-3, momentum=3e-4)  # those of the authors' code


def conv_norm(
    in_channels: int, out_channels: int, kernel: int, stride: int, generator: Generator | None
) -> nn.Sequential:
    """A convolution that keeps the size up to its stride, and batch norm."""
    conv = nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, bias=False, generator=generator)
    return nn.Sequential(conv=conv, bn=Norm(out_channels))


class SeparableConv2d(nn.Sequential):
    """Depthwise 3x3 and 1x1, each with batch norm; with ReLUs after both if ``activates``."""

    def __init__(
        self, in_channels: int, out_channels: int, stride: int, activates: bool, generator: Generator | None
    ) -> None:
        super().__init__()
        conv, act = partial(nn.Conv2d, bias=False, generator=generator), nn.ReLU if activates else nn.Identity
        self.conv_dw = conv(in_channels, in_channels, 3, stride, padding=1, groups=in_channels)
        self.bn_dw, self.act_dw = Norm(in_channels), act()
        self.conv_pw = conv(in_channels, out_channels, 1)
        self.bn_pw, self.act_pw = Norm(out_channels), act()


class Block(Residual):
    """Three separable convolutions, the last with the stride, around which the input is added (``last``: is not)."""

    def __init__(
        self,
        in_channels: int,
        widths: tuple[int, int, int],
        stride: int = 1,
        *,
        last: bool = False,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        self.last, self.shortcut = last, None
        if not last and (stride > 1 or in_channels != widths[-1]):
            self.shortcut = conv_norm(in_channels, widths[-1], 1, stride, generator)
        self.stack = nn.Sequential()
        for i, (before, after) in enumerate(pairwise((in_channels, *widths)), 1):
            if not last:
                self.stack.add_module(f"act{i}", nn.ReLU())
            conv = SeparableConv2d(before, after, stride if i == 3 else 1, last, generator)
            self.stack.add_module(f"conv{i}", conv)

    def forward(self, x: Any) -> Any:
        if self.last:
            return self.stack(x)
        return self.add(self.stack, x, x if self.shortcut is None else self.shortcut(x))


class AlignedXception(Network):
    """Two 3x3 convolutions; blocks of ``entry`` (channels and stride of each), ``middle`` equal ones and two more."""

    def __init__(
        self,
        *,
        entry: tuple[tuple[int, int], ...] = ((128, 2), (256, 2), (728, 2)),
        middle: int = 8,
        dropout: float = 0.5,
        num_classes: int = 1000,
        in_channels: int = 3,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        if not entry or any(len(pair) != 2 or min(pair) < 1 for pair in entry):
            raise ArgumentError(f"AlignedXception: entry={entry!r}, expected pairs of channels and stride, one a block")
        integer("AlignedXception", "middle", middle, 1)
        width = entry[-1][0]
        plan = [((c, c, c), stride) for c, stride in entry] + [((width,) * 3, 1)] * middle
        plan += [((width, 1024, 1024), 2), ((1536, 1536, 2048), 1)]
        first, second = conv_norm(in_channels, 32, 3, 2, generator), conv_norm(32, 64, 3, 1, generator)
        self.stem = nn.Sequential(first.append(nn.ReLU()), second.append(nn.ReLU()))
        self.blocks, channels, stages = nn.Sequential(), 64, {"stem": "stem"}
        for i, (widths, stride) in enumerate(plan):
            self.blocks.append(Block(channels, widths, stride, last=i == len(plan) - 1, generator=generator))
            channels = widths[-1]
            stages[f"stage{len(stages) - (stride == 1)}"] = f"blocks.{i}"
        self.stage_paths = stages  # type: ignore[misc]
        fc = nn.Linear(2048, num_classes, generator=generator)
        self.head = nn.Sequential(
            avgpool=nn.GlobalAvgPool2d(), flatten=nn.Flatten(), drop=nn.Dropout(dropout, generator=generator), fc=fc
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):  # as in the authors' code, which cuts off at two deviations
                init.normal_(module.weight, 0.0, 0.09, generator)

    def forward(self, x: Any) -> Any:
        return self.head(self.blocks(self.stem(x)))


_aligned = partial(
    spec,
    AlignedXception,
    family="Xception",
    year=2018,
    paper="arXiv:1802.02611",
    input_shape=(3, 299, 299),
    num_classes=1000,
    form="DeepLab",
)
_71 = ((128, 2), (256, 1), (256, 2), (728, 1), (728, 2))

TABLE = (
    _aligned("xception41", middle=8, timm="xception41"),
    _aligned("xception65", middle=16, timm="xception65"),
    _aligned("xception71", entry=_71, middle=16, timm="xception71"),
)
