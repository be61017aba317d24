"""BN-Inception: GoogLeNet with batch norm, in whose modules two 3x3 convolutions stand for each 5x5.

There are three modules on 28x28 maps and no pools between modules: 3c and 4e halve the maps themselves. The pool branch
takes means, but maxima in 5b (and in 3c and 4e, which pass them through). This is the net of the Caffe files that
carry the name (convolutions without biases, pools that round up, first convolution not separable). Others call it
Inception-v2, as they do the net of the next paper, "Rethinking the Inception Architecture".

**See** Ioffe and Szegedy, "Batch Normalization: Accelerating Deep Network Training by Reducing Internal Covariate
Shift", 2015, Figure 5.
"""

from functools import partial
from typing import Any, ClassVar

from minicnn import nn
from minicnn.models.googlenet import BasicConv2d, Branches, Unit
from minicnn.models.network import Network
from minicnn.models.spec import Published, Recipe, spec
from minicnn.nn import init
from minicnn.random import Generator


class Module(Branches):
    """1x1, 3x3, double 3x3 and pool, each behind or before a 1x1; a row of Figure 5."""

    def __init__(
        self,
        in_channels: int,
        ch1x1: int,
        ch3x3red: int,
        ch3x3: int,
        double3x3red: int,
        double3x3: int,
        pool_proj: int,
        *,
        pool: type[nn.AvgPool2d] | type[nn.MaxPool2d] = nn.AvgPool2d,
        unit: Unit,
    ) -> None:
        super().__init__(
            branch1=unit(in_channels, ch1x1, 1),
            branch2=nn.Sequential(unit(in_channels, ch3x3red, 1), unit(ch3x3red, ch3x3, 3, padding=1)),
            branch3=nn.Sequential(
                unit(in_channels, double3x3red, 1),
                unit(double3x3red, double3x3, 3, padding=1),
                unit(double3x3, double3x3, 3, padding=1),
            ),
            branch4=nn.Sequential(pool(3, 1, 1), unit(in_channels, pool_proj, 1)),
        )


class Reduction(Branches):
    """A module that halves the maps: no 1x1 branch, and the pool passes all its channels through.

    The pool rounds up and the convolutions down, so that maps need an even side, and images one that 32 divides.
    """

    def __init__(
        self, in_channels: int, ch3x3red: int, ch3x3: int, double3x3red: int, double3x3: int, *, unit: Unit
    ) -> None:
        super().__init__(
            branch1=nn.Sequential(unit(in_channels, ch3x3red, 1), unit(ch3x3red, ch3x3, 3, stride=2, padding=1)),
            branch2=nn.Sequential(
                unit(in_channels, double3x3red, 1),
                unit(double3x3red, double3x3, 3, padding=1),
                unit(double3x3, double3x3, 3, stride=2, padding=1),
            ),
            branch3=nn.MaxPool2d(3, 2, ceil_mode=True),
        )


class BNInception(Network):
    """Stem, modules 3a to 5b, global mean, linear."""

    stage_paths: ClassVar = {
        "stem": "conv1",
        "stage1": "conv3",
        "stage2": "inception3b",
        "stage3": "inception4d",
        "stage4": "inception5b",
    }

    def __init__(self, *, num_classes: int = 1000, in_channels: int = 3, generator: Generator | None = None) -> None:
        super().__init__()
        unit = partial(BasicConv2d, eps=1e-5, generator=generator)
        self.conv1, self.maxpool1 = unit(in_channels, 64, 7, stride=2, padding=3), nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv2 = unit(64, 64, 1)
        self.conv3, self.maxpool2 = unit(64, 192, 3, padding=1), nn.MaxPool2d(3, 2, ceil_mode=True)
        # input channels, 1x1, 3x3 reduce, 3x3, double 3x3 reduce, double 3x3, pool proj
        module, reduction = partial(Module, unit=unit), partial(Reduction, unit=unit)
        self.inception3a = module(192, 64, 64, 64, 64, 96, 32)
        self.inception3b = module(256, 64, 64, 96, 64, 96, 64)
        self.inception3c = reduction(320, 128, 160, 64, 96)
        self.inception4a = module(576, 224, 64, 96, 96, 128, 128)
        self.inception4b = module(576, 192, 96, 128, 96, 128, 128)
        self.inception4c = module(576, 160, 128, 160, 128, 160, 128)
        self.inception4d = module(608, 96, 128, 192, 160, 192, 128)
        self.inception4e = reduction(608, 128, 192, 192, 256)
        self.inception5a = module(1056, 352, 192, 320, 160, 224, 128)
        self.inception5b = module(1024, 352, 192, 320, 192, 224, 128, pool=nn.MaxPool2d)
        self.avgpool, self.flatten = nn.GlobalAvgPool2d(), nn.Flatten()
        self.fc = nn.Linear(1024, num_classes, generator=generator)
        he_initialise(self, generator)

    def forward(self, x: Any) -> Any:
        x = self.maxpool2(self.conv3(self.conv2(self.maxpool1(self.conv1(x)))))
        x = self.inception3c(self.inception3b(self.inception3a(x)))
        x = self.inception4d(self.inception4c(self.inception4b(self.inception4a(x))))
        x = self.inception5b(self.inception5a(self.inception4e(x)))
        return self.fc(self.flatten(self.avgpool(x)))


def he_initialise(model: nn.Module, generator: Generator | None) -> None:
    """Normal with variance 2 / fan_in for convolutions (the papers leave it open; slim's Inception nets do so)."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
            if module.bias is not None:
                init.zeros_(module.bias)


RECIPE = Recipe(
    optimizer="sgd",
    lr=0.045,
    batch=32,
    momentum=0.9,
    schedule="exponential",
    augmentation=("less photometric distortion than GoogLeNet",),
    options=(("dropout", 0.0), ("steps", 6_000_000)),
    source="sections 4.2.1 and 4.2.2, BN-x30",
    notes="momentum (0.9 is GoogLeNet's) and decays are not printed: weight decay 5 times less and a rate that falls 6 "
    "times faster than without batch norm, where it starts at 0.0015; BN-x5 starts at 0.0075",
)

TABLE = (
    spec(
        BNInception,
        "bn_inception",
        family="Inception",
        year=2015,
        paper="arXiv:1502.03167",
        input_shape=(3, 224, 224),
        num_classes=1000,
        form="Caffe",
        recipe=RECIPE,
        published=Published(
            "13.6M",
            "",
            25.2,
            7.8,
            "single crop, validation",
            "section 4.2; errors as Table 2 of 1602.07261 quotes them",
        ),
        deviations="these widths give 11.3M parameters, the paper prints 13.6M; there the first convolution is "
        "separable with depth multiplier 8",
    ),
)
