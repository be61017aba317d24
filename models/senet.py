"""SENet: gates that let a network weigh the channels of a map by what it sees of them all ("squeeze and excitation").

A gate takes the mean of every channel, puts the means through two small fully connected layers and multiplies each
channel by its answer, from 0 to 1. ``squeeze_and_excite`` puts one at the end of every branch of a residual network,
before the addition; ``models/senet_hosts.py`` has other networks with gates. ``gate="scale"`` is what they are measured
against: a learned number a channel, whatever the image.

``_v1`` and SENet-154 are the nets of the authors' Caffe files, whose first pool rounds up; ``_v1`` has the stride in
the first 1x1. Weight names of SE-ResNets and SE-ResNeXts are timm's (``se.fc1``, ``se.fc2``), but its ``seresnet18``
and ``seresnet34`` have gates of 8 units where 64 / 16 is 4.

**Math** ``y = x sigmoid(W2 relu(W1 mean(x)))``, W1 (C/r, C), W2 (C, C/r); r = 16.
**See** Hu et al., "Squeeze-and-Excitation Networks", 2017.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, TypeVar

from minicnn import nn
from minicnn.errors import ArgumentError
from minicnn.models.network import Network
from minicnn.models.resnet import Block, Bottleneck, Residual, ResNet, check_depths, he_initialise, stage
from minicnn.models.resnet_cifar import ResNetCifar
from minicnn.models.spec import Published, Recipe, spec
from minicnn.nn import init
from minicnn.ops.geometry import integer
from minicnn.random import Generator

M = TypeVar("M", bound=nn.Module)


class SqueezeExcitation(nn.Module):
    """Multiplies every channel by a weight in (0, 1) found from the means of all channels.

    **Shapes** (N, C, H, W) -> the same. Weights start with variance 2 / fan_in, biases at 0: every gate near a half.
    """

    def __init__(
        self,
        channels: int,
        squeezed: int,
        *,
        activation: Callable[[], nn.Module] = nn.ReLU,
        gate: Callable[[], nn.Module] = nn.Sigmoid,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        self.avgpool = nn.GlobalAvgPool2d()
        self.fc1 = nn.Conv2d(channels, squeezed, 1, generator=generator)
        self.activation = activation()
        self.fc2 = nn.Conv2d(squeezed, channels, 1, generator=generator)
        self.gate = gate()
        for fc in (self.fc1, self.fc2):
            init.kaiming_normal_(fc.weight, nonlinearity="relu", generator=generator)
            if fc.bias is not None:
                init.zeros_(fc.bias)

    def excitation(self, x: Any) -> Any:
        """The weights, (N, C, 1, 1)."""
        return self.gate(self.fc2(self.activation(self.fc1(self.avgpool(x)))))

    def forward(self, x: Any) -> Any:
        return x * self.excitation(x)


class ChannelScale(nn.Module):
    """Multiplies every channel by a learned number, the same for all images; starts at 1."""

    printed = ("channels",)

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.weight = init.filled(1.0, channels)

    def forward(self, x: Any) -> Any:
        return x * self.weight.reshape(-1, 1, 1)


GATES = ("excitation", "scale")


def gate_for(kind: str, channels: int, reduction: int, gate: str, generator: Generator | None) -> nn.Module:
    """The gate after a map of ``channels``: with ``channels // reduction`` units, rounded down, or the ablation."""
    if gate not in GATES:
        raise ArgumentError(f"{kind}: gate={gate!r} is unknown, expected one of {GATES}")
    if gate == "scale":
        return ChannelScale(channels)
    if integer(kind, "reduction", reduction, 1) > channels:
        raise ArgumentError(
            f"{kind}: reduction={reduction} leaves nothing of {channels} channels, expected at most that"
        )
    return SqueezeExcitation(channels, channels // reduction, generator=generator)


def squeeze_and_excite(
    model: M, reduction: int = 16, gate: str = "excitation", generator: Generator | None = None
) -> M:
    """Put a gate at the end of the branch of every residual block of ``model``; returns the model.

    **Raises** ArgumentError where there is no residual block.
    """
    blocks = [block for block in model.modules() if isinstance(block, Residual)]
    if not blocks or any(isinstance(block, Block) and not block.residual for block in blocks):
        raise ArgumentError(
            f"squeeze_and_excite: {type(model).__name__} is no residual network, expected blocks with shortcuts"
        )
    for block in blocks:
        last = [layer for layer in block.modules() if isinstance(layer, nn.Conv2d)][-1]
        block.se = gate_for("squeeze_and_excite", last.out_channels, reduction, gate, generator)
    return model


class SEResNet(ResNet):
    """``ResNet`` with gates; ``ceil_pool=True`` rounds the first pool up, as Caffe does."""

    def __init__(
        self,
        *,
        block: str = "bottleneck",
        depths: tuple[int, int, int, int] = (3, 4, 6, 3),
        stride_in_1x1: bool = False,
        groups: int = 1,
        base_width: int = 64,
        ceil_pool: bool = False,
        reduction: int = 16,
        gate: str = "excitation",
        num_classes: int = 1000,
        in_channels: int = 3,
        generator: Generator | None = None,
    ) -> None:
        super().__init__(
            block=block,
            depths=depths,
            stride_in_1x1=stride_in_1x1,
            groups=groups,
            base_width=base_width,
            num_classes=num_classes,
            in_channels=in_channels,
            generator=generator,
        )
        if ceil_pool:
            self.maxpool = nn.MaxPool2d(3, 2, ceil_mode=True)
        squeeze_and_excite(self, reduction, gate, generator)


class SEResNetCifar(ResNetCifar):
    """``ResNetCifar`` with gates."""

    def __init__(
        self,
        *,
        depth: int = 20,
        block: str = "basic",
        shortcut: str = "B",
        reduction: int = 16,
        gate: str = "excitation",
        num_classes: int = 10,
        in_channels: int = 3,
        generator: Generator | None = None,
    ) -> None:
        super().__init__(
            depth=depth,
            block=block,
            shortcut=shortcut,
            num_classes=num_classes,
            in_channels=in_channels,
            generator=generator,
        )
        squeeze_and_excite(self, reduction, gate, generator)


class SENet154Block(Bottleneck):
    """A ResNeXt block with half as many channels before the grouped 3x3, and a 3x3 where the shortcut strides."""

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int = 1,
        *,
        groups: int = 64,
        base_width: int = 4,
        generator: Generator | None = None,
    ) -> None:
        super().__init__(in_channels, channels, stride, groups=groups, base_width=base_width, generator=generator)
        conv, width = partial(nn.Conv2d, bias=False, generator=generator), self.conv2.out_channels
        self.conv1, self.bn1 = conv(in_channels, width // 2, 1), nn.BatchNorm2d(width // 2)
        self.conv2 = conv(width // 2, width, 3, stride, padding=1, groups=groups)
        if stride != 1:
            out_channels = channels * self.expansion
            self.downsample = nn.Sequential(
                conv(in_channels, out_channels, 3, stride, padding=1), nn.BatchNorm2d(out_channels)
            )


class SENet154(Network):
    """The winner of 2017: three 3x3 convolutions and a pool, four stages of gated blocks, mean, dropout, linear."""

    stage_paths: ClassVar = {"stem": "stem"} | {f"stage{i}": f"layer{i}" for i in (1, 2, 3, 4)}

    def __init__(
        self,
        *,
        depths: tuple[int, int, int, int] = (3, 8, 36, 3),
        groups: int = 64,
        base_width: int = 4,
        dropout: float = 0.2,
        reduction: int = 16,
        gate: str = "excitation",
        num_classes: int = 1000,
        in_channels: int = 3,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        check_depths("SENet154", depths)
        conv = partial(nn.Conv2d, kernel_size=3, padding=1, bias=False, generator=generator)
        layer = partial(stage, SENet154Block, groups=groups, base_width=base_width, generator=generator)
        self.stem = nn.Sequential(
            *(conv(in_channels, 64, stride=2), nn.BatchNorm2d(64), nn.ReLU()),
            *(conv(64, 64), nn.BatchNorm2d(64), nn.ReLU()),
            *(conv(64, 128), nn.BatchNorm2d(128), nn.ReLU()),
        )
        self.maxpool = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.layer1 = layer(128, 64, depths[0], 1)
        self.layer2 = layer(256, 128, depths[1], 2)
        self.layer3 = layer(512, 256, depths[2], 2)
        self.layer4 = layer(1024, 512, depths[3], 2)
        self.avgpool, self.flatten = nn.GlobalAvgPool2d(), nn.Flatten()
        self.dropout = nn.Dropout(dropout, generator=generator)
        self.fc = nn.Linear(2048, num_classes, generator=generator)
        he_initialise(self, generator)
        squeeze_and_excite(self, reduction, gate, generator)

    def forward(self, x: Any) -> Any:
        x = self.maxpool(self.stem(x))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(self.dropout(self.flatten(self.avgpool(x))))


_CODE = "hujie-frank/SENet, README"
RECIPE = Recipe(
    optimizer="sgd",
    lr=0.1,
    batch=256,
    momentum=0.9,
    augmentation=("random resized crop 224, 8-100 %, 3/4-4/3", "flip", "rotation 10 degrees", "pixels +-20"),
    source=_CODE,
    notes="the nets of the authors' files, trained for 'more epochs' than the paper's, which had batch 1024 and a rate "
    "of 0.6; momentum, decays and the end are not printed there: 0.9 is ResNet's",
)
printed = partial(Published, protocol="single crop 224, validation", source=_CODE)
_quoted = partial(
    Published,
    protocol="CIFAR-10 test",
    source="as ai-huang.github.io/research/replication_senet quotes the paper",
)

senet_row = partial(spec, family="SENet", year=2017, paper="arXiv:1709.01507")
_imagenet = partial(senet_row, SEResNet, input_shape=(3, 224, 224), num_classes=1000)
_cifar = partial(senet_row, SEResNetCifar, input_shape=(3, 32, 32), num_classes=10, form="pytorchcv")
_basic = partial(_imagenet, block="basic", form="timm's legacy")
_v1 = partial(_imagenet, form="Caffe", stride_in_1x1=True, ceil_pool=True, recipe=RECIPE)
_v15 = partial(_imagenet, form="timm")
_32x4d = partial(_imagenet, groups=32, base_width=4)
_64x4d = partial(_imagenet, groups=64, base_width=4)
_50, _101, _152, _200 = (3, 4, 6, 3), (3, 4, 23, 3), (3, 8, 36, 3), (3, 24, 36, 3)
_POOL = "the authors' file rounds the first pool up (ceil_pool=True)"

TABLE = (
    _basic("seresnet18", depths=(2, 2, 2, 2)),
    _basic("seresnet34", depths=(3, 4, 6, 3)),
    _v1("seresnet50_v1", depths=_50, published=printed("", "", 22.37, 6.36)),
    _v15("seresnet50", depths=_50, timm="seresnet50"),
    _v1("seresnet101_v1", depths=_101, published=printed("", "", 21.75, 5.72)),
    _v15("seresnet101", depths=_101, timm="seresnet101"),
    _v1("seresnet152_v1", depths=_152, published=printed("", "", 21.34, 5.54)),
    _v15("seresnet152", depths=_152, timm="seresnet152"),
    _v15("seresnet200", depths=_200),
    _32x4d(
        "seresnext50_32x4d",
        depths=_50,
        timm="seresnext50_32x4d",
        published=printed("", "", 20.97, 5.54),
        recipe=RECIPE,
        deviations=_POOL,
    ),
    _32x4d(
        "seresnext101_32x4d",
        depths=_101,
        timm="seresnext101_32x4d",
        published=printed("", "", 19.81, 4.96),
        recipe=RECIPE,
        deviations=_POOL,
    ),
    _64x4d("seresnext101_64x4d", depths=_101, form="timm", timm="seresnext101_64x4d"),
    _32x4d("seresnext152_32x4d", depths=_152, form="timm"),
    _64x4d("seresnext152_64x4d", depths=_152, form="timm", deviations="not SENet-154, which changes stem and blocks"),
    senet_row(
        SENet154,
        "senet154",
        input_shape=(3, 224, 224),
        num_classes=1000,
        form="Caffe",
        published=printed("", "", 18.68, 4.47),
        recipe=RECIPE,
    ),
    _cifar("seresnet20_cifar10", depth=20),
    _cifar("seresnet56_cifar10", depth=56),
    _cifar("seresnet110_cifar10", depth=110, published=_quoted("", "", 5.21)),
    _cifar("seresnet164_cifar10", depth=164, block="bottleneck", published=_quoted("", "", 4.39)),
)
