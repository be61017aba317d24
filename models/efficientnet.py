"""EfficientNet: one good small network, and one number that says how much larger it is to be.

B0 was found by MnasNet's search: MobileNetV2's inverted residuals with gates and x sigmoid(x) ("swish"). A larger net
should be deeper, wider and see a larger picture **together**: multiply-adds grow with depth, width^2 and resolution^2,
so phi more of the number doubles them phi times. ``compound_scale`` makes an architecture of an architecture; the
released B1 to B7 have hand-rounded factors (``RELEASED``), not exactly those of ``coefficients``. While training,
residual branches are left out, image by image, ever more often towards the end ("drop connect" in the authors' code).
Weight names and shapes are torchvision's.

**Math** ``depth = alpha^phi, width = beta^phi, resolution = gamma^phi`` with ``alpha beta^2 gamma^2 = 2``, about.
**See** Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", 2019.
"""

import math
from functools import partial
from itertools import count, pairwise
from typing import Any, ClassVar, NamedTuple

from minicnn import nn
from minicnn.errors import ArgumentError
from minicnn.models.mnasnet import initialise
from minicnn.models.mobilenet_v2 import Norm, conv_norm, make_divisible
from minicnn.models.mobilenet_v3 import GatedInvertedResidual
from minicnn.models.network import Network
from minicnn.models.senet import SqueezeExcitation
from minicnn.models.spec import ModelSpec, Published, Recipe, spec
from minicnn.ops.arguments import number
from minicnn.random import Generator


class Stage(NamedTuple):
    """``repeats`` blocks; only the first has the stride and other input channels."""

    expansion: int
    kernel: int
    stride: int
    in_channels: int
    out_channels: int
    repeats: int


class Architecture(NamedTuple):
    """All that scaling changes."""

    stages: tuple[Stage, ...]
    head: int  # channels of the last convolution; the first puts out what the first stage takes
    resolution: int
    dropout: float


B0 = Architecture(
    stages=(
        Stage(1, 3, 1, 32, 16, 1),
        Stage(6, 3, 2, 16, 24, 2),
        Stage(6, 5, 2, 24, 40, 2),
        Stage(6, 3, 2, 40, 80, 3),
        Stage(6, 5, 1, 80, 112, 3),
        Stage(6, 5, 2, 112, 192, 4),
        Stage(6, 3, 1, 192, 320, 1),
    ),
    head=1280,
    resolution=224,
    dropout=0.2,
)


class Coefficients(NamedTuple):
    """What depth, width and resolution are multiplied by."""

    depth: float
    width: float
    resolution: float


def coefficients(phi: float, alpha: float = 1.2, beta: float = 1.1, gamma: float = 1.15) -> Coefficients:
    """The paper's rule, with the constants it found for B0."""
    return Coefficients(alpha**phi, beta**phi, gamma**phi)


def compound_scale(
    base: Architecture,
    *,
    width: float = 1.0,
    depth: float = 1.0,
    resolution: float = 1.0,
    dropout: float | None = None,
) -> Architecture:
    """``base`` with its channels, repeats and resolution multiplied, and another dropout unless None.

    Channels become multiples of 8 (``make_divisible``), repeats are rounded up, the resolution is rounded.
    """
    for name, factor in (("width", width), ("depth", depth), ("resolution", resolution)):
        if number("compound_scale", name, factor, 0) == 0:
            raise ArgumentError(f"compound_scale: {name}={factor!r} leaves nothing, expected a number above 0")

    def scaled(stage: Stage) -> Stage:
        return stage._replace(
            in_channels=make_divisible(stage.in_channels * width),
            out_channels=make_divisible(stage.out_channels * width),
            repeats=math.ceil(stage.repeats * depth),
        )

    return Architecture(
        stages=tuple(scaled(stage) for stage in base.stages),
        head=make_divisible(base.head * width),
        resolution=round(base.resolution * resolution),
        dropout=base.dropout if dropout is None else dropout,
    )


