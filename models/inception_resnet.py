"""Inception-ResNet: inception modules that add to their input instead of replacing it.

A module's branches are projected up to the channels of its input by a 1x1 convolution **with a bias, without batch norm
and without ReLU**, scaled (0.17, 0.10, 0.20: unscaled, very wide nets die early) and added; after the last module of
all neither scale nor ReLU. Nothing is padded where maps shrink: 299 -> 35 -> 17 -> 8.

``inception_resnet_v2`` is the net that TensorFlow's slim published weights of, not that of the paper's figures: it has
Inception-v3's stem, not Inception-v4's. State dicts of timm load. ``inception_resnet_v1`` has the paper's stem and
modules, and between mean and classes the 512 units of the face recognition nets it lives on in.

**See** Szegedy et al., "Inception-v4, Inception-ResNet and the Impact of Residual Connections on Learning", 2016.
"""

import re
from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar, NamedTuple

from minicnn import nn
from minicnn.errors import ArgumentError
from minicnn.models.bn_inception import he_initialise
from minicnn.models.googlenet import BasicConv2d, Branches, Unit
from minicnn.models.inception_v4 import RECIPE, ReductionA, mean_pool, table_2
from minicnn.models.network import Network
from minicnn.models.spec import spec
from minicnn.random import Generator

Widths = tuple[tuple[int, ...], ...]  # of every branch, from its 1x1 on


class Plan(NamedTuple):
    """The widths and numbers of modules of a version."""

    channels: tuple[int, int, int]  # on 35x35, 17x17 and 8x8 maps
    depths: tuple[int, int, int]
    a: Widths
    reduction_a: tuple[int, int, int, int]  # k, l, m, n of Table 1
    b: Widths
    reduction_b: Widths
    c: Widths


PLANS = {
    "v1": Plan(
        channels=(256, 896, 1792),
        depths=(5, 10, 5),
        a=((32,), (32, 32), (32, 32, 32)),
        reduction_a=(192, 192, 256, 384),
        b=((128,), (128, 128, 128)),
        reduction_b=((256, 384), (256, 256), (256, 256, 256)),
        c=((192,), (192, 192, 192)),
    ),
    "v2": Plan(
        channels=(320, 1088, 2080),
        depths=(10, 20, 9),
        a=((32,), (32, 32), (32, 48, 64)),
        reduction_a=(256, 256, 384, 384),
        b=((192,), (128, 160, 192)),
        reduction_b=((256, 384), (256, 288), (256, 288, 320)),
        c=((192,), (192, 224, 256)),
    ),
}


class Residual(nn.Module):
    """``relu(x + scale * project(branches(x)))`` (Figure 20)."""

    printed = ("scale",)

    def __init__(
        self, channels: int, width: int, branches: Branches, scale: float, relu: bool, generator: Generator | None
    ) -> None:
        super().__init__()
        self.branches, self.scale = branches, scale
        self.conv2d = nn.Conv2d(width, channels, 1, generator=generator)
        self.relu = nn.ReLU() if relu else nn.Identity()

    def forward(self, x: Any) -> Any:
        return self.relu(x + self.conv2d(self.branches(x)) * self.scale)


def module_a(channels: int, widths: Widths, unit: Unit, generator: Generator | None) -> Residual:
    """1x1; 1x1, 3x3; 1x1, 3x3, 3x3 (Figures 10 and 16)."""
    (p,), (q, r), (s, t, u) = widths
    branches = Branches(
        branch0=unit(channels, p, 1),
        branch1=nn.Sequential(unit(channels, q, 1), unit(q, r, 3, padding=1)),
        branch2=nn.Sequential(unit(channels, s, 1), unit(s, t, 3, padding=1), unit(t, u, 3, padding=1)),
    )
    return Residual(channels, p + r + u, branches, 0.17, True, generator)


def module_bc(
    channels: int,
    widths: Widths,
    unit: Unit,
    generator: Generator | None,
    *,
    length: int,
    scale: float,
    relu: bool = True,
) -> Residual:
    """1x1; 1x1, 1xn, nx1: n is 7 in B (Figures 11 and 17) and 3 in C (Figures 13 and 19)."""
    ((p,), (q, r, s)), side = widths, length // 2
    branches = Branches(
        branch0=unit(channels, p, 1),
        branch1=nn.Sequential(
            unit(channels, q, 1),
            unit(q, r, (1, length), padding=(0, side)),
            unit(r, s, (length, 1), padding=(side, 0)),
        ),
    )
    return Residual(channels, p + s, branches, scale, relu, generator)


class ReductionB(Branches):
    """From 17x17 to 8x8: three strided 3x3 behind 1x1, one with another 3x3 before it, and a pool (Figures 12, 18)."""

    def __init__(self, channels: int, widths: Widths, unit: Unit) -> None:
        (p, q), (r, s), (t, u, v) = widths
        super().__init__(
            branch0=nn.Sequential(unit(channels, p, 1), unit(p, q, 3, stride=2)),
            branch1=nn.Sequential(unit(channels, r, 1), unit(r, s, 3, stride=2)),
            branch2=nn.Sequential(unit(channels, t, 1), unit(t, u, 3, padding=1), unit(u, v, 3, stride=2)),
            branch3=nn.MaxPool2d(3, 2),
        )


