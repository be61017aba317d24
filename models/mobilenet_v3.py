"""MobileNetV3: the inverted residuals of V2, widths and kernels found by search, gates and a cheap swish.

Blocks differ in kernel, width, gate (squeeze and excitation with a hard sigmoid, on a quarter of the wide channels) and
activation: ReLU where maps are large, h-swish where they are small and an activation is cheap. The first convolution
has half as many channels as V2's, and the widest layer comes after the mean. ``minimal=True`` is the authors'
minimalistic net: no gates, no h-swish, no 5x5. Weight names and shapes are torchvision's.

Other widths follow the authors' code: a block widens its own input by the ratio of Table 1 or 2, and the last layer
keeps its 1280 (1024) units. torchvision multiplies both by ``width_mult``.

**Math** ``h-swish(x) = x relu6(x + 3) / 6``, ``hard sigmoid(x) = relu6(x + 3) / 6``.
**See** Howard et al., "Searching for MobileNetV3", 2019.
"""

from functools import partial
from typing import Any, ClassVar, NamedTuple

from minicnn import nn
from minicnn.models.mobilenet_v2 import InvertedResidual, check_width, conv_norm, initialise, make_divisible
from minicnn.models.network import Network
from minicnn.models.senet import SqueezeExcitation
from minicnn.models.spec import Published, spec
from minicnn.random import Generator

batch_norm = partial(nn.BatchNorm2d, eps=1e-3, momentum=0.01)


class GatedInvertedResidual(InvertedResidual):
    """V2's block under the names that torchvision has for V3 and EfficientNet: one entry of ``block`` a layer."""

    def keep(self, layers: list[nn.Module], projection: nn.Sequential) -> None:
        self.block = nn.Sequential(*layers, projection)

    def branch(self, x: Any) -> Any:
        return self.block(x)


class Bneck(NamedTuple):
    """A row of Table 1 or 2."""

    kernel: int
    expanded: int
    channels: int
    gate: bool
    activation: type[nn.Module]
    stride: int


RE, HS = nn.ReLU, nn.Hardswish


