"""Wide ResNets: fewer layers, more channels. WRN-n-k has n layers and k times the channels of a thin ResNet.

The CIFAR nets have pre-activation units B(M); M lists the kernel sizes of a unit's convolutions: ``kernels=(3, 3)``
is the paper's choice, (3, 1, 3), (1, 3, 1), (1, 3), (3, 1) and (3, 1, 1) were compared with it. All convolutions of a
unit have the same channels, the first has the stride; dropout stands before each but the first. The ImageNet nets are
original ResNets: WRN-18 and WRN-34 widen everything but the stem, WRN-50-2 the inner convolutions.

**Math** ``n = 4 + 3 N len(M)`` for N units a stage: the first convolution and three projections count.
**See** Zagoruyko and Komodakis, "Wide Residual Networks", 2016.
"""

from functools import partial
from typing import Any, ClassVar

from minicnn import nn
from minicnn.errors import ArgumentError
from minicnn.models.network import Network
from minicnn.models.preresnet import Convolution, Preactivation
from minicnn.models.resnet import BasicBlock, ResNet, check_depths
from minicnn.models.resnet import stage as resnet_stage
from minicnn.models.spec import Published, Recipe, spec
from minicnn.nn import init
from minicnn.ops.arguments import number
from minicnn.ops.geometry import integer
from minicnn.random import Generator

KERNELS = ((3, 3), (3, 1, 3), (1, 3, 1), (1, 3), (3, 1), (3, 1, 1))


