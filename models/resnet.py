"""ResNet for ImageNet, and the plain nets it was compared with.

Shortcuts where the shape changes, by the paper's letters: ``"A"`` subsamples and pads with zero channels (no
parameters), ``"B"`` projects with a 1x1 convolution and batch norm, ``"C"`` projects in every block; ``"none"`` is the
plain net. ``resnet50`` and deeper put the stride into the 3x3 convolution ("v1.5", as torchvision does); ``_v1`` puts
it into the first 1x1 as the paper did. ``groups`` and ``base_width`` make the ResNeXts and wide ResNets. Weight names
and shapes are torchvision's.

**See** He et al., "Deep Residual Learning for Image Recognition", 2015.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

from minicnn import nn, ops
from minicnn.context import is_abstract_mode
from minicnn.errors import ArgumentError
from minicnn.models.network import Network
from minicnn.models.spec import Published, Recipe, spec
from minicnn.nn import init
from minicnn.ops.geometry import integer
from minicnn.random import Generator, generator_or_default

SHORTCUTS = ("A", "B", "C", "none")


class PadShortcut(nn.Module):
    """Option A: every ``stride``-th pixel, and zeros for the new channels."""

    printed = ("stride", "new_channels")

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.stride, self.new_channels = stride, out_channels - in_channels

    def forward(self, x: Any) -> Any:
        kept = x[:, :, :: self.stride, :: self.stride] if self.stride > 1 else x
        return ops.pad(kept, (0, 0, 0, 0, 0, self.new_channels)) if self.new_channels else kept


def _downsample(
    in_channels: int, out_channels: int, stride: int, shortcut: str, generator: Generator | None
) -> nn.Module | None:
    """What the shortcut does to its input; None: nothing (or there is no shortcut)."""
    same = stride == 1 and in_channels == out_channels
    if shortcut == "none" or (same and shortcut != "C"):
        return None
    if shortcut == "A":
        return PadShortcut(in_channels, out_channels, stride)
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 1, stride, bias=False, generator=generator), nn.BatchNorm2d(out_channels)
    )


class Residual(nn.Module):
    """What residual blocks share: the addition. SE gates weigh the branch first, stochastic depth may leave it out."""

    se: nn.Module | None = None  # see models/senet.py
    survival: float = 1.0  # probability that a training step has the branch; see models/stochastic_depth.py
    generator: Generator | None = None

    def add(self, branch: Callable[[Any], Any], x: Any, shortcut: Any) -> Any:
        """``branch(x) + shortcut``; with stochastic depth its expectation in eval mode."""
        if self.training and not self._survives():
            return shortcut
        y = branch(x) if self.se is None else self.se(branch(x))
        return (y if self.training or self.survival == 1 else y * self.survival) + shortcut

    def _survives(self) -> bool:
        if self.survival == 1 or is_abstract_mode():
            return True
        return bool(generator_or_default(self.generator).uniform() < self.survival)


class Block(Residual):
    """``relu(branch(x) + shortcut(x))``."""

    expansion = 1
    downsample: nn.Module | None

    def __init__(self, shortcut: str) -> None:
        super().__init__()
        self.residual = shortcut != "none"
        self.relu = nn.ReLU()

    def branch(self, x: Any) -> Any:
        """The convolutions; every block writes its own."""
        raise NotImplementedError

    def forward(self, x: Any) -> Any:
        if not self.residual:
            return self.relu(self.branch(x))
        shortcut = x if self.downsample is None else self.downsample(x)
        return self.relu(self.add(self.branch, x, shortcut))


class BasicBlock(Block):
    """Two 3x3 convolutions."""

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int = 1,
        *,
        shortcut: str = "B",
        generator: Generator | None = None,
    ) -> None:
        super().__init__(shortcut)
        conv = partial(nn.Conv2d, bias=False, generator=generator)
        self.conv1 = conv(in_channels, channels, 3, stride, padding=1)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = conv(channels, channels, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = _downsample(in_channels, channels, stride, shortcut, generator)

    def branch(self, x: Any) -> Any:
        y = self.relu(self.bn1(self.conv1(x)))
        return self.bn2(self.conv2(y))


class Bottleneck(Block):
    """1x1 to fewer channels, 3x3, 1x1 to four times ``channels``.

    The 3x3 has ``channels`` channels, or ``groups`` groups of ``channels * base_width / 64`` each (ResNeXt's
    cardinality and width; wide ResNets have one group and twice the base width).
    """

    expansion = 4

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int = 1,
        *,
        shortcut: str = "B",
        stride_in_1x1: bool = False,
        groups: int = 1,
        base_width: int = 64,
        generator: Generator | None = None,
    ) -> None:
        super().__init__(shortcut)
        width = channels * base_width // 64 * groups
        conv = partial(nn.Conv2d, bias=False, generator=generator)
        first, second = (stride, 1) if stride_in_1x1 else (1, stride)
        self.conv1 = conv(in_channels, width, 1, first)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = conv(width, width, 3, second, padding=1, groups=groups)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = conv(width, channels * self.expansion, 1)
        self.bn3 = nn.BatchNorm2d(channels * self.expansion)
        self.downsample = _downsample(in_channels, channels * self.expansion, stride, shortcut, generator)

    def branch(self, x: Any) -> Any:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        return self.bn3(self.conv3(y))


BLOCKS: dict[str, type[BasicBlock] | type[Bottleneck]] = {"basic": BasicBlock, "bottleneck": Bottleneck}


def stage(
    block: type[BasicBlock] | type[Bottleneck], in_channels: int, channels: int, depth: int, stride: int, **options: Any
) -> nn.Sequential:
    """``depth`` blocks of the same width, the first with the stride."""
    blocks = [block(in_channels, channels, stride, **options)]
    blocks += [block(channels * block.expansion, channels, **options) for _ in range(depth - 1)]
    return nn.Sequential(*blocks)


def he_initialise(model: nn.Module, generator: Generator | None) -> None:
    """Normal with variance 2 / fan_out for convolutions; batch norms are 1 and 0 already."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu", generator=generator)


