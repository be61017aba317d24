"""ResNet for 32x32 images: three stages of 16, 32 and 64 channels, depth 6n + 2, and the plain nets beside it.

The paper's nets have parameter-free shortcuts (option A), so a net and its plain twin have the same counts.

**See** He et al., "Deep Residual Learning for Image Recognition", 2015, section 4.2.
"""

from functools import partial
from typing import Any, ClassVar

from minicnn import nn
from minicnn.errors import ArgumentError
from minicnn.models.network import Network
from minicnn.models.resnet import BasicBlock, check_shortcut, he_initialise, stage
from minicnn.models.spec import spec
from minicnn.ops.geometry import integer
from minicnn.random import Generator


class ResNetCifar(Network):
    """3x3 convolution, three stages of ``(depth - 2) / 6`` basic blocks, global mean, linear."""

    stage_paths: ClassVar = {"stem": "relu"} | {f"stage{i}": f"layer{i}" for i in (1, 2, 3)}

    def __init__(
        self,
        *,
        depth: int = 20,
        shortcut: str = "A",
        num_classes: int = 10,
        in_channels: int = 3,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        check_shortcut("ResNetCifar", shortcut)
        if integer("ResNetCifar", "depth", depth, 0) < 8 or depth % 6 != 2:
            raise ArgumentError(f"ResNetCifar: depth={depth!r}, expected 6n + 2 such as 20, 32, 44, 56 or 110")
        blocks, options = (depth - 2) // 6, {"shortcut": shortcut, "generator": generator}
        self.conv1 = nn.Conv2d(in_channels, 16, 3, padding=1, bias=False, generator=generator)
        self.bn1 = nn.BatchNorm2d(16)
        self.relu = nn.ReLU()
        self.layer1 = stage(BasicBlock, 16, 16, blocks, 1, **options)
        self.layer2 = stage(BasicBlock, 16, 32, blocks, 2, **options)
        self.layer3 = stage(BasicBlock, 32, 64, blocks, 2, **options)
        self.avgpool = nn.GlobalAvgPool2d()
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(64, num_classes, generator=generator)
        he_initialise(self, generator)

    def forward(self, x: Any) -> Any:
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(self.flatten(self.avgpool(x)))


_cifar = partial(
    spec,
    ResNetCifar,
    family="ResNet-CIFAR",
    year=2015,
    paper="arXiv:1512.03385 sec 4.2",
    input_shape=(3, 32, 32),
    num_classes=10,
)
_plain = partial(_cifar, shortcut="none")
_resnet = partial(_cifar, shortcut="A")

TABLE = (
    _plain("plain20_cifar10", depth=20),
    _plain("plain32_cifar10", depth=32),
    _plain("plain44_cifar10", depth=44),
    _plain("plain56_cifar10", depth=56),
    _plain("plain110_cifar10", depth=110),
    _resnet("resnet20_cifar10", depth=20),
    _resnet("resnet32_cifar10", depth=32),
    _resnet("resnet44_cifar10", depth=44),
    _resnet("resnet56_cifar10", depth=56),
    _resnet("resnet110_cifar10", depth=110),
    _resnet("resnet1202_cifar10", depth=1202),
)