def msr_initialise(model: nn.Module, generator: Generator | None) -> None:
    """Normal with variance 2 / fan_in for convolutions, no bias in the classifier, as in the authors' code."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu", generator=generator)
        elif isinstance(module, nn.Linear) and module.bias is not None:
            init.zeros_(module.bias)


def stage(
    kernels: tuple[int, ...], in_channels: int, channels: int, depth: int, stride: int, **options: Any
) -> nn.Sequential:
    """``depth`` units B(kernels), the first with the stride; where it projects it activates before it splits."""
    first = [Convolution(k, channels, stride if i == 0 else 1) for i, k in enumerate(kernels)]
    rest = [Convolution(k, channels) for k in kernels]
    enters = "branch" if in_channels == channels and stride == 1 else "shared"
    units = [Preactivation(in_channels, first, enters=enters, **options)]
    units += [Preactivation(channels, rest, **options) for _ in range(depth - 1)]
    return nn.Sequential(*units)


class WideResNet(Network):
    """3x3 convolution to 16 channels, stages of 16k, 32k and 64k, BN and ReLU, global mean, linear."""

    stage_paths: ClassVar = {"stem": "conv1"} | {f"stage{i}": f"layer{i}" for i in (1, 2, 3)}
    cam_path: ClassVar = "relu"

    def __init__(
        self,
        *,
        depth: int = 28,
        widen: int = 10,
        kernels: tuple[int, ...] = (3, 3),
        dropout: float = 0.0,
        num_classes: int = 10,
        in_channels: int = 3,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        kernels = tuple(kernels)
        if not kernels or not set(kernels) <= {1, 3}:
            raise ArgumentError(f"WideResNet: kernels={kernels!r}, expected sizes 1 and 3 such as one of {KERNELS}")
        period, k = 3 * len(kernels), integer("WideResNet", "widen", widen, 1)
        if integer("WideResNet", "depth", depth, 0) < 4 + period or (depth - 4) % period:
            raise ArgumentError(f"WideResNet: depth={depth!r}, expected {period}n + 4 for kernels={kernels!r}")
        n, options = (depth - 4) // period, dict[str, Any](dropout=dropout, generator=generator)
        self.conv1 = nn.Conv2d(in_channels, 16, 3, padding=1, bias=False, generator=generator)
        self.layer1 = stage(kernels, 16, 16 * k, n, 1, **options)
        self.layer2 = stage(kernels, 16 * k, 32 * k, n, 2, **options)
        self.layer3 = stage(kernels, 32 * k, 64 * k, n, 2, **options)
        self.bn = nn.BatchNorm2d(64 * k)
        self.relu = nn.ReLU()
        self.avgpool = nn.GlobalAvgPool2d()
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(64 * k, num_classes, generator=generator)
        msr_initialise(self, generator)

    def forward(self, x: Any) -> Any:
        x = self.layer3(self.layer2(self.layer1(self.conv1(x))))
        return self.fc(self.flatten(self.avgpool(self.relu(self.bn(x)))))


class WideBasicResNet(Network):
    """``ResNet`` of basic blocks whose stages, not its stem, have ``widen`` times the channels."""

    stage_paths: ClassVar = ResNet.stage_paths

    def __init__(
        self,
        *,
        depths: tuple[int, int, int, int] = (2, 2, 2, 2),
        widen: float = 2.0,
        num_classes: int = 1000,
        in_channels: int = 3,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        check_depths("WideBasicResNet", depths)
        k = number("WideBasicResNet", "widen", widen, 0.25, expected="a factor of at least 0.25")
        widths = [round(64 * 2**i * k) for i in range(4)]
        self.conv1 = nn.Conv2d(in_channels, 64, 7, 2, 3, bias=False, generator=generator)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = resnet_stage(BasicBlock, 64, widths[0], depths[0], 1, generator=generator)
        self.layer2 = resnet_stage(BasicBlock, widths[0], widths[1], depths[1], 2, generator=generator)
        self.layer3 = resnet_stage(BasicBlock, widths[1], widths[2], depths[2], 2, generator=generator)
        self.layer4 = resnet_stage(BasicBlock, widths[2], widths[3], depths[3], 2, generator=generator)
        self.avgpool = nn.GlobalAvgPool2d()
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(widths[3], num_classes, generator=generator)
        msr_initialise(self, generator)

    def forward(self, x: Any) -> Any:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(self.flatten(self.avgpool(x)))


_CODE = "szagoruyko/wide-residual-networks"
RECIPE = Recipe(
    optimizer="sgd",
    lr=0.1,
    batch=128,
    epochs=200,
    momentum=0.9,
    weight_decay=5e-4,
    milestones=(60, 120, 160),
    gamma=0.2,
    augmentation=("random crop 32, reflect 4", "flip", "ZCA whitening or mean and deviation"),
    options=(("nesterov", True),),
    source=f"{_CODE}, train.lua and scripts/train_cifar.sh",
    notes="dropout=0.3 for CIFAR where a table says dropout; SVHN: 0.4, rate 0.01, divided by 10 at 80 and 120 of 160",
)

_wrn = partial(spec, family="WRN", year=2016, paper="arXiv:1605.07146")
_cifar = partial(_wrn, WideResNet, input_shape=(3, 32, 32), recipe=RECIPE)
_c10, _c100 = partial(_cifar, num_classes=10), partial(_cifar, num_classes=100)
_imagenet = partial(_wrn, input_shape=(3, 224, 224), num_classes=1000)
_18 = partial(_imagenet, WideBasicResNet, depths=(2, 2, 2, 2))
_34 = partial(_imagenet, WideBasicResNet, depths=(3, 4, 6, 3))
_bottleneck = partial(_imagenet, ResNet, block="bottleneck", base_width=128)
_t5 = partial(Published, protocol="ZCA whitening", source="table 5, as lectures quote it")
_t7 = partial(Published, source="table 7")
_40_10 = Published(top1_error=3.8, protocol="one run, mean and deviation", source=f"{_CODE}, README")
_50_2 = Published("68.9M", "", 21.9, 6.03, "single crop, validation", f"{_CODE}, pretrained/README")

TABLE = (
    _c10("wrn40_1_cifar10", depth=40, widen=1, published=_t5("0.6M", "", 6.85)),
    _c100("wrn40_1_cifar100", depth=40, widen=1, published=_t5("0.6M", "", 30.89)),
    _c10("wrn40_2_cifar10", depth=40, widen=2, published=_t5("2.2M", "", 5.33)),
    _c100("wrn40_2_cifar100", depth=40, widen=2, published=_t5("2.2M", "", 26.04)),
    _c10("wrn40_4_cifar10", depth=40, widen=4, published=_t5("8.9M", "", 4.97)),
    _c100("wrn40_4_cifar100", depth=40, widen=4, published=_t5("8.9M", "", 22.89)),
    _c10("wrn40_8_cifar10", depth=40, widen=8, published=_t5("35.7M", "", 4.66)),
    _c100("wrn40_8_cifar100", depth=40, widen=8, published=_t5("35.7M")),
    _c10("wrn28_10_cifar10", depth=28, widen=10, published=_t5("36.5M", "", 4.17)),
    _c100("wrn28_10_cifar100", depth=28, widen=10, published=_t5("36.5M", "", 20.50)),
    _c10("wrn28_12_cifar10", depth=28, widen=12, published=_t5("52.5M", "", 4.33)),
    _c100("wrn28_12_cifar100", depth=28, widen=12, published=_t5("52.5M", "", 20.43)),
    _c10("wrn22_8_cifar10", depth=22, widen=8, published=_t5("17.2M", "", 4.38)),
    _c100("wrn22_8_cifar100", depth=22, widen=8, published=_t5("17.2M", "", 21.22)),
    _c10("wrn22_10_cifar10", depth=22, widen=10, published=_t5("26.8M", "", 4.44)),
    _c100("wrn22_10_cifar100", depth=22, widen=10, published=_t5("26.8M", "", 20.75)),
    _c10("wrn16_8_cifar10", depth=16, widen=8, published=_t5("11.0M", "", 4.81)),
    _c100("wrn16_8_cifar100", depth=16, widen=8, published=_t5("11.0M", "", 22.07)),
    _c10("wrn16_10_cifar10", depth=16, widen=10, published=_t5("17.1M", "", 4.56)),
    _c100("wrn16_10_cifar100", depth=16, widen=10, published=_t5("17.1M", "", 21.59)),
    _c10("wrn40_10_cifar10", depth=40, widen=10, dropout=0.3, published=_40_10),
    _bottleneck(
        "wide_resnet50_2",
        depths=(3, 4, 6, 3),
        published=_50_2,
        torchvision="wide_resnet50_2",
        timm="wide_resnet50_2",
        deviations="the authors' first README prints a top-5 error of 5.79",
    ),
    _bottleneck(
        "wide_resnet101_2",
        depths=(3, 4, 23, 3),
        form="torchvision",
        torchvision="wide_resnet101_2",
        timm="wide_resnet101_2",
    ),
    _18("wrn18_1.5_imagenet", widen=1.5, published=_t7("25.9M")),
    _18("wrn18_2_imagenet", widen=2, published=_t7("45.6M")),
    _18("wrn18_3_imagenet", widen=3, published=_t7("101.8M")),
    _34("wrn34_1.5_imagenet", widen=1.5, published=_t7("48.6M")),
    _34("wrn34_2_imagenet", widen=2, published=_t7("86.0M")),
)
