"""Xception: an "extreme Inception", in which every channel has a tower of its own.

An inception module looks at channels together (1x1) and at places separately for a few groups of them (3x3, 5x5). Taken
to its end, each channel is its own group: a depthwise 3x3, then a 1x1 over all channels, a *separable convolution*.
Xception is 36 convolutions of which 34 are separable, with shortcuts around all blocks but the last. Nothing stands
between the depthwise filter and the 1x1; batch norm follows the 1x1. Only block 1 does not begin with a ReLU.

The net is the author's in Keras: nothing is padded by its first two convolutions, and pools of maps with an even side
are padded at the end only. State dicts of timm's ``legacy_xception`` load.

**Math** ``y[:, k] = sum_c p[k, c] (d[c] * x[:, c])``: 9 C + C K weights where a 3x3 has 9 C K.
**See** Chollet, "Xception: Deep Learning with Depthwise Separable Convolutions", 2016.
"""

from functools import partial
from itertools import pairwise
from typing import Any, ClassVar

from minicnn import nn
from minicnn.models.nas_operations import Pool3x3
from minicnn.models.network import Network
from minicnn.models.resnet import Residual
from minicnn.models.spec import Published, Recipe, spec
from minicnn.nn import init
from minicnn.random import Generator

Norm = partial(nn.BatchNorm2d, eps=1e-3, momentum=0.01)  # those of Keras


class SeparableConv2d(nn.Sequential):
    """A 3x3 filter for every channel, then a 1x1 over all of them."""

    def __init__(self, in_channels: int, out_channels: int, generator: Generator | None = None) -> None:
        super().__init__()
        conv = partial(nn.Conv2d, bias=False, generator=generator)
        self.conv1 = conv(in_channels, in_channels, 3, padding=1, groups=in_channels)
        self.pointwise = conv(in_channels, out_channels, 1)


class Block(Residual):
    """ReLU, separable convolution, batch norm for each of ``widths``; then a pool, if it halves the maps; add."""

    def __init__(
        self,
        in_channels: int,
        widths: tuple[int, ...],
        *,
        halves: bool = False,
        starts_with_relu: bool = True,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        self.skip: nn.Module | None = None
        self.skipbn: nn.Module = nn.Identity()
        if halves or in_channels != widths[-1]:
            stride = 2 if halves else 1
            self.skip = nn.Conv2d(in_channels, widths[-1], 1, stride, bias=False, generator=generator)
            self.skipbn = Norm(widths[-1])
        layers: list[nn.Module] = []
        for before, after in pairwise((in_channels, *widths)):
            layers += [nn.ReLU(), SeparableConv2d(before, after, generator), Norm(after)]
        pools = [Pool3x3("max", 2, same=True)] if halves else []
        self.rep = nn.Sequential(*layers[0 if starts_with_relu else 1 :], *pools)

    def forward(self, x: Any) -> Any:
        shortcut = x if self.skip is None else self.skipbn(self.skip(x))
        return self.add(self.rep, x, shortcut)


def glorot_initialise(model: nn.Module, generator: Generator | None) -> None:
    """Uniform with variance 2 / (fan_in + fan_out), biases 0: what Keras does unasked."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            init.xavier_uniform_(module.weight, generator=generator)
            if module.bias is not None:
                init.zeros_(module.bias)


class Xception(Network):
    """Figure 5: entry flow (blocks 1 to 3), middle flow (8 equal blocks), exit flow, global mean, dropout, linear."""

    stage_paths: ClassVar = {
        "stem": "act2",
        "stage1": "block1",
        "stage2": "block2",
        "stage3": "block11",
        "stage4": "act4",
    }

    def __init__(
        self,
        *,
        dropout: float = 0.5,
        num_classes: int = 1000,
        in_channels: int = 3,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        conv, block = partial(nn.Conv2d, bias=False, generator=generator), partial(Block, generator=generator)
        self.conv1, self.bn1, self.act1 = conv(in_channels, 32, 3, 2), Norm(32), nn.ReLU()
        self.conv2, self.bn2, self.act2 = conv(32, 64, 3), Norm(64), nn.ReLU()
        self.block1 = block(64, (128, 128), halves=True, starts_with_relu=False)
        self.block2 = block(128, (256, 256), halves=True)
        self.block3 = block(256, (728, 728), halves=True)
        for number in range(4, 12):
            self.add_module(f"block{number}", block(728, (728, 728, 728)))
        self.block12 = block(728, (728, 1024), halves=True)
        self.conv3, self.bn3, self.act3 = SeparableConv2d(1024, 1536, generator), Norm(1536), nn.ReLU()
        self.conv4, self.bn4, self.act4 = SeparableConv2d(1536, 2048, generator), Norm(2048), nn.ReLU()
        self.avgpool, self.flatten = nn.GlobalAvgPool2d(), nn.Flatten()
        self.dropout = nn.Dropout(dropout, generator=generator)
        self.fc = nn.Linear(2048, num_classes, generator=generator)
        glorot_initialise(self, generator)

    def forward(self, x: Any) -> Any:
        x = self.act1(self.bn1(self.conv1(x)))
        x = self.act2(self.bn2(self.conv2(x)))
        for number in range(1, 13):
            x = getattr(self, f"block{number}")(x)
        x = self.act3(self.bn3(self.conv3(x)))
        x = self.act4(self.bn4(self.conv4(x)))
        return self.fc(self.dropout(self.flatten(self.avgpool(x))))


RECIPE = Recipe(
    optimizer="sgd",
    lr=0.045,
    batch=0,
    momentum=0.9,
    weight_decay=1e-5,
    gamma=0.94,
    options=(("step_epochs", 2), ("dropout", 0.5), ("polyak_averaging", True)),
    source="sections 4.2 and 4.3",
    notes="tuned for Inception-v3, except the weight decay; the batch, over 60 GPUs, and the epochs are not printed",
)

TABLE = (
    spec(
        Xception,
        "xception",
        family="Xception",
        year=2016,
        paper="arXiv:1610.02357",
        input_shape=(3, 299, 299),
        num_classes=1000,
        form="Keras",
        published=Published("22,855,952", "", 21.0, 5.5, "validation", "Keras, applications/xception.py"),
        recipe=RECIPE,
        timm="legacy_xception",
        deviations="timm's port pads pools of even maps at both ends, and adds 1e-5 to variances where Keras adds 1e-3",
    ),
)