class MobileNetV3(Network):
    """3x3 convolution with stride 2, blocks, 1x1 to six times as many channels, mean, two linear layers.

    ``MobileNetV3Large`` and ``MobileNetV3Small`` have the blocks.
    """

    blocks: ClassVar[tuple[Bneck, ...]]
    last: ClassVar[int]  # units after the mean

    def __init__(
        self,
        *,
        width_mult: float = 1.0,
        minimal: bool = False,
        dropout: float = 0.2,
        num_classes: int = 1000,
        in_channels: int = 3,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        width = check_width(type(self).__name__, width_mult)
        swish = RE if minimal else HS
        layer = partial(conv_norm, activation=swish, norm=batch_norm, generator=generator)
        planned, channels = 16, make_divisible(16 * width)  # at width 1, and here
        features: list[nn.Module] = [layer(in_channels, channels, 3, 2)]
        for row in self.blocks:
            expanded = make_divisible(channels * (row.expanded / planned))
            planned, before, channels = row.channels, channels, make_divisible(row.channels * width)
            features.append(self._block(row, before, expanded, channels, minimal, generator))
        wide = make_divisible(6 * planned * width)
        self.features = nn.Sequential(*features, layer(channels, wide, 1))
        self.avgpool, self.flatten = nn.GlobalAvgPool2d(), nn.Flatten()
        linear = partial(nn.Linear, generator=generator)
        self.classifier = nn.Sequential(
            linear(wide, self.last), swish(), nn.Dropout(dropout, generator=generator), linear(self.last, num_classes)
        )
        initialise(self, generator)

    @staticmethod
    def _block(
        row: Bneck, in_channels: int, expanded: int, out_channels: int, minimal: bool, generator: Generator | None
    ) -> nn.Module:
        gate = None
        if row.gate and not minimal:
            squeezed = make_divisible(expanded // 4)
            gate = SqueezeExcitation(expanded, squeezed, gate=nn.Hardsigmoid, generator=generator)
        return GatedInvertedResidual(
            in_channels,
            expanded,
            out_channels,
            3 if minimal else row.kernel,
            row.stride,
            activation=RE if minimal else row.activation,
            norm=batch_norm,
            gate=gate,
            generator=generator,
        )

    def forward(self, x: Any) -> Any:
        return self.classifier(self.flatten(self.avgpool(self.features(x))))


class MobileNetV3Large(MobileNetV3):
    """15 blocks (Table 1)."""

    stage_paths: ClassVar = {
        "stage1": "features.1",
        "stage2": "features.3",
        "stage3": "features.6",
        "stage4": "features.12",
        "stage5": "features.16",
    }
    last = 1280
    blocks = (
        Bneck(3, 16, 16, False, RE, 1),
        Bneck(3, 64, 24, False, RE, 2),
        Bneck(3, 72, 24, False, RE, 1),
        Bneck(5, 72, 40, True, RE, 2),
        Bneck(5, 120, 40, True, RE, 1),
        Bneck(5, 120, 40, True, RE, 1),
        Bneck(3, 240, 80, False, HS, 2),
        Bneck(3, 200, 80, False, HS, 1),
        Bneck(3, 184, 80, False, HS, 1),
        Bneck(3, 184, 80, False, HS, 1),
        Bneck(3, 480, 112, True, HS, 1),
        Bneck(3, 672, 112, True, HS, 1),
        Bneck(5, 672, 160, True, HS, 2),
        Bneck(5, 960, 160, True, HS, 1),
        Bneck(5, 960, 160, True, HS, 1),
    )


class MobileNetV3Small(MobileNetV3):
    """11 blocks (Table 2)."""

    stage_paths: ClassVar = {
        "stem": "features.0",
        "stage1": "features.1",
        "stage2": "features.3",
        "stage3": "features.8",
        "stage4": "features.12",
    }
    last = 1024
    blocks = (
        Bneck(3, 16, 16, True, RE, 2),
        Bneck(3, 72, 24, False, RE, 2),
        Bneck(3, 88, 24, False, RE, 1),
        Bneck(5, 96, 40, True, HS, 2),
        Bneck(5, 240, 40, True, HS, 1),
        Bneck(5, 240, 40, True, HS, 1),
        Bneck(5, 120, 48, True, HS, 1),
        Bneck(5, 144, 48, True, HS, 1),
        Bneck(5, 288, 96, True, HS, 2),
        Bneck(5, 576, 96, True, HS, 1),
        Bneck(5, 576, 96, True, HS, 1),
    )


_PADDING = "strides pad both sides, the authors' as TensorFlow's SAME does"
_v3 = partial(
    spec,
    family="MobileNet",
    year=2019,
    paper="arXiv:1905.02244",
    num_classes=1000,
    deviations=_PADDING,
)
_large, _small = partial(_v3, MobileNetV3Large), partial(_v3, MobileNetV3Small)
_torchvision_large, _torchvision_small = partial(_large, form="torchvision"), partial(_small, form="torchvision")
_authors_large, _authors_small = partial(_large, form="authors' code"), partial(_small, form="authors' code")
_224 = (3, 224, 224)


def _printed(params: str, macs: str, right: float) -> Published:
    source = "tensorflow/models, research/slim/nets/mobilenet/README.md"
    return Published(params, macs, round(100 - right, 1), None, "validation", source)


TABLE = (
    _torchvision_large("mobilenet_v3_large_1.0_256", input_shape=(3, 256, 256)),
    _torchvision_large(
        "mobilenet_v3_large_1.0_224",
        input_shape=_224,
        torchvision="mobilenet_v3_large",
        published=_printed("5.4M", "217M", 75.2),
    ),
    _torchvision_large("mobilenet_v3_large_1.0_192", input_shape=(3, 192, 192)),
    _torchvision_large("mobilenet_v3_large_1.0_160", input_shape=(3, 160, 160)),
    _torchvision_large("mobilenet_v3_large_1.0_128", input_shape=(3, 128, 128)),
    _torchvision_large("mobilenet_v3_large_1.0_96", input_shape=(3, 96, 96)),
    _authors_large(
        "mobilenet_v3_large_0.75_224", width_mult=0.75, input_shape=_224, published=_printed("4.0M", "155M", 73.3)
    ),
    _authors_large(
        "mobilenet_v3_large_minimal", minimal=True, input_shape=_224, published=_printed("3.9M", "209M", 72.3)
    ),
    _torchvision_small("mobilenet_v3_small_1.0_256", input_shape=(3, 256, 256)),
    _torchvision_small(
        "mobilenet_v3_small_1.0_224",
        input_shape=_224,
        torchvision="mobilenet_v3_small",
        published=_printed("2.9M", "66M", 67.5),
        deviations=f"the counts printed are those of the paper's first version, the last has 2.5M and 56M; {_PADDING}",
    ),
    _torchvision_small("mobilenet_v3_small_1.0_192", input_shape=(3, 192, 192)),
    _torchvision_small("mobilenet_v3_small_1.0_160", input_shape=(3, 160, 160)),
    _torchvision_small("mobilenet_v3_small_1.0_128", input_shape=(3, 128, 128)),
    _torchvision_small("mobilenet_v3_small_1.0_96", input_shape=(3, 96, 96)),
    _authors_small(
        "mobilenet_v3_small_0.75_224", width_mult=0.75, input_shape=_224, published=_printed("2.4M", "44M", 65.4)
    ),
    _authors_small(
        "mobilenet_v3_small_minimal", minimal=True, input_shape=_224, published=_printed("2.0M", "65M", 61.9)
    ),
)
