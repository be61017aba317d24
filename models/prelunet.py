"""PReLU-nets: rectifiers that learn their slope below zero, and initial weights that take the slope into account.

A PReLU has one slope a channel, which starts at 0.25 and is trained with the weights. No weight decay should reach the
slopes: it would push them to 0, which is a ReLU.

Initial weights: if the variance of the responses is to stay the same from layer to layer, a weight of a layer with n
inputs must have the variance 2 / ((1 + a^2) n). With a = 0, a ReLU, half of the response is lost and 2 / n makes up for
it; with a = 1, a linear layer, nothing is. This lets nets of 19 and 22 layers train from scratch, without batch norm.

The nets are wide; spatial pyramid pooling takes the maximum of 7x7, 3x3, 2x2 and 1x1 parts of the last maps, whatever
their size, and hands 63 numbers a channel to three fully connected layers.

**Math** ``prelu(x) = max(x, 0) + a min(x, 0)``, a a channel; ``std(W) = sqrt(2 / ((1 + a^2) n))``.
**See** He et al., "Delving Deep into Rectifiers", 2015, Table 3.
"""

from functools import partial
from typing import Any, ClassVar

from minicnn import nn, ops
from minicnn.errors import ArgumentError
from minicnn.models.network import Network
from minicnn.models.spec import Published, spec
from minicnn.nn import init
from minicnn.ops.geometry import integer
from minicnn.random import Generator

SLOPE = 0.25


class SpatialPyramidPooling(nn.Module):
    """The maxima of a map's parts, for several grids. **Shapes** (N, C, H, W) -> (N, C * sum of squared levels)."""

    printed = ("levels",)

    def __init__(self, levels: tuple[int, ...] = (7, 3, 2, 1)) -> None:
        super().__init__()
        self.levels = tuple(integer("SpatialPyramidPooling", "levels", level, 1) for level in levels)
        if not self.levels:
            raise ArgumentError("SpatialPyramidPooling: levels=(), expected at least one grid, such as (7, 3, 2, 1)")

    def forward(self, x: Any) -> Any:
        return ops.concatenate([ops.flatten(ops.adaptive_max_pool2d(x, level), 1) for level in self.levels], 1)


class PReLUNet(Network):
    """7x7 convolution with stride 2, three stages of ``depth`` 3x3 convolutions after a 2x2 pool each, the pyramid,
    and two layers of 4096 units with dropout before the classes. A PReLU after every layer but the last.
    """

    stage_paths: ClassVar = {"stem": "stem.prelu"} | {f"stage{i}": f"stage{i}" for i in (1, 2, 3)}

    def __init__(
        self,
        *,
        depth: int = 5,
        widths: tuple[int, int, int] = (256, 512, 512),
        levels: tuple[int, ...] = (7, 3, 2, 1),
        units: int = 4096,
        dropout: float = 0.5,
        num_classes: int = 1000,
        in_channels: int = 3,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        integer("PReLUNet", "depth", depth, 1)
        if len(widths) != 3:
            raise ArgumentError(f"PReLUNet: widths={widths!r}, expected the channels of three stages")
        conv, linear = partial(nn.Conv2d, generator=generator), partial(nn.Linear, generator=generator)

        def stage(before: int, width: int) -> nn.Sequential:
            layers = nn.Sequential()
            for i in range(1, depth + 1):
                layers.add_module(f"conv{i}", conv(before if i == 1 else width, width, 3, padding=1))
                layers.add_module(f"prelu{i}", nn.PReLU(width, SLOPE))
            return layers

        self.stem = nn.Sequential(conv=conv(in_channels, 96, 7, 2, 3), prelu=nn.PReLU(96, SLOPE))
        self.pool = nn.MaxPool2d(2)
        self.stage1 = stage(96, widths[0])
        self.stage2 = stage(widths[0], widths[1])
        self.stage3 = stage(widths[1], widths[2])
        self.spp = SpatialPyramidPooling(levels)
        self.fc1 = linear(widths[2] * sum(level**2 for level in levels), units)
        self.fc2, self.fc3 = linear(units, units), linear(units, num_classes)
        self.prelu1, self.prelu2 = nn.PReLU(units, SLOPE), nn.PReLU(units, SLOPE)
        self.drop1, self.drop2 = nn.Dropout(dropout, generator=generator), nn.Dropout(dropout, generator=generator)
        self._initialise(generator)

    def _initialise(self, generator: Generator | None) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
                init.kaiming_normal_(module.weight, SLOPE, generator=generator)
                init.zeros_(module.bias)

    def forward(self, x: Any) -> Any:
        x = self.stage1(self.pool(self.stem(x)))
        x = self.stage3(self.pool(self.stage2(self.pool(x))))
        x = self.drop1(self.prelu1(self.fc1(self.spp(x))))
        return self.fc3(self.drop2(self.prelu2(self.fc2(x))))


_prelunet = partial(
    spec,
    PReLUNet,
    family="PReLU-net",
    year=2015,
    paper="arXiv:1502.01852 Table 3",
    input_shape=(3, 224, 224),
    num_classes=1000,
    deviations="the parts of the pyramid are those of adaptive pooling; the fully connected layers too have a slope a "
    "unit, and He's weights",
)
_printed = partial(Published, source="table 3, as tests/reference/catalog.tsv quotes it")

TABLE = (
    _prelunet("prelunet_a", depth=5, widths=(256, 512, 512), published=_printed(macs="19.0G")),
    _prelunet("prelunet_b", depth=6, widths=(256, 512, 512), published=_printed(macs="23.2G")),
    _prelunet("prelunet_c", depth=6, widths=(384, 768, 896), published=_printed(macs="53.0G")),
)
