"""Res2Net: a bottleneck whose 3x3 is a staircase of small ones, so that one block sees many scales.

The first 1x1 makes ``scale`` splits of ``base_width`` channels, twice as many a stage on. One split passes untouched;
each other goes through a 3x3 of its own, after the output of the split before was added: the first has seen 3x3 pixels,
the second 5x5 too, and so on. A 1x1 mixes them all. With ``scale=1`` it is the bottleneck.

The paper passes the first split, the authors' code, as here, the last: the same nets, their channels in another order.
In the code alone, the first block of a stage adds nothing between splits, and averages the last over 3x3 (zeros at the
border count). ``v1b`` is ResNet-D's change: three 3x3 as the stem, and a 2x2 mean before the 1x1 of a shortcut.
``reduction`` puts gates before the additions, see ``models/senet.py``; weight names are those of timm and the authors.

**Math** ``y_i = K_i(x_i + y_(i-1))``, ``y_1 = K_1(x_1)``, ``y_s = x_s``, K a 3x3 convolution with batch norm and ReLU.
**See** Gao et al., "Res2Net: A New Multi-scale Backbone Architecture", 2019.
"""

from functools import partial
from typing import Any

from minicnn import nn, ops
from minicnn.errors import ArgumentError
from minicnn.models.resnet import Block, FourStages, check_depths
from minicnn.models.resnet import stage as resnet_stage
from minicnn.models.senet import squeeze_and_excite
from minicnn.models.spec import ModelSpec, Published, Recipe, spec
from minicnn.ops.geometry import integer
from minicnn.random import Generator

SHORTCUTS = ("B", "D", "none")


def _projection(
    in_channels: int, out_channels: int, stride: int, shortcut: str, generator: Generator | None
) -> nn.Sequential | None:
    """What the shortcut does where the shape changes: B strides in its 1x1, D averages before it."""
    if shortcut == "none" or (stride == 1 and in_channels == out_channels):
        return None
    conv = partial(nn.Conv2d, in_channels, out_channels, 1, bias=False, generator=generator)
    if shortcut == "B":
        return nn.Sequential(conv(stride=stride), nn.BatchNorm2d(out_channels))
    pool = nn.AvgPool2d(stride, ceil_mode=True, count_include_pad=False) if stride > 1 else nn.Identity()
    return nn.Sequential(pool, conv(), nn.BatchNorm2d(out_channels))


class Bottle2neck(Block):
    """1x1 to ``scale`` splits, the staircase of 3x3, 1x1 to ``expansion`` times ``channels``.

    A split has ``groups`` groups of ``channels * base_width / 64`` channels, rounded down.
    """

    expansion = 4

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int = 1,
        *,
        scale: int = 4,
        base_width: int = 26,
        groups: int = 1,
        shortcut: str = "B",
        generator: Generator | None = None,
    ) -> None:
        if shortcut not in SHORTCUTS:
            raise ArgumentError(f"Bottle2neck: shortcut={shortcut!r} is unknown, expected one of {SHORTCUTS}")
        super().__init__(shortcut)
        width, out_channels = channels * base_width // 64 * groups, channels * self.expansion
        self.scale = integer("Bottle2neck", "scale", scale, 1)
        self.first = stride != 1 or in_channels != out_channels  # of its stage
        conv, steps = partial(nn.Conv2d, bias=False, generator=generator), range(max(scale - 1, 1))
        self.conv1 = conv(in_channels, width * scale, 1)
        self.bn1 = nn.BatchNorm2d(width * scale)
        self.convs = nn.ModuleList(conv(width, width, 3, stride, padding=1, groups=groups) for _ in steps)
        self.bns = nn.ModuleList(nn.BatchNorm2d(width) for _ in steps)
        self.pool = nn.AvgPool2d(3, stride, 1) if self.first else nn.Identity()
        self.conv3 = conv(width * scale, out_channels, 1)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.downsample = _projection(in_channels, out_channels, stride, shortcut, generator)

    def splits(self, x: Any) -> list[Any]:
        """What the last 1x1 mixes: the outputs of the 3x3 in their order, then the split that has none."""
        parts = ops.chunk(self.relu(self.bn1(self.conv1(x))), self.scale, 1)
        done: list[Any] = []
        for part, conv, bn in zip(parts, self.convs, self.bns, strict=False):
            step = part if self.first or not done else part + done[-1]
            done.append(self.relu(bn(conv(step))))
        return [*done, *(self.pool(part) for part in parts[len(done) :])]

    def branch(self, x: Any) -> Any:
        return self.bn3(self.conv3(ops.concatenate(self.splits(x), 1)))


