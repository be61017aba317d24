"""MobileNet v1: VGG's plain stack with every 3x3 convolution split in two, and two numbers that shrink it.

A depthwise 3x3 filters every channel by itself, a pointwise 1x1 mixes the channels: 8 to 9 times fewer multiply-adds
than a 3x3 that does both. ``width`` (alpha) thins every layer, a smaller image (rho) shrinks every map; each acts
about quadratically. ``separable=False`` is the twin with full convolutions (Table 4), fewer ``depths`` the shallow net
(Table 5). The paper has ReLU; the authors' TensorFlow code has ``relu6=True`` and pads at the bottom and right alone
where it strides, here and in the Caffe port all sides have 1. Batch norms are that code's and forget slowly: short
trainings want a larger ``momentum``. Weight names are timm's.

**Math** separable / full = ``(k k M F F + M N F F) / (k k M N F F) = 1/N + 1/k^2``; k filter, F map, M, N channels.
**See** Howard et al., "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications", 2017.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

from minicnn import nn
from minicnn.errors import ArgumentError
from minicnn.models.network import Network
from minicnn.models.spec import Published, Recipe, spec
from minicnn.nn import init
from minicnn.ops.arguments import number
from minicnn.random import Generator

CHANNELS = (64, 128, 256, 512, 1024)  # of the five stages, on maps of 112, 56, 28, 14 and 7

_norm = partial(nn.BatchNorm2d, eps=1e-3, momentum=3e-4)


class DepthwiseSeparable(nn.Module):
    """3x3 on every channel by itself, 1x1 across channels, each with batch norm and ReLU (Figure 3, right)."""

    se: nn.Module | None = None  # see models/senet_mobile.py

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        *,
        activation: Callable[[], nn.Module] = nn.ReLU,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        conv = partial(nn.Conv2d, bias=False, generator=generator)
        self.conv_dw = conv(in_channels, in_channels, 3, stride, padding=1, groups=in_channels)
        self.bn1, self.act1 = _norm(in_channels), activation()
        self.conv_pw = conv(in_channels, out_channels, 1)
        self.bn2, self.act2 = _norm(out_channels), activation()

    def forward(self, x: Any) -> Any:
        x = self.act1(self.bn1(self.conv_dw(x)))
        x = self.act2(self.bn2(self.conv_pw(x)))
        return x if self.se is None else self.se(x)


class FullConvolution(nn.Sequential):
    """What a depthwise separable one stands for: 3x3 across all channels, batch norm, ReLU (Figure 3, left)."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        *,
        activation: Callable[[], nn.Module] = nn.ReLU,
        generator: Generator | None = None,
    ) -> None:
        super().__init__(
            conv=nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False, generator=generator),
            bn=_norm(out_channels),
            act=activation(),
        )


