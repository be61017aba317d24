"""ELU networks: a unit that goes on below zero, and ends at -1, keeps the mean of a layer near zero.

A mean far from zero acts on the next layer as a bias it did not learn. ReLUs are never negative, so they all have one;
batch norm takes it away again. What an ELU says below zero takes more than half of it back, and it falls silent
smoothly: far below zero a unit says -1, whatever its input.

``ELUNet``: stacks of convolutions, each with an ELU, without batch norm; most kernels are 1x1 and 2x2. Pools after the
first five stacks leave one pixel of 32x32, and dropout grows with depth.
``ELUResNet``: ResNet for CIFAR whose block is Conv-ELU-Conv-BN, with nothing after the addition: one batch norm a
block instead of two, and a shortcut from the first block to the last that no activation bends.

**Math** ``elu(x) = x`` for x > 0, ``alpha (exp(x) - 1)`` otherwise, alpha = 1; block: ``y = bn(W2 elu(W1 x)) + x``.
**See** Clevert et al., "Fast and Accurate Deep Network Learning by Exponential Linear Units (ELUs)", 2015, and Shah et
al., "Deep Residual Networks with Exponential Linear Unit", 2016.
"""

from functools import partial
from typing import Any, ClassVar

from minicnn import nn
from minicnn.errors import ArgumentError
from minicnn.models.network import Network
from minicnn.models.resnet import PadShortcut, Residual, he_initialise
from minicnn.models.resnet_cifar import cifar_blocks
from minicnn.models.spec import Published, spec
from minicnn.nn import init
from minicnn.random import Generator

Stack = tuple[tuple[int, int], ...]  # (channels, kernel) of each convolution

ELU11: tuple[Stack, ...] = (
    ((192, 5),),
    ((192, 1), (240, 3)),
    ((240, 1), (260, 2)),
    ((260, 1), (280, 2)),
    ((280, 1), (300, 2)),
    ((300, 1),),
)
ELU18: tuple[Stack, ...] = (
    ((384, 3),),
    ((384, 1), (384, 2), (640, 2), (640, 2)),
    ((640, 1), (768, 2), (768, 2), (768, 2)),
    ((768, 1), (896, 2), (896, 2)),
    ((896, 3), (1024, 2), (1024, 2)),
    ((1024, 1), (1152, 2)),
    ((1152, 1),),
)
POOLS = 5  # after the first five stacks: 32 -> 1


class ELUNet(Network):
    """Stacks of convolutions that keep the size, each with an ELU; 2x2 pools; a 1x1 to the classes.

    A 2x2 convolution gets its extra row and column of zeros at the bottom right. ``dropouts``: after each stack.
    """

    stage_paths: ClassVar = {f"stage{i}": f"features.stack{i}" for i in range(1, POOLS + 2)}
    cam_path: ClassVar = "features.stack5"  # the next has one place

    def __init__(
        self,
        *,
        stacks: tuple[Stack, ...] = ELU11,
        dropouts: tuple[float, ...] = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5),
        num_classes: int = 100,
        in_channels: int = 3,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        if len(stacks) <= POOLS or not all(stacks):
            raise ArgumentError(f"ELUNet: {len(stacks)} stacks, expected at least {POOLS + 1}, none of them empty")
        if len(dropouts) != len(stacks):
            raise ArgumentError(f"ELUNet: dropouts={dropouts!r}, expected one for each of {len(stacks)} stacks")
        conv = partial(nn.Conv2d, padding="same", generator=generator)
        self.features, channels = nn.Sequential(), in_channels
        for i, (stack, dropout) in enumerate(zip(stacks, dropouts, strict=True), 1):
            layers = nn.Sequential()
            for j, (width, kernel) in enumerate(stack, 1):
                layers.add_module(f"conv{j}", conv(channels, width, kernel))
                layers.add_module(f"elu{j}", nn.ELU())
                channels = width
            self.features.add_module(f"stack{i}", layers)
            if i <= POOLS:
                self.features.add_module(f"pool{i}", nn.MaxPool2d(2))
            self.features.add_module(f"drop{i}", nn.Dropout(dropout, generator=generator))
        self.classifier = conv(channels, num_classes, 1)
        self.avgpool, self.flatten = nn.GlobalAvgPool2d(), nn.Flatten()
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and module.bias is not None:
                init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
                init.zeros_(module.bias)

    def forward(self, x: Any) -> Any:
        return self.flatten(self.avgpool(self.classifier(self.features(x))))


