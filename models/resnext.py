"""ResNeXt: residual blocks that add up C paths of the same small shape; C is the cardinality, ``groups`` here.

A path is 1x1 to d channels, 3x3, 1x1; d is ``base_width`` in the first stage and doubles with each. Figure 3 draws the
block in three equal forms: A sums the paths, B joins them before one 1x1, C has a grouped 3x3. The nets are made of C,
which is ``resnet.Bottleneck``; ``split`` rewrites its weights for A and B. Weight names and shapes are torchvision's.

**Math** ``y = relu(x + sum_i T_i(x))``, i from 1 to C.
**See** Xie et al., "Aggregated Residual Transformations for Deep Neural Networks", 2016.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar

import numpy as np

from minicnn import nn, ops
from minicnn.errors import ArgumentError
from minicnn.models.network import Network
from minicnn.models.resnet import Block, Bottleneck, ResNet, check_block, he_initialise, stage
from minicnn.models.resnet_cifar import cifar_blocks
from minicnn.models.spec import Published, Recipe, spec
from minicnn.ops.geometry import integer
from minicnn.random import Generator


class _Paths(Block):
    """What forms A and B share: paths of a 1x1 and a 3x3 of their own, one batch norm at the end, shortcut B."""

    expansion = Bottleneck.expansion

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int = 1,
        *,
        groups: int = 32,
        base_width: int = 4,
        generator: Generator | None = None,
    ) -> None:
        super().__init__("B")
        integer(type(self).__name__, "groups", groups, 1)
        self.width, out_channels = channels * base_width // 64, channels * self.expansion
        conv, d = partial(nn.Conv2d, bias=False, generator=generator), self.width
        self.paths = nn.ModuleList(
            nn.Sequential(
                conv1=conv(in_channels, d, 1),
                bn1=nn.BatchNorm2d(d),
                relu1=nn.ReLU(),
                conv2=conv(d, d, 3, stride, padding=1),
                bn2=nn.BatchNorm2d(d),
                relu2=nn.ReLU(),
            )
            for _ in range(groups)
        )
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.downsample = None
        if stride != 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(conv(in_channels, out_channels, 1, stride), nn.BatchNorm2d(out_channels))


class SplitTransformMerge(_Paths):
    """Form A: every path ends in a 1x1 to all output channels, and the paths are summed."""

    def __init__(self, in_channels: int, channels: int, stride: int = 1, **options: Any) -> None:
        super().__init__(in_channels, channels, stride, **options)
        for path in self.paths:
            conv3 = nn.Conv2d(self.width, channels * 4, 1, bias=False, generator=options.get("generator"))
            path.add_module("conv3", conv3)

    def branch(self, x: Any) -> Any:
        first, *others = (path(x) for path in self.paths)
        return self.bn3(sum(others, start=first))


class EarlyConcatenation(_Paths):
    """Form B: the paths are joined, and one 1x1 goes to the output channels."""

    def __init__(self, in_channels: int, channels: int, stride: int = 1, **options: Any) -> None:
        super().__init__(in_channels, channels, stride, **options)
        width = self.width * len(self.paths)
        self.conv3 = nn.Conv2d(width, channels * 4, 1, bias=False, generator=options.get("generator"))

    def branch(self, x: Any) -> Any:
        joined = ops.concatenate([path(x) for path in self.paths], 1)
        return self.bn3(self.conv3(joined))


FORMS: dict[str, type[SplitTransformMerge] | type[EarlyConcatenation]] = {
    "A": SplitTransformMerge,
    "B": EarlyConcatenation,
}


def split(state: Mapping[str, Any], groups: int, form: str) -> dict[str, Any]:
    """The state dict of a block of form A or B that computes what the grouped ``Bottleneck`` with ``state`` does.

    Gradients are rewritten alike. A path takes its share of the first two convolutions and batch norms, in form A also
    of what the last 1x1 reads.
    """
    if form not in FORMS:
        raise ArgumentError(f"split: form={form!r} is unknown, expected one of {tuple(FORMS)}")
    parts: dict[str, Any] = {}
    for name, value in state.items():
        layer = name.partition(".")[0]
        values = np.asarray(value)
        if layer in ("bn3", "downsample") or (layer == "conv3" and form == "B"):
            parts[name] = values
        else:
            shares = np.split(values, groups, int(layer == "conv3")) if values.ndim else [values] * groups
            parts |= {f"paths.{number}.{name}": share for number, share in enumerate(shares)}
    return parts


class CifarBottlenecks(Network):
    """3x3 convolution to 64 channels, three stages of ``(depth - 2) / 9`` bottlenecks, global mean, linear.

    ``layer(in_channels, channels, blocks, stride)`` makes a stage, which puts out four times its channels.
    """

    stage_paths: ClassVar = {"stem": "relu"} | {f"stage{i}": f"layer{i}" for i in (1, 2, 3)}

    def __init__(
        self,
        layer: Callable[[int, int, int, int], nn.Module],
        depth: int,
        num_classes: int,
        in_channels: int,
        generator: Generator | None,
    ) -> None:
        super().__init__()
        blocks = cifar_blocks(type(self).__name__, depth, "bottleneck")
        self.conv1 = nn.Conv2d(in_channels, 64, 3, padding=1, bias=False, generator=generator)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU()
        self.layer1 = layer(64, 64, blocks, 1)
        self.layer2 = layer(256, 128, blocks, 2)
        self.layer3 = layer(512, 256, blocks, 2)
        self.avgpool = nn.GlobalAvgPool2d()
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(1024, num_classes, generator=generator)
        he_initialise(self, generator)

    def forward(self, x: Any) -> Any:
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(self.flatten(self.avgpool(x)))


class ResNeXtCifar(CifarBottlenecks):
    """Bottlenecks whose 3x3 convolutions have ``groups`` groups of ``base_width`` channels, twice that a stage."""

    def __init__(
        self,
        *,
        depth: int = 29,
        groups: int = 8,
        base_width: int = 64,
        shortcut: str = "B",
        num_classes: int = 10,
        in_channels: int = 3,
        generator: Generator | None = None,
    ) -> None:
        check_block("ResNeXtCifar", "bottleneck", shortcut, False, groups, base_width)
        layer = partial(stage, Bottleneck, shortcut=shortcut, groups=groups, base_width=base_width, generator=generator)
        super().__init__(layer, depth, num_classes, in_channels, generator)


_CODE = "facebookresearch/ResNeXt"
RECIPE = Recipe(
    optimizer="sgd",
    lr=0.1,
    batch=256,
    epochs=100,
    momentum=0.9,
    weight_decay=1e-4,
    milestones=(30, 60, 90),
    augmentation=("random resized crop 224", "colour jitter 0.4", "PCA colour", "flip", "mean and deviation"),
    options=(("nesterov", True),),
    source=f"{_CODE}: README, opts.lua, train.lua, datasets/imagenet.lua",
)
CIFAR_RECIPE = RECIPE._replace(
    batch=128,
    epochs=300,
    weight_decay=5e-4,
    milestones=(147, 222),
    augmentation=("random crop 32, pad 4", "flip", "mean and deviation"),
    source=f"{_CODE}: README, opts.lua, train.lua",
    notes="the paper's batch is 256, and its CIFAR blocks are pre-activated; the authors then found these to be better",
)

_resnext = partial(spec, family="ResNeXt", year=2016, paper="arXiv:1611.05431")
_imagenet = partial(_resnext, ResNet, input_shape=(3, 224, 224), num_classes=1000, block="bottleneck", recipe=RECIPE)
_50 = partial(_imagenet, depths=(3, 4, 6, 3))
_101 = partial(_imagenet, depths=(3, 4, 23, 3))
_152 = partial(_imagenet, depths=(3, 8, 36, 3), form="torchvision's class", recipe=None)
_29 = partial(
    _resnext,
    ResNeXtCifar,
    depth=29,
    base_width=64,
    input_shape=(3, 32, 32),
    num_classes=10,
    form="authors' code",
    recipe=CIFAR_RECIPE,
    deviations="the blocks of the authors' code; those of the paper's CIFAR nets are pre-activated",
)


def _error(top1: float, top5: float | None = None, params: str = "", macs: str = "") -> Published:
    return Published(
        params, macs, top1, top5, "single crop 224, validation", "tables 1, 3 and 4, as a lecture prints them"
    )


TABLE = (
    _50("resnext50_2x40d", groups=2, base_width=40, published=_error(23.0)),
    _50("resnext50_4x24d", groups=4, base_width=24, published=_error(22.6)),
    _50("resnext50_8x14d", groups=8, base_width=14, published=_error(22.3)),
    _50(
        "resnext50_32x4d",
        groups=32,
        base_width=4,
        published=_error(22.2, None, "25.0M", "4.2G"),
        torchvision="resnext50_32x4d",
        timm="resnext50_32x4d",
    ),
    _101("resnext101_2x40d", groups=2, base_width=40, published=_error(21.7)),
    _101("resnext101_4x24d", groups=4, base_width=24, published=_error(21.4)),
    _101("resnext101_8x14d", groups=8, base_width=14, published=_error(21.3)),
    _101("resnext101_32x4d", groups=32, base_width=4, published=_error(21.2, 5.6), timm="resnext101_32x4d"),
    _101("resnext101_2x64d", groups=2, base_width=64, published=_error(20.7, 5.5)),
    _101(
        "resnext101_64x4d",
        groups=64,
        base_width=4,
        published=_error(20.4, 5.3),
        torchvision="resnext101_64x4d",
        timm="resnext101_64x4d",
    ),
    _101("resnet101_1x100d", groups=1, base_width=100, published=_error(21.3, 5.7)),
    _101(
        "resnext101_32x8d",
        groups=32,
        base_width=8,
        form="torchvision",
        torchvision="resnext101_32x8d",
        timm="resnext101_32x8d",
        recipe=None,
    ),
    _152("resnext152_32x4d", groups=32, base_width=4),
    _152("resnext152_64x4d", groups=64, base_width=4),
    _29("resnext29_8x64d_cifar10", groups=8, published=Published("34.4M", source="section 5.2")),
    _29("resnext29_16x64d_cifar10", groups=16, published=Published("68.1M", source="section 5.2")),
    _29("resnext29_1x64d_cifar10", groups=1),
)