def check_shortcut(kind: str, shortcut: str) -> None:
    if shortcut not in SHORTCUTS:
        raise ArgumentError(f"{kind}: shortcut={shortcut!r} is unknown, expected one of {SHORTCUTS}")


def check_block(
    kind: str, block: str, shortcut: str, stride_in_1x1: bool = False, groups: int = 1, base_width: int = 64
) -> str:
    """``block``, after a look at the options of blocks."""
    check_shortcut(kind, shortcut)
    if block not in BLOCKS:
        raise ArgumentError(f"{kind}: block={block!r} is unknown, expected one of {tuple(BLOCKS)}")
    integer(kind, "groups", groups, 1)
    integer(kind, "base_width", base_width, 1)
    for name, value, default in (
        ("stride_in_1x1", stride_in_1x1, False),
        ("groups", groups, 1),
        ("base_width", base_width, 64),
    ):
        if block == "basic" and value != default:
            raise ArgumentError(f"{kind}: {name}={value!r} needs block='bottleneck', expected {default!r} for 'basic'")
    return block


def check_depths(kind: str, depths: tuple[int, ...]) -> None:
    if len(depths) != 4 or min(depths) < 1:
        raise ArgumentError(f"{kind}: depths={depths!r}, expected the numbers of blocks of four stages")


class FourStages(Network):
    """A stem to 64 channels, 3x3 pool, four stages of 64, 128, 256, 512 channels, global mean, linear.

    ``layer(in_channels, channels, depth, stride)`` makes a stage, which puts out ``expansion`` times its channels.
    """

    stage_paths: ClassVar = {"stem": "relu"} | {f"stage{i}": f"layer{i}" for i in (1, 2, 3, 4)}

    def __init__(
        self,
        stem: nn.Module,
        layer: Callable[[int, int, int, int], nn.Module],
        depths: tuple[int, int, int, int],
        expansion: int,
        num_classes: int,
        generator: Generator | None,
    ) -> None:
        super().__init__()
        self.conv1 = stem
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = layer(64, 64, depths[0], 1)
        self.layer2 = layer(64 * expansion, 128, depths[1], 2)
        self.layer3 = layer(128 * expansion, 256, depths[2], 2)
        self.layer4 = layer(256 * expansion, 512, depths[3], 2)
        self.avgpool = nn.GlobalAvgPool2d()
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(512 * expansion, num_classes, generator=generator)
        he_initialise(self, generator)

    def forward(self, x: Any) -> Any:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(self.flatten(self.avgpool(x)))


