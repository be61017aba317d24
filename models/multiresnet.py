"""Multi-ResNet: residual blocks with k residual functions and one identity.

A residual net is an ensemble of many paths, of which the short ones do the work. Instead of more blocks, each block
gets more functions: depth / k blocks of k functions have about as many paths, all shorter. Blocks are pre-activated,
and every function has its own batch norms; only where the shape changes one batch norm and ReLU serve the projection
and all functions. With k = 1 it is the pre-activation ResNet.

**Math** ``y = x + f_1(x) + ... + f_k(x)``.
**See** Abdi and Nahavandi, "Multi-Residual Networks: Improving the Speed and Accuracy of Residual Networks", 2016.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar

from minicnn import nn
from minicnn.models.network import Network
from minicnn.models.preresnet import SHAPES, Convolution, initialise
from minicnn.models.resnet import BLOCKS, Residual, check_block
from minicnn.models.resnet_cifar import cifar_blocks
from minicnn.models.spec import Published, Recipe, spec
from minicnn.ops.geometry import integer
from minicnn.random import Generator


def residual_function(
    in_channels: int, convolutions: Sequence[Convolution], activated: bool, generator: Generator | None
) -> nn.Sequential:
    """BN, ReLU, convolution, once for each of ``convolutions``; without the first BN and ReLU if ``activated``."""
    layers: list[nn.Module] = []
    for c in convolutions:
        layers += [nn.BatchNorm2d(in_channels), nn.ReLU()]
        layers.append(
            nn.Conv2d(in_channels, c.channels, c.kernel, c.stride, c.kernel // 2, bias=False, generator=generator)
        )
        in_channels = c.channels
    return nn.Sequential(*layers[2 if activated else 0 :])


class MultiResidual(Residual):
    """The sum of ``k`` residual functions and the input, which is projected where the shape changes."""

    def __init__(
        self,
        in_channels: int,
        convolutions: Sequence[Convolution],
        k: int,
        *,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        integer("MultiResidual", "k", k, 1)
        channels, stride = convolutions[-1].channels, max(c.stride for c in convolutions)
        changes = in_channels != channels or stride > 1
        self.enter: nn.Module = nn.Identity()
        self.shortcut: nn.Module = nn.Identity()
        if changes:
            self.enter = nn.Sequential(nn.BatchNorm2d(in_channels), nn.ReLU())
            self.shortcut = nn.Conv2d(in_channels, channels, 1, stride, bias=False, generator=generator)
        self.functions = nn.ModuleList(
            residual_function(in_channels, convolutions, changes, generator) for _ in range(k)
        )

    def branch(self, x: Any) -> Any:
        first, *others = (function(x) for function in self.functions)
        return sum(others, start=first)

    def forward(self, x: Any) -> Any:
        x = self.enter(x)
        return self.add(self.branch, x, self.shortcut(x))


def stage(
    block: str, in_channels: int, channels: int, depth: int, stride: int, k: int, generator: Generator | None
) -> nn.Sequential:
    """``depth`` blocks of the same width, the first with the stride, bottlenecks with it in their first 1x1."""
    bottleneck = block == "bottleneck"
    first, rest = (SHAPES[block](channels, s, bottleneck) for s in (stride, 1))
    units = [MultiResidual(in_channels, first, k, generator=generator)]
    units += [MultiResidual(first[-1].channels, rest, k, generator=generator) for _ in range(depth - 1)]
    return nn.Sequential(*units)


class MultiResNetCifar(Network):
    """3x3 convolution to 16 channels; stages of 16, 32 and 64 times ``widen`` channels with (depth - 2) / 6 blocks
    each, or / 9 and four times the channels of bottlenecks; BN and ReLU, global mean, linear."""

    stage_paths: ClassVar = {"stem": "conv1"} | {f"stage{i}": f"layer{i}" for i in (1, 2, 3)}
    cam_path: ClassVar = "last"

    def __init__(
        self,
        *,
        depth: int = 200,
        k: int = 5,
        block: str = "bottleneck",
        widen: int = 1,
        num_classes: int = 10,
        in_channels: int = 3,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        check_block("MultiResNetCifar", block, "B")
        n = cifar_blocks("MultiResNetCifar", depth, block)
        integer("MultiResNetCifar", "k", k, 1)
        w, e = integer("MultiResNetCifar", "widen", widen, 1), BLOCKS[block].expansion
        layer = partial(stage, block, depth=n, k=k, generator=generator)
        self.conv1 = nn.Conv2d(in_channels, 16, 3, padding=1, bias=False, generator=generator)
        self.layer1 = layer(16, 16 * w, stride=1)
        self.layer2 = layer(16 * w * e, 32 * w, stride=2)
        self.layer3 = layer(32 * w * e, 64 * w, stride=2)
        self.last = nn.Sequential(nn.BatchNorm2d(64 * w * e), nn.ReLU())
        self.avgpool, self.flatten = nn.GlobalAvgPool2d(), nn.Flatten()
        self.fc = nn.Linear(64 * w * e, num_classes, generator=generator)
        initialise(self, generator)

    def forward(self, x: Any) -> Any:
        x = self.layer3(self.layer2(self.layer1(self.conv1(x))))
        return self.fc(self.flatten(self.avgpool(self.last(x))))


_CODE = "masabdi/multi-resnet"
RECIPE = Recipe(
    optimizer="sgd",
    lr=0.1,
    batch=64,
    epochs=200,
    momentum=0.9,
    weight_decay=1e-4,
    milestones=(80, 121),
    augmentation=("random crop 32, pad 4", "flip", "mean and deviation"),
    options=(("nesterov", True),),
    source=f"{_CODE}: README (of depth 200), opts.lua, train.lua, datasets/cifar10.lua",
)

_multi = partial(
    spec,
    MultiResNetCifar,
    family="MultiResNet",
    year=2016,
    paper="arXiv:1609.05672",
    input_shape=(3, 32, 32),
    num_classes=10,
)
_bottleneck = partial(_multi, block="bottleneck", k=5, recipe=RECIPE)
_wide = partial(_multi, block="basic", depth=26, widen=10)
_printed = partial(Published, protocol="CIFAR-10 test", source=f"{_CODE}, README")
_RUNS = "CIFAR-10 test; 4.36 +- 0.04 over runs"

TABLE = (
    _bottleneck("multiresnet200_k5_cifar10", depth=200, published=_printed("10.2M", "", 4.35, protocol=_RUNS)),
    _bottleneck("multiresnet398_k5_cifar10", depth=398, published=_printed("20.4M", "", 3.92)),
    _wide("multiresnet26_k2_w10_cifar10", k=2, published=_printed("72M", "", 3.96)),
    _wide(
        "multiresnet26_k4_w10_cifar10",
        k=4,
        published=_printed("145M", "", 3.73),
        deviations="the paper has 145M parameters, the README 154M",
    ),
)
