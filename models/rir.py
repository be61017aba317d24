"""RiR, "ResNet in ResNet": two streams, of which one has shortcuts and the other has none.

A ResNet only ever adds to what it carries; it is hard to forget. Here half of the channels are a *residual* stream r,
with a shortcut at every layer, and half a *transient* stream t, plain convolutions that keep nothing. Filters from each
stream to both let them exchange features. Without the transient stream it is a ResNet with one convolution a block,
without the residual one a plain net.

The streams travel side by side in one tensor (r first), so a unit is one 3x3 convolution, whose weight has four blocks
``[[W_rr, W_tr], [W_rt, W_tt]]``, and a shortcut for half of its channels: no more work than a plain layer.

**Math** ``r' = relu(BN(W_rr r + W_tr t + s(r)))``, ``t' = relu(BN(W_rt r + W_tt t))``; s is the identity, or a 1x1
convolution where the shape changes.
**See** Targ, Almeida and Lyman, "Resnet in Resnet: Generalizing Residual Architectures", 2016.
"""

import math
from typing import Any, ClassVar

from minicnn import nn, ops
from minicnn.errors import ArgumentError
from minicnn.models.network import Network
from minicnn.models.spec import spec
from minicnn.nn import init
from minicnn.ops.geometry import integer
from minicnn.random import Generator


class GeneralizedResidual(nn.Module):
    """A layer of both streams, ``in_channels`` and ``channels`` wide each.

    **Shapes** (N, 2 in_channels, H, W) -> (N, 2 channels, H / stride, W / stride).
    """

    printed = ("in_channels",)

    def __init__(self, in_channels: int, channels: int, stride: int = 1, *, generator: Generator | None = None) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.conv = nn.Conv2d(2 * in_channels, 2 * channels, 3, stride, 1, bias=False, generator=generator)
        self.shortcut: nn.Module = nn.Identity()
        if in_channels != channels or stride > 1:
            self.shortcut = nn.Conv2d(in_channels, channels, 1, stride, bias=False, generator=generator)
        self.bn, self.relu = nn.BatchNorm2d(2 * channels), nn.ReLU()  # channel by channel: two norms in one

    def forward(self, x: Any) -> Any:
        y, kept = self.conv(x), self.shortcut(x[:, : self.in_channels])
        channels = kept.shape[1]
        y = ops.concatenate([y[:, :channels] + kept, y[:, channels:]], 1)
        return self.relu(self.bn(y))


def initialise(model: nn.Module, generator: Generator | None) -> None:
    """Uniform with variance 2 / fan_in, as pytorchcv has it: each of a unit's four sets of filters sees one stream."""
    of_units = {id(unit.conv) for unit in model.modules() if isinstance(unit, GeneralizedResidual)}
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            fan_in = init.fans(module.weight)[0] / (2 if id(module) in of_units else 1)
            bound = math.sqrt(6 / fan_in)
            init.uniform_(module.weight, -bound, bound, generator)


class RiRCifar(Network):
    """A 3x3 convolution for each stream; stages of generalized residual units; both streams to the classes; mean."""

    stage_paths: ClassVar = {"stem": "stem"} | {f"stage{i}": f"stage{i}" for i in (1, 2, 3)}

    def __init__(
        self,
        *,
        depths: tuple[int, int, int] = (4, 6, 6),
        channels: int = 48,
        num_classes: int = 10,
        in_channels: int = 3,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        if len(depths) != 3 or min(depths) < 1:
            raise ArgumentError(f"RiRCifar: depths={depths!r}, expected the numbers of units of three stages")
        c = integer("RiRCifar", "channels", channels, 1)

        def stage(before: int, after: int, depth: int, stride: int) -> nn.Sequential:
            first = GeneralizedResidual(before, after, stride, generator=generator)
            return nn.Sequential(
                first, *(GeneralizedResidual(after, after, generator=generator) for _ in range(depth - 1))
            )

        conv = nn.Conv2d(in_channels, 2 * c, 3, padding=1, bias=False, generator=generator)
        self.stem = nn.Sequential(conv, nn.BatchNorm2d(2 * c), nn.ReLU())
        self.stage1 = stage(c, c, depths[0], 1)
        self.stage2 = stage(c, 2 * c, depths[1], 2)
        self.stage3 = stage(2 * c, 4 * c, depths[2], 2)
        self.classifier = nn.Conv2d(8 * c, num_classes, 1, bias=False, generator=generator)
        self.bn = nn.BatchNorm2d(num_classes)
        self.avgpool, self.flatten = nn.GlobalAvgPool2d(), nn.Flatten()
        initialise(self, generator)

    def forward(self, x: Any) -> Any:
        x = self.stage3(self.stage2(self.stage1(self.stem(x))))
        return self.flatten(self.avgpool(self.bn(self.classifier(x))))


TABLE = (
    spec(
        RiRCifar,
        "rir_cifar10",
        family="RiR",
        year=2016,
        paper="arXiv:1603.08029",
        input_shape=(3, 32, 32),
        num_classes=10,
        form="pytorchcv",
        deviations="the paper puts its units in the place of the convolutions of ResNet's blocks and keeps the blocks' "
        "own shortcuts; pytorchcv leaves those out",
    ),
)
