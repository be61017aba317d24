"""MobileNetV2: residual blocks turned inside out, thin where they are added and wide in between.

A block widens its input t-fold with a 1x1, filters every channel by itself (depthwise 3x3) and goes back to few
channels with a 1x1 that **no activation follows**: a ReLU on few channels throws information away ("linear
bottleneck"), on many it need not. Thin ends are added, where stride and channels allow. A block with t = 1 has no first
1x1. ``InvertedResidual`` is the block of MobileNetV3, MnasNet and EfficientNet too.

``width_mult`` multiplies all channels but the last 1280, which only grow; ``make_divisible`` rounds them. The networks
of smaller pictures are the same networks. Weight names and shapes are torchvision's.

**Math** ``y = x + P(r(D(r(E(x)))))``, r(x) = min(max(x, 0), 6); E to t C channels, D depthwise, P to C, each with batch
norm. **See** Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", 2018.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, NamedTuple

from minicnn import nn
from minicnn.errors import ArgumentError
from minicnn.models.network import Network
from minicnn.models.resnet import he_initialise
from minicnn.models.spec import ModelSpec, Published, Recipe, spec
from minicnn.nn import init
from minicnn.ops.arguments import number
from minicnn.random import Generator

Norm = Callable[[int], nn.Module]  # builds the batch norm of so many channels


def make_divisible(channels: float, divisor: int = 8) -> int:
    """The nearest multiple of ``divisor`` (halves go up), at least one; the next where that loses more than 10 %."""
    nearest = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return nearest + divisor if nearest < 0.9 * channels else nearest


def check_width(kind: str, width_mult: float) -> float:
    if number(kind, "width_mult", width_mult, 0) == 0:
        raise ArgumentError(f"{kind}: width_mult={width_mult!r} leaves no channels, expected a number above 0")
    return width_mult


def conv_norm(
    in_channels: int,
    out_channels: int,
    kernel_size: int = 3,
    stride: int = 1,
    *,
    groups: int = 1,
    activation: Callable[[], nn.Module] | None,
    norm: Norm = nn.BatchNorm2d,
    generator: Generator | None,
) -> nn.Sequential:
    """Convolution that keeps the size but for its stride, batch norm and, unless None, an activation."""
    conv = nn.Conv2d(
        in_channels,
        out_channels,
        kernel_size,
        stride,
        padding=kernel_size // 2,
        groups=groups,
        bias=False,
        generator=generator,
    )
    return nn.Sequential(conv, norm(out_channels), *([] if activation is None else [activation()]))


class InvertedResidual(nn.Module):
    """1x1 to ``expanded`` channels, unless there are as many already; depthwise; ``gate``, if any; 1x1, no activation.

    **Shapes** (N, in_channels, H, W) -> (N, out_channels, H, W), or half as high and wide with ``stride=2``. The input
    is added where it has the shape of the output.
    """

    def __init__(
        self,
        in_channels: int,
        expanded: int,
        out_channels: int,
        kernel_size: int = 3,
        stride: int = 1,
        *,
        activation: Callable[[], nn.Module] = nn.ReLU6,
        norm: Norm = nn.BatchNorm2d,
        gate: nn.Module | None = None,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        if stride not in (1, 2):
            raise ArgumentError(f"{type(self).__name__}: stride={stride!r}, expected 1 or 2")
        layer = partial(conv_norm, norm=norm, generator=generator)
        layers: list[nn.Module] = []
        if expanded != in_channels:
            layers.append(layer(in_channels, expanded, 1, activation=activation))
        layers.append(layer(expanded, expanded, kernel_size, stride, groups=expanded, activation=activation))
        if gate is not None:
            layers.append(gate)
        self.residual = stride == 1 and in_channels == out_channels
        self.keep(layers, layer(expanded, out_channels, 1, activation=None))

    def keep(self, layers: list[nn.Module], projection: nn.Sequential) -> None:
        """Give the layers their names in the state dict, which are other ones in every network of torchvision."""
        self.conv = nn.Sequential(*layers, *projection)

    def branch(self, x: Any) -> Any:
        return self.conv(x)

    def forward(self, x: Any) -> Any:
        return x + self.branch(x) if self.residual else self.branch(x)


class Stage(NamedTuple):
    """A row of Table 2: ``repeats`` blocks of the same width, the first with ``stride``."""

    expansion: int
    channels: int
    repeats: int
    stride: int


STAGES = (
    Stage(1, 16, 1, 1),
    Stage(6, 24, 2, 2),
    Stage(6, 32, 3, 2),
    Stage(6, 64, 4, 2),
    Stage(6, 96, 3, 1),
    Stage(6, 160, 3, 2),
    Stage(6, 320, 1, 1),
)


class MobileNetV2(Network):
    """3x3 convolution with stride 2, 17 inverted residual blocks, 1x1 to 1280 channels, mean, dropout, linear."""

    stage_paths: ClassVar = {
        "stage1": "features.1",
        "stage2": "features.3",
        "stage3": "features.6",
        "stage4": "features.13",
        "stage5": "features.18",
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
        width = check_width("MobileNetV2", width_mult)
        layer = partial(conv_norm, activation=nn.ReLU6, generator=generator)
        channels, last = make_divisible(32 * width), make_divisible(1280 * max(width, 1.0))
        features: list[nn.Module] = [layer(in_channels, channels, 3, 2)]
        for stage in STAGES:
            for index in range(stage.repeats):
                before, channels = channels, make_divisible(stage.channels * width)
                stride = 1 if index else stage.stride
                expanded = before * stage.expansion
                features.append(InvertedResidual(before, expanded, channels, 3, stride, generator=generator))
        self.features = nn.Sequential(*features, layer(channels, last, 1))
        self.avgpool, self.flatten = nn.GlobalAvgPool2d(), nn.Flatten()
        self.classifier = nn.Sequential(
            nn.Dropout(dropout, generator=generator), nn.Linear(last, num_classes, generator=generator)
        )
        initialise(self, generator)

    def forward(self, x: Any) -> Any:
        return self.classifier(self.flatten(self.avgpool(self.features(x))))


def initialise(model: nn.Module, generator: Generator | None) -> None:
    """torchvision's: variance 2 / fan_out for convolutions, deviation 0.01 for linear layers, biases 0."""
    he_initialise(model, generator)
    for module in model.modules():
        if isinstance(module, nn.Linear):
            init.normal_(module.weight, 0.0, 0.01, generator)
            if module.bias is not None:
                init.zeros_(module.bias)


