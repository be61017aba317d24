"""ShuffleNet v1: bottlenecks whose 1x1 convolutions are grouped, and a shuffle that lets the groups talk.

Most of a small network's arithmetic is in its 1x1 convolutions. ``groups`` makes them that many times cheaper, so the
maps can be wider for the same cost; but an output then sees its own group alone, and a stack of such layers falls
apart into networks side by side. The shuffle deals the channels of every group out to all groups. A unit with stride 2
puts its branch beside the mean pool of its input, and only the branch goes through the ReLU: a mean of what has gone
through one is not negative. The first 1x1 of stage 2 reads 24 channels and is not grouped. ``shuffle=False`` is the
ablation of Table 3.

Names say the groups and the scale of the widths. 1.0x is the paper's; the others are the authors' code's, whose
shuffle is the inverse of the paper's (the channels reshaped to (n, g) where the paper has (g, n)).

**Math** a unit costs ``h w (2 c m / g + 9 m)``, a bottleneck ``h w (2 c m + 9 m m)``; c channels, m = c / 4.
**See** Zhang et al., "ShuffleNet: An Extremely Efficient Convolutional Neural Network for Mobile Devices", 2017.
"""

from functools import partial
from typing import Any, ClassVar

from minicnn import nn, ops
from minicnn.errors import ArgumentError
from minicnn.models.network import Network
from minicnn.models.resnet import Residual
from minicnn.models.spec import Published, Recipe, spec
from minicnn.nn import init
from minicnn.ops.arguments import number
from minicnn.ops.geometry import integer
from minicnn.random import Generator

CHANNELS = {1: 144, 2: 200, 3: 240, 4: 272, 8: 384}  # groups -> channels of stage 2, doubled by every stage (Table 1)


class ShuffleUnit(Residual):
    """1x1, shuffle, depthwise 3x3, 1x1, and the input added; with stride 2 joined to the mean pool of the input.

    ``first_groups`` are those of the first 1x1. A strided unit has nothing to be skipped: stochastic depth leaves it.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        *,
        groups: int = 3,
        first_groups: int = 3,
        shuffle: bool = True,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        conv, middle = partial(nn.Conv2d, bias=False, generator=generator), out_channels // 4
        branch = out_channels if stride == 1 else out_channels - in_channels
        self.conv1 = conv(in_channels, middle, 1, groups=first_groups)
        self.bn1 = nn.BatchNorm2d(middle)
        self.relu = nn.ReLU()
        self.shuffle = nn.ChannelShuffle(groups) if shuffle else nn.Identity()
        self.conv2 = conv(middle, middle, 3, stride, padding=1, groups=middle)
        self.bn2 = nn.BatchNorm2d(middle)  # no ReLU follows, so bn3 takes its shift out again while training
        self.conv3 = conv(middle, branch, 1, groups=groups)
        self.bn3 = nn.BatchNorm2d(branch)
        self.pool = None if stride == 1 else nn.AvgPool2d(3, stride, 1)

    def branch(self, x: Any) -> Any:
        y = self.shuffle(self.relu(self.bn1(self.conv1(x))))
        return self.bn3(self.conv3(self.bn2(self.conv2(y))))

    def forward(self, x: Any) -> Any:
        if self.pool is None:
            return self.relu(self.add(self.branch, x, x))
        y = self.branch(x) if self.se is None else self.se(self.branch(x))
        return ops.concatenate([self.pool(x), self.relu(y)], 1)


def check_three(kind: str, depths: tuple[int, ...]) -> None:
    if len(depths) != 3 or min(depths) < 1:
        raise ArgumentError(f"{kind}: depths={depths!r}, expected the numbers of units of three stages")


def initialise(model: nn.Module, stem: nn.Module, generator: Generator | None) -> None:
    """The authors' code: deviation 0.01 in ``stem`` and linear layers, elsewhere 1 over the channels a filter reads."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            narrow = module is stem or isinstance(module, nn.Linear)
            init.normal_(module.weight, 0.0, 0.01 if narrow else 1 / module.weight.shape[1], generator=generator)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d) and module.bias is not None:
            init.constant_(module.bias, 1e-4)