class MBConv(GatedInvertedResidual):
    """An inverted residual with a gate of a quarter of its **input's** channels; ``drop`` leaves the branch out."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        expansion: int,
        kernel_size: int,
        stride: int,
        drop: float = 0.0,
        norm: Norm = nn.BatchNorm2d,
        generator: Generator | None = None,
    ) -> None:
        expanded = in_channels * expansion
        gate = SqueezeExcitation(expanded, max(1, in_channels // 4), activation=nn.SiLU, generator=generator)
        super().__init__(
            in_channels,
            expanded,
            out_channels,
            kernel_size,
            stride,
            activation=nn.SiLU,
            norm=norm,
            gate=gate,
            generator=generator,
        )
        self.stochastic_depth = nn.StochasticDepth(drop if self.residual else 0.0, "row", generator=generator)

    def branch(self, x: Any) -> Any:
        return self.stochastic_depth(self.block(x))


def stage_blocks(stage: Stage, drops: list[float], norm: Norm, generator: Generator | None) -> nn.Sequential:
    """The blocks of a stage; each has its probability of being left out."""
    block = partial(
        MBConv,
        out_channels=stage.out_channels,
        expansion=stage.expansion,
        kernel_size=stage.kernel,
        norm=norm,
        generator=generator,
    )
    rest = (block(stage.out_channels, stride=1, drop=drop) for drop in drops[1:])
    return nn.Sequential(block(stage.in_channels, stride=stage.stride, drop=drops[0]), *rest)


def linear_growth(last: float, stages: tuple[Stage, ...]) -> list[list[float]]:
    """``last * l / L`` for block l of L, from 0, stage by stage."""
    numbers, total = count(), sum(stage.repeats for stage in stages)
    return [[last * next(numbers) / total for _ in range(stage.repeats)] for stage in stages]


def check_architecture(kind: str, architecture: Architecture) -> Architecture:
    stages = architecture.stages
    if len(stages) != len(B0.stages) or min(stage.repeats for stage in stages) < 1:
        raise ArgumentError(f"{kind}: architecture has stages {stages!r}, expected seven with a block or more each")
    for before, after in pairwise(stages):
        if before.out_channels != after.in_channels:
            raise ArgumentError(f"{kind}: architecture has {after!r} after {before!r}, expected the channels to agree")
    return architecture


class EfficientNet(Network):
    """3x3 convolution with stride 2, seven stages, 1x1, mean, dropout, linear.

    Block l of L (from 0) is left out with probability ``stochastic_depth * l / L``; ``eps`` and ``momentum`` are batch
    norm's, by default the authors'.
    """

    stage_paths: ClassVar = {
        "stage1": "features.1",
        "stage2": "features.2",
        "stage3": "features.3",
        "stage4": "features.5",
        "stage5": "features.8",
    }

    def __init__(
        self,
        *,
        architecture: Architecture = B0,
        stochastic_depth: float = 0.2,
        eps: float = 1e-3,
        momentum: float = 0.01,
        num_classes: int = 1000,
        in_channels: int = 3,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        stages = check_architecture("EfficientNet", architecture).stages
        norm = partial(nn.BatchNorm2d, eps=eps, momentum=momentum)
        layer = partial(conv_norm, activation=nn.SiLU, norm=norm, generator=generator)
        drops = linear_growth(number("EfficientNet", "stochastic_depth", stochastic_depth, 0, 1), stages)
        self.features = nn.Sequential(
            layer(in_channels, stages[0].in_channels, 3, 2),
            *(
                stage_blocks(stage, stage_drops, norm, generator)
                for stage, stage_drops in zip(stages, drops, strict=True)
            ),
            layer(stages[-1].out_channels, architecture.head, 1),
        )
        self.avgpool, self.flatten = nn.GlobalAvgPool2d(), nn.Flatten()
        self.classifier = nn.Sequential(
            nn.Dropout(architecture.dropout, generator=generator),
            nn.Linear(architecture.head, num_classes, generator=generator),
        )
        initialise(self, generator)

    def forward(self, x: Any) -> Any:
        return self.classifier(self.flatten(self.avgpool(self.features(x))))


_TPU = "tensorflow/tpu, models/official/efficientnet"
RECIPE = Recipe(
    optimizer="rmsprop",
    lr=0.128,
    batch=2048,
    epochs=350,
    momentum=0.9,
    weight_decay=1e-5,
    gamma=0.97,
    options=(
        *(("step_epochs", 2.4), ("warmup_epochs", 5), ("alpha", 0.9), ("eps", 1e-3), ("label_smoothing", 0.1)),
        *(("stochastic_depth", 0.2), ("polyak_averaging", True)),
    ),
    source=f"{_TPU}: main.py, utils.py",
    notes="dropout grows from 0.2 to 0.5 with the net; batch norms do not decay; AutoAugment made all of them better",
)

# width, depth, resolution and dropout, as efficientnet_builder.py has them
FACTORS = {
    "b0": (1.0, 1.0, 224, 0.2),
    "b1": (1.0, 1.1, 240, 0.2),
    "b2": (1.1, 1.2, 260, 0.3),
    "b3": (1.2, 1.4, 300, 0.3),
    "b4": (1.4, 1.8, 380, 0.4),
    "b5": (1.6, 2.2, 456, 0.4),
    "b6": (1.8, 2.6, 528, 0.5),
    "b7": (2.0, 3.1, 600, 0.5),
    "b8": (2.2, 3.6, 672, 0.5),
}
RELEASED = {
    name: compound_scale(B0, width=width, depth=depth, resolution=side / B0.resolution, dropout=dropout)
    for name, (width, depth, side, dropout) in FACTORS.items()
}


def _row(name: str, **facts: Any) -> ModelSpec:
    side = RELEASED[name].resolution
    return spec(
        EfficientNet,
        f"efficientnet_{name}",
        family="EfficientNet",
        year=2019,
        input_shape=(3, side, side),
        num_classes=1000,
        architecture=RELEASED[name],
        **facts,
    )


_README = f"{_TPU}/README.md"
_printed = partial(Published, protocol="validation", source=f"the paper; errors as {_README} quotes them")
_PADDING = "strides pad both sides, the authors' as TensorFlow's SAME does"
_to_b7 = partial(_row, paper="arXiv:1905.11946", form="torchvision", recipe=RECIPE, deviations=_PADDING)
_to_b4 = partial(
    _to_b7,
    eps=1e-5,
    momentum=0.1,
    deviations=f"batch norm has eps 1e-5 and momentum 0.1, the authors' 1e-3 and 0.01; {_PADDING}",
)

TABLE = (
    _to_b4("b0", torchvision="efficientnet_b0", published=_printed("5.3M", "0.39B", 23.7)),
    _to_b4("b1", torchvision="efficientnet_b1", published=_printed("7.8M", "0.70B", 21.2)),
    _to_b4("b2", torchvision="efficientnet_b2", published=_printed("9.2M", "1.0B", 20.2)),
    _to_b4("b3", torchvision="efficientnet_b3", published=_printed("12M", "1.8B", 18.9)),
    _to_b4("b4", torchvision="efficientnet_b4", published=_printed("19M", "4.2B", 17.4)),
    _to_b7("b5", torchvision="efficientnet_b5", published=_printed("30M", "9.9B", 16.7)),
    _to_b7("b6", torchvision="efficientnet_b6", published=_printed("43M", "19B")),
    _to_b7("b7", torchvision="efficientnet_b7", published=_printed("66M", "37B", 15.6, 2.9)),
    _row(
        "b8",
        paper="arXiv:1911.09665",
        form="authors' code",
        published=Published(top1_error=14.5, protocol="AdvProp and AutoAugment, validation", source=_README),
        deviations=_PADDING,
    ),
)
