"""ShuffleNet v2: half of the channels walk past every unit untouched; designed by measured speed, not by arithmetic.

Four guidelines (section 2): equal channels in and out cost the least memory traffic, groups raise it, branches hinder
parallel work, and elementwise operations are not free. So a unit splits its channels in two, leaves one half alone,
puts the other through 1x1, depthwise 3x3, 1x1 of equal width and no groups, joins the halves without an addition, and
shuffles, so that the next unit's halves hold some of both. After j units ``c / 2^j`` channels are those of the first:
features are reused as in DenseNet, by fewer the further away. A unit with stride 2 splits nothing and doubles.

Weight names and shapes are torchvision's. The authors' code keeps the input's channels in the first branch of a strided
unit and makes the rest in the second; here each branch makes half of the output.

**Math** ``y = shuffle([x1, F(x2)])`` for the halves x1 and x2 of x.
**See** Ma et al., "ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture Design", 2018.
"""

from functools import partial
from typing import Any, ClassVar

from minicnn import nn, ops
from minicnn.errors import ArgumentError
from minicnn.models.network import Network
from minicnn.models.shufflenet_v1 import CODE, RECIPE, check_three, initialise
from minicnn.models.spec import Published, spec
from minicnn.ops.geometry import integer
from minicnn.random import Generator


class ShuffleUnitV2(nn.Module):
    """Half of the channels through 1x1, depthwise 3x3, 1x1; with stride 2 all of them, on both sides (Figure 3c, d)."""

    def __init__(
        self, in_channels: int, out_channels: int, stride: int = 1, *, generator: Generator | None = None
    ) -> None:
        super().__init__()
        conv, half, self.stride = partial(nn.Conv2d, bias=False, generator=generator), out_channels // 2, stride
        self.branch1 = nn.Sequential()
        if stride > 1:
            self.branch1 = nn.Sequential(
                *(
                    conv(in_channels, in_channels, 3, stride, padding=1, groups=in_channels),
                    nn.BatchNorm2d(in_channels),
                ),
                *(conv(in_channels, half, 1), nn.BatchNorm2d(half), nn.ReLU()),
            )
        self.branch2 = nn.Sequential(
            *(conv(in_channels if stride > 1 else half, half, 1), nn.BatchNorm2d(half), nn.ReLU()),
            *(conv(half, half, 3, stride, padding=1, groups=half), nn.BatchNorm2d(half)),
            *(conv(half, half, 1), nn.BatchNorm2d(half), nn.ReLU()),
        )
        self.shuffle = nn.ChannelShuffle(2)

    def forward(self, x: Any) -> Any:
        left, right = ops.chunk(x, 2, 1) if self.stride == 1 else (x, x)
        return self.shuffle(ops.concatenate([self.branch1(left), self.branch2(right)], 1))


class ShuffleNetV2(Network):
    """3x3 convolution and 3x3 pool, three stages of units, 1x1 convolution, global mean, linear (Table 5)."""

    stage_paths: ClassVar = {"stem": "conv1"} | {f"stage{i}": f"stage{i}" for i in (2, 3, 4)}
    cam_path: ClassVar = "conv5"

    def __init__(
        self,
        *,
        channels: tuple[int, int, int, int] = (116, 232, 464, 1024),
        depths: tuple[int, int, int] = (4, 8, 4),
        num_classes: int = 1000,
        in_channels: int = 3,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        check_three("ShuffleNetV2", depths)
        if len(channels) != 4 or any(c % 2 for c in channels[:3]):
            raise ArgumentError(
                f"ShuffleNetV2: channels={channels!r}, expected those of three stages, all even, and of the last 1x1"
            )
        conv = partial(nn.Conv2d, bias=False, generator=generator)
        first, second, third, last = (integer("ShuffleNetV2", "channels", c, 1) for c in channels)
        self.conv1 = nn.Sequential(conv(in_channels, 24, 3, 2, padding=1), nn.BatchNorm2d(24), nn.ReLU())
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.stage2 = _stage(24, first, depths[0], generator)
        self.stage3 = _stage(first, second, depths[1], generator)
        self.stage4 = _stage(second, third, depths[2], generator)
        self.conv5 = nn.Sequential(conv(third, last, 1), nn.BatchNorm2d(last), nn.ReLU())
        self.avgpool, self.flatten = nn.GlobalAvgPool2d(), nn.Flatten()
        self.fc = nn.Linear(last, num_classes, generator=generator)
        initialise(self, self.conv1[0], generator)

    def forward(self, x: Any) -> Any:
        x = self.stage4(self.stage3(self.stage2(self.maxpool(self.conv1(x)))))
        return self.fc(self.flatten(self.avgpool(self.conv5(x))))


def _stage(in_channels: int, out_channels: int, depth: int, generator: Generator | None) -> nn.Sequential:
    """``depth`` units, the first with stride 2."""
    units = [ShuffleUnitV2(in_channels, out_channels, 2, generator=generator)]
    units += [ShuffleUnitV2(out_channels, out_channels, generator=generator) for _ in range(depth - 1)]
    return nn.Sequential(*units)


_shufflenet = partial(
    spec,
    ShuffleNetV2,
    family="ShuffleNet",
    year=2018,
    paper="arXiv:1807.11164",
    input_shape=(3, 224, 224),
    num_classes=1000,
    form="torchvision",
    recipe=RECIPE._replace(
        source=f"'exactly the same as ShuffleNet v1' (section 4): its section 4 and {CODE}, ShuffleNetV1/train.py"
    ),
)
_SPLIT = (
    "strided units split their output evenly, the authors' leave the first branch as wide as the input; they have no "
    "bias in the classifier, and shuffle at the start of a unit"
)


def _printed(params: str, macs: str, top1: float, top5: float) -> Published:
    source = f"{CODE}, ShuffleNetV2/README.md; table 8 has 39.7, 30.6, 27.4 and 25.1"
    return Published(params, macs, top1, top5, "single crop, validation, the authors' code", source)


TABLE = (
    _shufflenet(
        "shufflenet_v2_0.5x",
        channels=(48, 96, 192, 1024),
        published=_printed("1.4M", "41M", 38.9, 17.4),
        torchvision="shufflenet_v2_x0_5",
        deviations=_SPLIT,
    ),
    _shufflenet(
        "shufflenet_v2_1.0x",
        channels=(116, 232, 464, 1024),
        published=_printed("2.3M", "146M", 30.6, 11.1),
        torchvision="shufflenet_v2_x1_0",
        deviations=_SPLIT,
    ),
    _shufflenet(
        "shufflenet_v2_1.5x",
        channels=(176, 352, 704, 1024),
        published=_printed("3.5M", "299M", 27.4, 9.4),
        torchvision="shufflenet_v2_x1_5",
        deviations=_SPLIT,
    ),
    _shufflenet(
        "shufflenet_v2_2.0x",
        channels=(244, 488, 976, 2048),
        published=_printed("7.4M", "591M", 25.0, 7.6),
        torchvision="shufflenet_v2_x2_0",
        deviations=f"{_SPLIT}; theirs has dropout 0.2 here",
    ),
)