class ELUBlock(Residual):
    """Conv-ELU-Conv-BN plus the input; where the shape changes, the input subsampled and padded with zero channels."""

    def __init__(self, in_channels: int, channels: int, stride: int = 1, *, generator: Generator | None = None) -> None:
        super().__init__()
        conv = partial(nn.Conv2d, kernel_size=3, padding=1, bias=False, generator=generator)
        self.conv1 = conv(in_channels, channels, stride=stride)
        self.elu = nn.ELU()
        self.conv2 = conv(channels, channels)
        self.bn = nn.BatchNorm2d(channels)
        same = stride == 1 and in_channels == channels
        self.downsample = None if same else PadShortcut(in_channels, channels, stride)

    def branch(self, x: Any) -> Any:
        return self.bn(self.conv2(self.elu(self.conv1(x))))

    def forward(self, x: Any) -> Any:
        return self.add(self.branch, x, x if self.downsample is None else self.downsample(x))


class ELUResNet(Network):
    """3x3 convolution, three stages of ``(depth - 2) / 6`` blocks, global mean, linear."""

    stage_paths: ClassVar = {"stem": "elu"} | {f"stage{i}": f"layer{i}" for i in (1, 2, 3)}

    def __init__(
        self,
        *,
        depth: int = 20,
        num_classes: int = 10,
        in_channels: int = 3,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        blocks = cifar_blocks("ELUResNet", depth, "basic")

        def stage(before: int, channels: int, stride: int) -> nn.Sequential:
            block = partial(ELUBlock, generator=generator)
            first = block(before, channels, stride)
            return nn.Sequential(first, *(block(channels, channels) for _ in range(blocks - 1)))

        self.conv1 = nn.Conv2d(in_channels, 16, 3, padding=1, bias=False, generator=generator)
        self.bn1, self.elu = nn.BatchNorm2d(16), nn.ELU()
        self.layer1, self.layer2, self.layer3 = stage(16, 16, 1), stage(16, 32, 2), stage(32, 64, 2)
        self.avgpool, self.flatten = nn.GlobalAvgPool2d(), nn.Flatten()
        self.fc = nn.Linear(64, num_classes, generator=generator)
        he_initialise(self, generator)

    def forward(self, x: Any) -> Any:
        x = self.elu(self.bn1(self.conv1(x)))
        return self.fc(self.flatten(self.avgpool(self.layer3(self.layer2(self.layer1(x))))))


_elu = partial(
    spec,
    ELUNet,
    family="ELU",
    year=2015,
    paper="arXiv:1511.07289",
    input_shape=(3, 32, 32),
    num_classes=100,
)
_PADDING = "the paper does not say how 2x2 kernels are padded; initial weights are He's"
_resnet = partial(
    spec,
    ELUResNet,
    family="ELU",
    year=2016,
    paper="arXiv:1604.04112",
    input_shape=(3, 32, 32),
    num_classes=10,
    deviations="assumed, as the paper was not found: the first convolution is ResNet's with an ELU for its ReLU, "
    "nothing follows the last addition, and initial weights are ResNet's",
)

TABLE = (
    _elu(
        "elu11_cifar100",
        stacks=ELU11,
        dropouts=(0.0, 0.1, 0.2, 0.3, 0.4, 0.5),
        deviations=f"{_PADDING}. Rates of dropout are those of an independent implementation (avirambh's ELU.py)",
    ),
    _elu(
        "elu18_cifar100",
        stacks=ELU18,
        dropouts=(0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.0),
        published=Published(
            "39.32M", "", 24.28, None, "test, single model, single view", "as sh-tsang.medium.com quotes the paper"
        ),
        deviations=f"{_PADDING}. Rates of dropout are ELU-11's: its own were not found",
    ),
    _resnet("elu_resnet20_cifar10", depth=20),
    _resnet("elu_resnet32_cifar10", depth=32),
    _resnet("elu_resnet44_cifar10", depth=44),
    _resnet("elu_resnet56_cifar10", depth=56),
    _resnet("elu_resnet110_cifar10", depth=110),
)