def _mixed_5b(unit: Unit) -> Branches:
    """From 192 to 320 channels: slim's first module."""
    return Branches(
        branch0=unit(192, 96, 1),
        branch1=nn.Sequential(unit(192, 48, 1), unit(48, 64, 5, padding=2)),
        branch2=nn.Sequential(unit(192, 64, 1), unit(64, 96, 3, padding=1), unit(96, 96, 3, padding=1)),
        branch3=nn.Sequential(mean_pool(), unit(192, 64, 1)),
    )


class InceptionResNet(Network):
    """Stem, modules A, reduction, modules B, reduction, modules C, global mean, linear (Figure 15)."""

    stage_paths: ClassVar = {
        "stem": "conv2d_2b",
        "stage1": "conv2d_4a",
        "stage2": "repeat",
        "stage3": "repeat_1",
        "stage4": "conv2d_7b",
    }

    def __init__(
        self,
        *,
        version: str = "v2",
        dropout: float = 0.2,
        num_classes: int = 1000,
        in_channels: int = 3,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        if version not in PLANS:
            raise ArgumentError(f"InceptionResNet: version={version!r} is unknown, expected one of {tuple(PLANS)}")
        plan, slim = PLANS[version], version == "v2"
        unit = partial(BasicConv2d, generator=generator)
        shared: dict[str, Any] = {"unit": unit, "generator": generator}
        self.conv2d_1a = unit(in_channels, 32, 3, stride=2)
        self.conv2d_2a = unit(32, 32, 3)
        self.conv2d_2b, self.maxpool_3a = unit(32, 64, 3, padding=1), nn.MaxPool2d(3, 2)
        self.conv2d_3b = unit(64, 80, 1)
        self.conv2d_4a = unit(80, 192, 3)
        self.maxpool_5a = nn.MaxPool2d(3, 2) if slim else nn.Identity()
        self.mixed_5b = _mixed_5b(unit) if slim else unit(192, 256, 3, stride=2)
        (c35, c17, c8), (a, b, c) = plan.channels, plan.depths
        self.repeat = nn.Sequential(*(module_a(c35, plan.a, **shared) for _ in range(a)))
        self.mixed_6a = ReductionA(c35, *plan.reduction_a, unit)
        self.repeat_1 = nn.Sequential(*(module_bc(c17, plan.b, length=7, scale=0.1, **shared) for _ in range(b)))
        self.mixed_7a = ReductionB(c17, plan.reduction_b, unit)
        self.repeat_2 = nn.Sequential(*(module_bc(c8, plan.c, length=3, scale=0.2, **shared) for _ in range(c)))
        self.block8 = module_bc(c8, plan.c, length=3, scale=1.0, relu=False, **shared)
        self.conv2d_7b = unit(2080, 1536, 1) if slim else nn.Identity()
        self.avgpool, self.flatten = nn.GlobalAvgPool2d(), nn.Flatten()
        self.dropout = nn.Dropout(dropout, generator=generator)
        if not slim:
            self.last_linear = nn.Linear(1792, 512, bias=False, generator=generator)
            self.last_bn = nn.BatchNorm1d(512, 1e-3)
        self.classif = nn.Linear(1536 if slim else 512, num_classes, generator=generator)
        he_initialise(self, generator)
        self.bottleneck = not slim

    def forward(self, x: Any) -> Any:
        x = self.maxpool_3a(self.conv2d_2b(self.conv2d_2a(self.conv2d_1a(x))))
        x = self.mixed_5b(self.maxpool_5a(self.conv2d_4a(self.conv2d_3b(x))))
        x = self.mixed_7a(self.repeat_1(self.mixed_6a(self.repeat(x))))
        x = self.conv2d_7b(self.block8(self.repeat_2(x)))
        x = self.dropout(self.flatten(self.avgpool(x)))
        return self.classif(self.last_bn(self.last_linear(x)) if self.bottleneck else x)

    def adapt_state(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """timm has the branches of a residual module directly in it."""
        pattern = re.compile(r"^((?:repeat(?:_\d)?\.\d+|block8)\.)(?=branch\d)")
        return {pattern.sub(r"\1branches.", name): value for name, value in values.items()}


_resnet = partial(
    spec,
    InceptionResNet,
    family="Inception",
    year=2016,
    paper="arXiv:1602.07261",
    input_shape=(3, 299, 299),
    num_classes=1000,
    recipe=RECIPE,
)

TABLE = (
    _resnet(
        "inception_resnet_v1",
        version="v1",
        form="pytorchcv",
        published=table_2(21.3, 5.5),
        deviations="the last module C has neither scale nor ReLU; 1792 -> 512 -> batch norm -> classes, as in facenet",
    ),
    _resnet(
        "inception_resnet_v2",
        version="v2",
        form="slim",
        timm="inception_resnet_v2",
        published=table_2(19.9, 4.9),
        deviations="Inception-v3's stem and a first module of its own, where Figure 15 has Inception-v4's stem",
    ),
)