class MobileNetV1(Network):
    """3x3 convolution to 32 channels, five stages of separable convolutions, global mean, linear (Table 1)."""

    stage_paths: ClassVar = {f"stage{i}": f"blocks.{i - 1}" for i in (1, 2, 3, 4, 5)}

    def __init__(
        self,
        *,
        width: float = 1.0,
        depths: tuple[int, int, int, int, int] = (1, 2, 2, 6, 2),
        separable: bool = True,
        relu6: bool = False,
        dropout: float = 0.001,
        num_classes: int = 1000,
        in_channels: int = 3,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        if len(depths) != 5 or min(depths) < 1:
            raise ArgumentError(f"MobileNetV1: depths={depths!r}, expected the numbers of blocks of five stages")
        number("MobileNetV1", "width", width, 1 / 32)
        activation = nn.ReLU6 if relu6 else nn.ReLU
        kind: Callable[..., nn.Module] = DepthwiseSeparable if separable else FullConvolution
        block = partial(kind, activation=activation, generator=generator)
        stem, *widths = (int(channels * width) for channels in (32, *CHANNELS))
        self.conv_stem = nn.Conv2d(in_channels, stem, 3, 2, padding=1, bias=False, generator=generator)
        self.bn1, self.act1 = _norm(stem), activation()
        self.blocks = nn.Sequential()
        for before, channels, depth in zip((stem, *widths), widths, depths, strict=False):
            first = block(before, channels, 2 if self.blocks else 1)
            self.blocks.append(nn.Sequential(first, *(block(channels, channels) for _ in range(depth - 1))))
        self.avgpool, self.flatten = nn.GlobalAvgPool2d(), nn.Flatten()
        self.dropout = nn.Dropout(dropout, generator=generator)
        self.classifier = nn.Linear(widths[-1], num_classes, generator=generator)
        self._initialise(generator)

    def forward(self, x: Any) -> Any:
        x = self.blocks(self.act1(self.bn1(self.conv_stem(x))))
        return self.classifier(self.dropout(self.flatten(self.avgpool(x))))

    def _initialise(self, generator: Generator | None) -> None:
        """The authors' code: normal with deviation 0.09 (theirs without what lies beyond two), biases 0."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                init.normal_(module.weight, 0.0, 0.09, generator=generator)
        if self.classifier.bias is not None:
            init.zeros_(self.classifier.bias)


_CODE = "tensorflow/models, research/slim/nets"
RECIPE = Recipe(
    optimizer="rmsprop",
    lr=0.045,
    batch=64,
    weight_decay=4e-5,
    gamma=0.94,
    augmentation=("random crop, small ones limited",),
    options=(("step_epochs", 2.5), ("decay_depthwise", False), ("dropout", 0.001)),
    source=f"section 3.2; rate, batch, decay and dropout from {_CODE}/mobilenet_v1_train.py and mobilenet_v1.py",
    notes="asynchronous, without label smoothing; the script has plain gradient descent; 6 % less every 2.5 epochs",
)

_mobilenet = partial(
    spec, MobileNetV1, family="MobileNet", year=2017, paper="arXiv:1704.04861", num_classes=1000, recipe=RECIPE
)


def _sized(side: int, width: float, published: Published, **facts: Any) -> Any:
    name = f"mobilenet_v1_{width}_{side}"
    return _mobilenet(name, input_shape=(3, side, side), width=width, published=published, **facts)


def _paper(params: str, macs: str, top1: float) -> Published:
    return Published(params, macs, top1, source="tables 4 to 9, as accuracies")


def _later(params: str, macs: str, top1: float, top5: float) -> Published:
    return Published(params, macs, top1, top5, "single crop", f"{_CODE}/mobilenet_v1.md, as accuracies of 2018's files")


_TABLE_1 = "table 1 prints stride 2 for the last depthwise convolution, whose input and output are both 7x7: it is 1"
_TIMM = f"{_TABLE_1}; timm's network has ReLU6 (relu6=True) and an eps of 1e-5"
_MACS = f"{_TABLE_1}; the published multiply-adds are not those of the layers"

TABLE = (
    _sized(224, 1.0, _paper("4.2M", "569M", 29.4), timm="mobilenetv1_100", deviations=_TIMM),
    _sized(192, 1.0, _paper("4.2M", "418M", 30.9), deviations=_TABLE_1),
    _sized(160, 1.0, _paper("4.2M", "290M", 32.8), deviations=_TABLE_1),
    _sized(128, 1.0, _paper("4.2M", "186M", 35.6), deviations=_TABLE_1),
    _sized(224, 0.75, _paper("2.6M", "325M", 31.6), deviations=_TABLE_1),
    _sized(192, 0.75, _later("2.59M", "233M", 32.8, 12.7), deviations=_MACS),
    _sized(160, 0.75, _later("2.59M", "162M", 34.7, 14.0), deviations=_MACS),
    _sized(128, 0.75, _later("2.59M", "104M", 37.9, 16.1), deviations=_MACS),
    _sized(224, 0.5, _paper("1.3M", "149M", 36.3), deviations=_TABLE_1),
    _sized(192, 0.5, _later("1.34M", "110M", 38.3, 16.4), deviations=_TABLE_1),
    _sized(160, 0.5, _paper("1.32M", "76M", 39.8), deviations=_TABLE_1),
    _sized(128, 0.5, _later("1.34M", "49M", 43.7, 20.6), deviations=_TABLE_1),
    _sized(224, 0.25, _paper("0.5M", "41M", 49.4), deviations=_TABLE_1),
    _sized(192, 0.25, _later("0.47M", "34M", 52.3, 27.7), deviations=_MACS),
    _sized(160, 0.25, _later("0.47M", "21M", 54.5, 29.7), deviations=_TABLE_1),
    _sized(128, 0.25, _later("0.47M", "14M", 58.5, 33.7), deviations=_TABLE_1),
    _mobilenet(
        "conv_mobilenet",
        input_shape=(3, 224, 224),
        separable=False,
        published=_paper("29.3M", "4866M", 28.3),
        deviations="table 4 counts its multiply-adds without the classifier, MobileNet's 569M with it",
    ),
    _mobilenet(
        "shallow_mobilenet",
        input_shape=(3, 224, 224),
        depths=(1, 2, 2, 1, 2),
        published=_paper("2.9M", "307M", 34.7),
        deviations=_TABLE_1,
    ),
)