class ResNet(FourStages):
    """7x7 convolution and 3x3 pool, four stages of 64, 128, 256, 512 channels, global mean, linear."""

    def __init__(
        self,
        *,
        block: str = "basic",
        depths: tuple[int, int, int, int] = (2, 2, 2, 2),
        shortcut: str = "B",
        stride_in_1x1: bool = False,
        groups: int = 1,
        base_width: int = 64,
        num_classes: int = 1000,
        in_channels: int = 3,
        generator: Generator | None = None,
    ) -> None:
        check_depths("ResNet", depths)
        kind = BLOCKS[check_block("ResNet", block, shortcut, stride_in_1x1, groups, base_width)]
        stem = nn.Conv2d(in_channels, 64, 7, 2, 3, bias=False, generator=generator)
        options = dict[str, Any](shortcut=shortcut, generator=generator)
        if kind is Bottleneck:
            options |= {"stride_in_1x1": stride_in_1x1, "groups": groups, "base_width": base_width}
        super().__init__(stem, partial(stage, kind, **options), depths, kind.expansion, num_classes, generator)


# Section 3.4; the lectures print a weight decay of 1e-5.
RECIPE = Recipe(
    optimizer="sgd",
    lr=0.1,
    batch=256,
    momentum=0.9,
    weight_decay=1e-4,
    schedule="plateau",
    augmentation=("shorter side 256-480", "random crop 224", "flip", "mean subtraction", "PCA colour"),
    source="section 3.4",
    notes="divided by 10 when the error plateaus, 60e4 iterations in all; no dropout",
)


_resnet = partial(
    spec,
    ResNet,
    family="ResNet",
    year=2015,
    paper="arXiv:1512.03385",
    input_shape=(3, 224, 224),
    num_classes=1000,
    recipe=RECIPE,
)
_18 = partial(_resnet, block="basic", depths=(2, 2, 2, 2))
_34 = partial(_resnet, block="basic", depths=(3, 4, 6, 3))
_50 = partial(_resnet, block="bottleneck", depths=(3, 4, 6, 3))
_101 = partial(_resnet, block="bottleneck", depths=(3, 4, 23, 3))
_152 = partial(_resnet, block="bottleneck", depths=(3, 8, 36, 3))
_200 = partial(_resnet, block="bottleneck", depths=(3, 24, 36, 3))
_269 = partial(_resnet, block="bottleneck", depths=(3, 30, 48, 8))
_printed = partial(Published, protocol="single crop, validation")
_authors = partial(_printed, source="KaimingHe/deep-residual-networks, README")
_torch = partial(_printed, source="facebook/fb.resnet.torch, README")
_POLYNET = _printed(top1_error=19.78, top5_error=4.89, source="CUHK-MMLAB/polynet, README")

TABLE = (
    _18("plain18", shortcut="none"),
    _18("resnet18_a", shortcut="A"),
    _18("resnet18", shortcut="B", published=_torch("", "", 30.43, 10.76), torchvision="resnet18", timm="resnet18"),
    _18("resnet18_c", shortcut="C"),
    _34("plain34", shortcut="none", published=Published(macs="3.6G", source="figure 3")),
    _34("resnet34_a", shortcut="A", published=Published(macs="3.6G", source="figure 3")),
    _34("resnet34", shortcut="B", published=_torch("", "", 26.73, 8.74), torchvision="resnet34", timm="resnet34"),
    _34("resnet34_c", shortcut="C"),
    # The authors' ResNet-50 prototxt alone has a bias in conv1: 25,557,096 parameters.
    _50("resnet50_v1", stride_in_1x1=True, published=_authors("", "3.8G", 24.7, 7.8)),
    _101("resnet101_v1", stride_in_1x1=True, published=_authors("", "7.6G", 23.6, 7.1)),
    _152("resnet152_v1", stride_in_1x1=True, published=_authors("", "11.3G", 23.0, 6.7)),
    _50("resnet50", published=_torch("", "", 24.01, 7.02), form="torchvision", torchvision="resnet50", timm="resnet50"),
    _101(
        "resnet101",
        published=_torch("", "", 22.44, 6.21),
        form="torchvision",
        torchvision="resnet101",
        timm="resnet101",
    ),
    _152(
        "resnet152",
        published=_torch("", "", 22.16, 6.16),
        form="torchvision",
        torchvision="resnet152",
        timm="resnet152",
    ),
    _200("resnet200"),  # the published one is preresnet200
    _269("resnet269", form="PolyNet", published=_POLYNET),
)
