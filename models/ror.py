"""RoR, residual networks of residual networks: shortcuts around blocks, around stages, and around all of them.

``levels=1`` is a ResNet: only its blocks have shortcuts, the "final" level. ``levels=2`` adds the "root" level, one
shortcut from the first convolution to the last sum; ``levels=3`` adds the "middle" level, one around each stage. Root
and middle shortcuts are 1x1 convolutions. What is learned is a residual of residuals.

The paper halves maps with the stride of a stage's first block (``pools=False``); the counted nets are pytorchcv's,
where 2x2 pools after stages 1 and 2 do. ``RoRWideResNet`` has the pre-activated blocks of wide ResNets, and nothing
after an addition.

**Math** ``y = g(x) + x_root``, ``g = g_3 g_2 g_1``, ``g_i(x) = blocks_i(x) + x_i``; x_i and x_root are projections.
**See** Zhang et al., "Residual Networks of Residual Networks: Multilevel Residual Networks", 2016.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

from minicnn import nn
from minicnn.errors import ArgumentError
from minicnn.models.network import Network
from minicnn.models.resnet import BasicBlock
from minicnn.models.spec import Published, spec
from minicnn.models.wide_resnet import msr_initialise
from minicnn.models.wide_resnet import stage as wide_stage
from minicnn.nn import init
from minicnn.ops.geometry import integer
from minicnn.random import Generator

Projection = Callable[[int, int, int], nn.Module]  # from in_channels, out_channels and stride


class Level(nn.Module):
    """``body(x) + shortcut(x)``: a shortcut around a group of blocks; without one, the group."""

    def __init__(self, body: nn.Module, shortcut: nn.Module | None) -> None:
        super().__init__()
        self.body, self.shortcut = body, shortcut

    def forward(self, x: Any) -> Any:
        y = self.body(x)
        return y if self.shortcut is None else y + self.shortcut(x)


class LastBlock(BasicBlock):
    """The last of a stage leaves the ReLU to what follows the addition of the levels above."""

    def forward(self, x: Any) -> Any:
        return self.add(self.branch, x, x if self.downsample is None else self.downsample(x))


def stage(
    in_channels: int, channels: int, depth: int, stride: int, shortcut: nn.Module | None, generator: Generator | None
) -> Level:
    """``depth`` basic blocks, the first with the stride, in a level."""
    blocks = nn.Sequential()
    for i in range(depth):
        kind, first = LastBlock if i == depth - 1 else BasicBlock, i == 0
        blocks.append(kind(in_channels if first else channels, channels, stride if first else 1, generator=generator))
    return Level(blocks, shortcut)


def check_levels(kind: str, levels: int) -> tuple[bool, bool]:
    """Whether there are a root and a middle level."""
    if integer(kind, "levels", levels, 1) > 3:
        raise ArgumentError(f"{kind}: levels={levels!r}, expected 1 (blocks alone), 2 (and root) or 3 (and middle)")
    return levels > 1, levels > 2


def he_uniform(model: nn.Module, generator: Generator | None) -> None:
    """Uniform with variance 2 / fan_in for convolutions, as pytorchcv has it."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            init.kaiming_uniform_(module.weight, nonlinearity="relu", generator=generator)