_SLIM = "tensorflow/models, research/slim"
RECIPE = Recipe(
    optimizer="rmsprop",
    lr=0.045,
    batch=96,
    momentum=0.9,
    weight_decay=4e-5,
    gamma=0.98,
    augmentation=("Inception",),
    options=(
        *(("step_epochs", 2.5), ("alpha", 0.9), ("eps", 1.0), ("label_smoothing", 0.1)),
        *(("dropout", 0.2), ("polyak_averaging", True)),
    ),
    source=f"{_SLIM}: nets/mobilenet/README.md, nets/mobilenet/mobilenet.py, train_image_classifier.py",
    notes="batch and rate of one GPU of up to 8, each of which adds its rate; 5.5M steps on one",
)


# width_mult, side of the picture, parameters, multiply-adds, per cent right and right among five.
_PRINTED = (
    (1.4, 224, "6.06M", "582M", 75.0, 92.5),
    (1.3, 224, "5.34M", "509M", 74.4, 92.1),
    (1.0, 224, "3.47M", "300M", 71.8, 91.0),
    (1.0, 192, "3.47M", "221M", 70.7, 90.1),
    (1.0, 160, "3.47M", "154M", 68.8, 89.0),
    (1.0, 128, "3.47M", "99M", 65.3, 86.9),
    (1.0, 96, "3.47M", "56M", 60.3, 83.2),
    (0.75, 224, "2.61M", "209M", 69.8, 89.6),
    (0.75, 192, "2.61M", "153M", 68.7, 88.9),
    (0.75, 160, "2.61M", "107M", 66.4, 87.3),
    (0.75, 128, "2.61M", "69M", 63.2, 85.3),
    (0.75, 96, "2.61M", "39M", 58.8, 81.6),
    (0.5, 224, "1.95M", "97M", 65.4, 86.4),
    (0.5, 192, "1.95M", "71M", 63.9, 85.4),
    (0.5, 160, "1.95M", "50M", 61.0, 83.2),
    (0.5, 128, "1.95M", "32M", 57.7, 80.8),
    (0.5, 96, "1.95M", "18M", 51.2, 75.8),
    (0.35, 224, "1.66M", "59M", 60.3, 82.9),
    (0.35, 192, "1.66M", "43M", 58.2, 81.2),
    (0.35, 160, "1.66M", "30M", 55.7, 79.1),
    (0.35, 128, "1.66M", "20M", 50.8, 75.0),
    (0.35, 96, "1.66M", "11M", 45.5, 70.4),
)


def _row(width: float, side: int, params: str, macs: str, top1: float, top5: float) -> ModelSpec:
    source = f"{_SLIM}/nets/mobilenet/README.md"
    return spec(
        MobileNetV2,
        f"mobilenet_v2_{width}_{side}",
        width_mult=width,
        family="MobileNet",
        year=2018,
        paper="arXiv:1801.04381",
        input_shape=(3, side, side),
        num_classes=1000,
        form="torchvision",
        published=Published(params, macs, round(100 - top1, 1), round(100 - top5, 1), "validation", source),
        recipe=RECIPE,
        torchvision="mobilenet_v2" if (width, side) == (1.0, 224) else f"MobileNetV2(width_mult={width})",
        deviations="batch norm has eps 1e-5 and momentum 0.1, the authors' 1e-3 and 0.003; strides pad both sides, "
        "theirs as TensorFlow's SAME does",
    )


TABLE = tuple(_row(*line) for line in _PRINTED)
