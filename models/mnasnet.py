"""MnasNet: the inverted residuals of MobileNetV2, kernels and widths found by a search that times phones.

A controller proposes networks block by block; each is trained a little and timed on a phone, and accuracy is weighed
against latency. What it found mixes 3x3 with 5x5 filters and widens three- or six-fold. These are the B1 nets, without
gates; A1, the better one of the paper, has some. ``width_mult`` multiplies all channels but the last 1280. Weight names
and shapes are torchvision's.

**Math** the search maximises ``accuracy (latency / target)^w`` with w = -0.07.
**See** Tan et al., "MnasNet: Platform-Aware Neural Architecture Search for Mobile", 2018.
"""

import math
from functools import partial
from typing import Any, ClassVar

from minicnn import nn
from minicnn.models.mobilenet_v2 import InvertedResidual, check_width, conv_norm, make_divisible
from minicnn.models.network import Network
from minicnn.models.spec import Published, Recipe, spec
from minicnn.nn import init
from minicnn.random import Generator

batch_norm = partial(nn.BatchNorm2d, momentum=1 - 0.9997)


class FlatInvertedResidual(InvertedResidual):
    """V2's block with ReLU, under torchvision's names: all layers in one list."""

    def keep(self, layers: list[nn.Module], projection: nn.Sequential) -> None:
        self.layers = flat(*layers, projection)

    def branch(self, x: Any) -> Any:
        return self.layers(x)


def flat(*parts: Any) -> nn.Sequential:
    """The layers of all ``parts``, one after the other."""
    return nn.Sequential(*(layer for part in parts for layer in part))


# expansion, kernel, stride, channels, blocks of a stage; 3x3, without expansion to 16 channels, is before them
STAGES = ((3, 3, 2, 24, 3), (3, 5, 2, 40, 3), (6, 5, 2, 80, 3), (6, 3, 1, 96, 2), (6, 5, 2, 192, 4), (6, 3, 1, 320, 1))


class MnasNet(Network):
    """3x3 convolution with stride 2, a depthwise separable one, six stages, 1x1 to 1280 channels, mean, linear."""

    stage_paths: ClassVar = {
        "stage1": "layers.7",
        "stage2": "layers.8",
        "stage3": "layers.9",
        "stage4": "layers.11",
        "stage5": "layers.16",
    }

    def __init__(
        self,
        *,
        width_mult: float = 1.0,
        dropout: float = 0.2,
        num_classes: int = 1000,
        in_channels: int = 3,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        width = check_width("MnasNet", width_mult)
        layer = partial(conv_norm, activation=nn.ReLU, norm=batch_norm, generator=generator)
        first, channels = make_divisible(32 * width), make_divisible(16 * width)
        stem = flat(
            layer(in_channels, first, 3, 2),
            layer(first, first, 3, groups=first),
            layer(first, channels, 1, activation=None),
        )
        stages: list[nn.Module] = []
        for expansion, kernel, stride, planned, repeats in STAGES:
            before, channels = channels, make_divisible(planned * width)
            block = partial(
                FlatInvertedResidual,
                out_channels=channels,
                kernel_size=kernel,
                activation=nn.ReLU,
                norm=batch_norm,
                generator=generator,
            )
            rest = (block(channels, channels * expansion) for _ in range(repeats - 1))
            stages.append(nn.Sequential(block(before, before * expansion, stride=stride), *rest))
        self.layers = nn.Sequential(*stem, *stages, *layer(channels, 1280, 1))
        self.avgpool, self.flatten = nn.GlobalAvgPool2d(), nn.Flatten()
        self.classifier = nn.Sequential(
            nn.Dropout(dropout, generator=generator), nn.Linear(1280, num_classes, generator=generator)
        )
        initialise(self, generator)

    def forward(self, x: Any) -> Any:
        return self.classifier(self.flatten(self.avgpool(self.layers(x))))


def initialise(model: nn.Module, generator: Generator | None) -> None:
    """The authors': normal with variance 2 / fan_out, which is k^2 of a depthwise filter; linear layers uniform on
    +- 1 / sqrt(classes); biases 0."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            fan_out = init.fans(module.weight)[1] // module.groups
            init.normal_(module.weight, 0.0, math.sqrt(2 / fan_out), generator)
        elif isinstance(module, nn.Linear):
            bound = 1 / math.sqrt(module.out_features)
            init.uniform_(module.weight, -bound, bound, generator)
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            init.zeros_(module.bias)


_TPU = "tensorflow/tpu, models/official"
RECIPE = Recipe(
    optimizer="rmsprop",
    lr=0.064,
    batch=1024,
    epochs=350,
    momentum=0.9,
    weight_decay=1e-5,
    gamma=0.97,
    options=(
        *(("step_epochs", 2.4), ("warmup_epochs", 5), ("alpha", 0.9), ("eps", 1e-3), ("label_smoothing", 0.1)),
        *(("dropout", 0.2), ("polyak_averaging", True)),
    ),
    source=f"{_TPU}/mnasnet: mnasnet_main.py, mnasnet_utils.py",
    notes="that of A1; batch norms do not decay",
)


def _measured(params: str, macs: str, top1: float, top5: float) -> Published:
    source = "torchvision/models/mnasnet.py, which prints how many are right"
    return Published(params, macs, round(100 - top1, 3), round(100 - top5, 3), "centre crop 224, validation", source)


_b1 = partial(
    spec,
    MnasNet,
    family="NAS",
    year=2018,
    paper="arXiv:1807.11626",
    input_shape=(3, 224, 224),
    num_classes=1000,
    form="torchvision",
    recipe=RECIPE,
    deviations="batch norm has eps 1e-5 and momentum 0.0003, the authors' code 1e-3 and 0.01; strides pad both sides, "
    "there as TensorFlow's SAME does",
)

TABLE = (
    _b1(
        "mnasnet0_5",
        width_mult=0.5,
        torchvision="mnasnet0_5",
        published=_measured("2218512", "0.104G", 67.734, 87.490),
    ),
    _b1(
        "mnasnet0_75",
        width_mult=0.75,
        torchvision="mnasnet0_75",
        published=_measured("3170208", "0.215G", 71.180, 90.496),
    ),
    _b1(
        "mnasnet1_0",
        width_mult=1.0,
        torchvision="mnasnet1_0",
        published=_measured("4383312", "0.314G", 73.456, 91.510),
    ),
    _b1(
        "mnasnet1_3",
        width_mult=1.3,
        torchvision="mnasnet1_3",
        published=_measured("6282256", "0.526G", 76.506, 93.522),
    ),
)
