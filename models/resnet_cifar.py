"""ResNet for 32x32 images: three stages of 16, 32 and 64 channels, depth 6n + 2, and the plain nets beside it.

The paper's nets have parameter-free shortcuts (option A), so a net and its plain twin have the same counts.

**See** He et al., "Deep Residual Learning for Image Recognition", 2015, section 4.2.
"""

from functools import partial
from typing import Any, ClassVar

from minicnn import nn
from minicnn.errors import ArgumentError
from minicnn.models.network import Network
from minicnn.models.resnet import BLOCKS, check_block, he_initialise, stage
from minicnn.models.spec import Published, Recipe, spec
from minicnn.ops.geometry import integer
from minicnn.random import Generator


def cifar_blocks(kind: str, depth: int, block: str) -> int:
    """The blocks a stage that make a net of ``depth`` layers."""
    layers = {"basic": 6, "bottleneck": 9}[block]
    if integer(kind, "depth", depth, 0) < layers + 2 or depth % layers != 2:
        examples = "20, 32, 44, 56 or 110" if block == "basic" else "29, 164 or 1001"
        raise ArgumentError(f"{kind}: depth={depth!r}, expected {layers}n + 2 such as {examples} for block={block!r}")
    return (depth - 2) // layers


class ResNetCifar(Network):
    """3x3 convolution, three stages of ``(depth - 2) / 6`` basic blocks or ``(depth - 2) / 9`` bottlenecks, linear."""

    stage_paths: ClassVar = {"stem": "relu"} | {f"stage{i}": f"layer{i}" for i in (1, 2, 3)}

    def __init__(
        self,
        *,
        depth: int = 20,
        block: str = "basic",
        shortcut: str = "A",
        stride_in_1x1: bool = False,
        num_classes: int = 10,
        in_channels: int = 3,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        kind, e = BLOCKS[check_block("ResNetCifar", block, shortcut, stride_in_1x1)], BLOCKS[block].expansion
        blocks, options = cifar_blocks("ResNetCifar", depth, block), dict[str, Any](shortcut=shortcut)
        if block == "bottleneck":
            options["stride_in_1x1"] = stride_in_1x1
        self.conv1 = nn.Conv2d(in_channels, 16, 3, padding=1, bias=False, generator=generator)
        self.bn1 = nn.BatchNorm2d(16)
        self.relu = nn.ReLU()
        self.layer1 = stage(kind, 16, 16, blocks, 1, **options, generator=generator)
        self.layer2 = stage(kind, 16 * e, 32, blocks, 2, **options, generator=generator)
        self.layer3 = stage(kind, 32 * e, 64, blocks, 2, **options, generator=generator)
        self.avgpool = nn.GlobalAvgPool2d()
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(64 * e, num_classes, generator=generator)
        he_initialise(self, generator)

    def forward(self, x: Any) -> Any:
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(self.flatten(self.avgpool(x)))


# The paper's section 4.2 in the code of facebook/fb.resnet.torch.
RECIPE = Recipe(
    optimizer="sgd",
    lr=0.1,
    batch=128,
    epochs=164,
    momentum=0.9,
    weight_decay=1e-4,
    milestones=(80, 121),
    augmentation=("random crop 32, pad 4", "flip", "mean and deviation"),
    options=(("nesterov", True),),
    source="facebook/fb.resnet.torch: opts.lua, train.lua, TRAINING.md",
    notes="ResNet-110 starts with a rate of 0.01 until the training error is below 80 %",
)

_cifar = partial(
    spec,
    ResNetCifar,
    family="ResNet-CIFAR",
    year=2015,
    paper="arXiv:1512.03385 sec 4.2",
    input_shape=(3, 32, 32),
    num_classes=10,
    recipe=RECIPE,
)
_plain = partial(_cifar, shortcut="none")
_resnet = partial(_cifar, shortcut="A")
_printed = partial(Published, source="section 4.2")
_rerun = partial(Published, protocol="median of 5", source="arXiv:1603.05027, table 2, quoted from its TeX")

TABLE = (
    _plain("plain20_cifar10", depth=20),
    _plain("plain32_cifar10", depth=32),
    _plain("plain44_cifar10", depth=44),
    _plain("plain56_cifar10", depth=56),
    _plain("plain110_cifar10", depth=110),
    _resnet("resnet20_cifar10", depth=20, published=_printed("0.27M")),
    _resnet("resnet32_cifar10", depth=32, published=_printed("0.46M")),
    _resnet("resnet44_cifar10", depth=44, published=_printed("0.66M")),
    _resnet("resnet56_cifar10", depth=56, published=_printed("0.85M")),
    _resnet("resnet110_cifar10", depth=110, published=_rerun("1.7M", "", 6.61)),
    _resnet("resnet1202_cifar10", depth=1202, published=_printed("19.4M")),
    _cifar(
        "resnet164_cifar10",
        depth=164,
        block="bottleneck",
        shortcut="B",
        form="pytorchcv",
        published=_rerun("", "", 5.93),
        deviations="the authors stride in the first 1x1 (stride_in_1x1=True): 3,145,728 multiply-adds fewer",
    ),
)