class ShuffleNetV1(Network):
    """3x3 convolution and 3x3 pool, three stages of units, global mean, linear (Table 1)."""

    stage_paths: ClassVar = {"stem": "relu"} | {f"stage{i}": f"stage{i}" for i in (2, 3, 4)}

    def __init__(
        self,
        *,
        groups: int = 3,
        width: float = 1.0,
        stem: int = 24,
        depths: tuple[int, int, int] = (4, 8, 4),
        shuffle: bool = True,
        bias: bool = True,
        num_classes: int = 1000,
        in_channels: int = 3,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        check_three("ShuffleNetV1", depths)
        first, second, third = self._widths(groups, width, stem)
        options = {"groups": groups, "shuffle": shuffle, "generator": generator}
        self.conv1 = nn.Conv2d(in_channels, stem, 3, 2, padding=1, bias=False, generator=generator)
        self.bn1 = nn.BatchNorm2d(stem)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.stage2 = _stage(stem, first, depths[0], first_groups=1, **options)
        self.stage3 = _stage(first, second, depths[1], first_groups=groups, **options)
        self.stage4 = _stage(second, third, depths[2], first_groups=groups, **options)
        self.avgpool, self.flatten = nn.GlobalAvgPool2d(), nn.Flatten()
        self.fc = nn.Linear(third, num_classes, bias=bias, generator=generator)
        initialise(self, self.conv1, generator)

    @staticmethod
    def _widths(groups: int, width: float, stem: int) -> list[int]:
        """The channels of the stages, after a look whether the groups divide what the 1x1 convolutions read and make.

        ``stem`` is looked at here too, since the first unit makes what it lacks.
        """
        integer("ShuffleNetV1", "stem", stem, 1)
        if groups not in CHANNELS:
            raise ArgumentError(f"ShuffleNetV1: groups={groups!r}, expected one of {tuple(CHANNELS)} (Table 1)")
        first = int(CHANNELS[groups] * number("ShuffleNetV1", "width", width, 0))
        if first <= stem or first % (4 * groups) or (first - stem) % groups:
            raise ArgumentError(
                f"ShuffleNetV1: width={width}, stem={stem}, groups={groups} make a stage of {first} channels, expected "
                f"a multiple of {4 * groups}, more than the stem's, and a difference that is a multiple of {groups}"
            )
        return [first, 2 * first, 4 * first]

    def forward(self, x: Any) -> Any:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.stage4(self.stage3(self.stage2(x)))
        return self.fc(self.flatten(self.avgpool(x)))


def _stage(in_channels: int, out_channels: int, depth: int, *, first_groups: int, **options: Any) -> nn.Sequential:
    """``depth`` units, the first with stride 2."""
    units = [ShuffleUnit(in_channels, out_channels, 2, first_groups=first_groups, **options)]
    units += [
        ShuffleUnit(out_channels, out_channels, first_groups=options["groups"], **options) for _ in range(depth - 1)
    ]
    return nn.Sequential(*units)


CODE = "megvii-model/ShuffleNet-Series"
RECIPE = Recipe(
    optimizer="sgd",
    lr=0.5,
    batch=1024,
    momentum=0.9,
    weight_decay=4e-5,
    schedule="polynomial",
    augmentation=("random resized crop 224", "colour jitter 0.4", "flip"),
    options=(("power", 1.0), ("iterations", 300_000), ("label_smoothing", 0.1), ("decay_norms_and_biases", False)),
    source=f"section 4; momentum, smoothing, what decays and augmentation from {CODE}, ShuffleNetV1/train.py",
    notes="linearly to 0; the paper takes 'slightly less aggressive scale augmentation' than ResNeXt",
)

_shufflenet = partial(
    spec,
    ShuffleNetV1,
    family="ShuffleNet",
    year=2017,
    paper="arXiv:1707.01083",
    input_shape=(3, 224, 224),
    num_classes=1000,
    recipe=RECIPE,
)


def _paper(groups: int, macs: str, top1: float) -> Any:
    published = Published("", macs, top1, None, "single crop, validation", "tables 1 and 2")
    return _shufflenet(f"shufflenet_v1_g{groups}_1.0x", groups=groups, published=published)


def _code(groups: int, width: float, stem: int, params: str, macs: str, top1: float, top5: float) -> Any:
    return _shufflenet(
        f"shufflenet_v1_g{groups}_{width}x",
        groups=groups,
        width=width,
        stem=stem,
        bias=False,
        form="authors' code",
        published=Published(params, macs, top1, top5, "single crop, validation", f"{CODE}, ShuffleNetV1/README.md"),
        deviations="no bias in the classifier; the shuffle is the paper's, theirs its inverse",
    )


TABLE = (
    _paper(1, "143M", 33.6),
    _paper(2, "140M", 32.7),
    _paper(3, "137M", 32.6),
    _paper(4, "133M", 32.8),
    _paper(8, "137M", 32.4),
    _code(3, 0.5, 12, "0.7M", "38M", 42.7, 20.0),
    _code(3, 1.5, 24, "3.4M", "292M", 28.4, 9.8),
    _code(3, 2.0, 48, "5.4M", "524M", 25.9, 8.6),
    _code(8, 0.5, 16, "1.0M", "40M", 41.2, 19.0),
    _code(8, 1.5, 24, "4.3M", "290M", 29.0, 10.4),
    _code(8, 2.0, 48, "6.5M", "522M", 27.1, 9.2),
)