stage = partial(resnet_stage, Bottle2neck)  # type: ignore[arg-type]  # not one of ResNet's own blocks


def _deep_stem(in_channels: int, generator: Generator | None) -> nn.Sequential:
    conv = partial(nn.Conv2d, kernel_size=3, padding=1, bias=False, generator=generator)
    return nn.Sequential(
        *(conv(in_channels, 32, stride=2), nn.BatchNorm2d(32), nn.ReLU()),
        *(conv(32, 32), nn.BatchNorm2d(32), nn.ReLU()),
        conv(32, 64),
    )


class Res2Net(FourStages):
    """ResNet with other blocks, ``Bottle2neck``, and for ``v1b`` three 3x3 convolutions where ResNet has a 7x7."""

    def __init__(
        self,
        *,
        depths: tuple[int, int, int, int] = (3, 4, 6, 3),
        scale: int = 4,
        base_width: int = 26,
        groups: int = 1,
        v1b: bool = False,
        reduction: int | None = None,
        num_classes: int = 1000,
        in_channels: int = 3,
        generator: Generator | None = None,
    ) -> None:
        check_depths("Res2Net", depths)
        for name, value in (("scale", scale), ("base_width", base_width), ("groups", groups)):
            integer("Res2Net", name, value, 1)
        options = {"scale": scale, "base_width": base_width, "groups": groups, "shortcut": "D" if v1b else "B"}
        layer = partial(stage, **options, generator=generator)
        plain_stem = partial(nn.Conv2d, in_channels, 64, 7, 2, 3, bias=False, generator=generator)
        stem = _deep_stem(in_channels, generator) if v1b else plain_stem()
        super().__init__(stem, layer, depths, Bottle2neck.expansion, num_classes, generator)
        if reduction is not None:
            squeeze_and_excite(self, reduction, generator=generator)


RECIPE = Recipe(
    optimizer="sgd",
    lr=0.1,
    batch=256,
    epochs=100,
    momentum=0.9,
    weight_decay=1e-4,
    milestones=(30, 60, 90),
    augmentation=("random crop 224 of a resized image",),
    source="section 4.1",
    notes="augmentation is that of ResNet and Inception, without details",
)

README = "Res2Net/Res2Net-PretrainedModels, README"
res2net_row = partial(spec, family="Res2Net", year=2019, paper="arXiv:1904.01169")
printed = partial(Published, protocol="single crop 224, validation", source=f"tables 1 to 3; sizes: {README}")
imagenet_row = partial(res2net_row, Res2Net, input_shape=(3, 224, 224), num_classes=1000, form="authors' code")
_net = partial(imagenet_row, recipe=RECIPE)
_50, _101 = (3, 4, 6, 3), (3, 4, 23, 3)
_v1b = partial(
    imagenet_row,
    year=2020,
    paper="arXiv:1904.01169 sec 4.2.4",
    scale=4,
    base_width=26,
    v1b=True,
    deviations="trained with CutMix and more that the paper does not name: no recipe",
)


def _row(name: str, depths: tuple[int, ...], base_width: int, scale: int, published: Published) -> ModelSpec:
    return _net(name, depths=depths, base_width=base_width, scale=scale, published=published, timm=name)


TABLE = (
    _row("res2net50_48w_2s", _50, 48, 2, printed("25.29M", "4.2G", 22.68, 6.47)),
    _row("res2net50_26w_4s", _50, 26, 4, printed("25.70M", "4.2G", 22.01, 6.15)),
    _row("res2net50_14w_8s", _50, 14, 8, printed("25.06M", "4.2G", 21.86, 6.14)),
    _row("res2net50_26w_6s", _50, 26, 6, printed("37.05M", "6.3G", 21.42, 5.87)),
    _row("res2net50_26w_8s", _50, 26, 8, printed("48.40M", "8.3G", 20.80, 5.63)),
    _row("res2net101_26w_4s", _101, 26, 4, printed("45.21M", "8.1G", 20.81, 5.57)),
    _v1b("res2net50_v1b", depths=_50, published=printed("25.72M", "4.5G", 19.73, 4.96), timm="res2net50d"),
    _v1b("res2net101_v1b", depths=_101, published=printed("45.23M", "8.3G", 18.77, 4.64), timm="res2net101d"),
    _net(
        "se_res2net50_26w_4s",
        depths=_50,
        scale=4,
        base_width=26,
        reduction=16,
        published=printed(top1_error=21.56, top5_error=5.94, source="table 1"),
        form="paper",
        deviations="the authors' code has no gates; these are SENet's, with a sixteenth of the channels",
    ),
)