class RoRCifar(Network):
    """3x3 convolution, three stages of ``(depth - 8) / 6`` basic blocks, shortcuts by levels, global mean, linear.

    The depth is ResNet's 6n + 2 and the six 1x1 shortcuts of three levels: root, three stages, two widening blocks.
    """

    stage_paths: ClassVar = {
        "stem": "relu",
        "stage1": "body.body.layer1",
        "stage2": "body.body.layer2",
        "stage3": "last",
    }

    def __init__(
        self,
        *,
        depth: int = 56,
        levels: int = 3,
        pools: bool = True,
        num_classes: int = 10,
        in_channels: int = 3,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        root, middle = check_levels("RoRCifar", levels)
        if integer("RoRCifar", "depth", depth, 0) < 14 or depth % 6 != 2:
            raise ArgumentError(f"RoRCifar: depth={depth!r}, expected 6n + 8 such as 56, 110 or 164")

        def project(before: int, after: int, stride: int) -> nn.Module:
            conv = nn.Conv2d(before, after, 1, stride, bias=False, generator=generator)
            return nn.Sequential(conv, nn.BatchNorm2d(after))

        def layer(before: int, after: int, halves: bool) -> Level:
            stride = 2 if halves and not pools else 1
            shortcut = project(before, after, stride) if middle else None
            return stage(before, after, (depth - 8) // 6, stride, shortcut, generator)

        pool: Callable[[], nn.Module] = partial(nn.MaxPool2d, 2) if pools else nn.Identity
        self.conv1 = nn.Conv2d(in_channels, 16, 3, padding=1, bias=False, generator=generator)
        self.bn1, self.relu = nn.BatchNorm2d(16), nn.ReLU()
        stages = nn.Sequential(
            layer1=nn.Sequential(layer(16, 16, False), nn.ReLU()),
            pool1=pool(),
            layer2=nn.Sequential(layer(16, 32, True), nn.ReLU()),
            pool2=pool(),
            layer3=layer(32, 64, True),
        )
        self.body = Level(stages, project(16, 64, 4) if root else None)
        self.last = nn.ReLU()
        self.avgpool, self.flatten = nn.GlobalAvgPool2d(), nn.Flatten()
        self.fc = nn.Linear(64, num_classes, generator=generator)
        he_uniform(self, generator)

    def forward(self, x: Any) -> Any:
        x = self.last(self.body(self.relu(self.bn1(self.conv1(x)))))
        return self.fc(self.flatten(self.avgpool(x)))


class RoRWideResNet(Network):
    """``WideResNet`` with shortcuts by levels, bare 1x1 convolutions."""

    stage_paths: ClassVar = {"stem": "conv1"} | {f"stage{i}": f"body.body.{i - 1}" for i in (1, 2)} | {"stage3": "body"}
    cam_path: ClassVar = "last"

    def __init__(
        self,
        *,
        depth: int = 58,
        widen: int = 4,
        levels: int = 3,
        num_classes: int = 10,
        in_channels: int = 3,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        root, middle = check_levels("RoRWideResNet", levels)
        k = integer("RoRWideResNet", "widen", widen, 1)
        if integer("RoRWideResNet", "depth", depth, 0) < 10 or depth % 6 != 4:
            raise ArgumentError(f"RoRWideResNet: depth={depth!r}, expected 6n + 4 such as 40 or 58")
        project = partial(nn.Conv2d, kernel_size=1, bias=False, generator=generator)

        def layer(before: int, after: int, stride: int) -> Level:
            units = wide_stage((3, 3), before, after, (depth - 4) // 6, stride, generator=generator)
            return Level(units, project(before, after, stride=stride) if middle else None)

        self.conv1 = nn.Conv2d(in_channels, 16, 3, padding=1, bias=False, generator=generator)
        stages = nn.Sequential(layer(16, 16 * k, 1), layer(16 * k, 32 * k, 2), layer(32 * k, 64 * k, 2))
        self.body = Level(stages, project(16, 64 * k, stride=4) if root else None)
        self.last = nn.Sequential(nn.BatchNorm2d(64 * k), nn.ReLU())
        self.avgpool, self.flatten = nn.GlobalAvgPool2d(), nn.Flatten()
        self.fc = nn.Linear(64 * k, num_classes, generator=generator)
        msr_initialise(self, generator)

    def forward(self, x: Any) -> Any:
        return self.fc(self.flatten(self.avgpool(self.last(self.body(self.conv1(x))))))


_ror = partial(spec, family="RoR", year=2016, paper="arXiv:1608.02908", input_shape=(3, 32, 32), num_classes=10)
_cifar = partial(
    _ror,
    RoRCifar,
    levels=3,
    form="pytorchcv",
    deviations="2x2 pools halve the maps; in the paper the first block of a stage and its shortcut do (pools=False)",
)
_quoted = partial(Published, source="as a review of the paper quotes its table")

TABLE = (
    _cifar("ror3_56_cifar10", depth=56),
    _cifar("ror3_110_cifar10", depth=110),
    _cifar("ror3_164_cifar10", depth=164, published=_quoted("", "", 4.86, None, "CIFAR-10 test")),
    _ror(
        RoRWideResNet,
        "ror3_wrn58_4_cifar10",
        depth=58,
        widen=4,
        levels=3,
        published=Published(
            "13.3M", "", 3.77, None, "CIFAR-10 test, with stochastic depth", "abstract; size: as a review quotes it"
        ),
        deviations="13.6M parameters, 46,080 of them in the level shortcuts; the paper prints 13.3M",
    ),
)
