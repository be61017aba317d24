"""LeNet: two convolutions with pooling, then fully connected layers, on 28 to 32 pixel digits.

``lenet5_1998`` is LeNet-5 as published: subsampling that learns, a second convolution that sees some of the maps,
scaled tanh, and distances to bitmaps of the digits as output. ``lenet5`` is what is called LeNet-5 today: the same
layers with full connection, a linear output, ReLU and max pooling. ``lenet_caffe`` is the net of Caffe's MNIST example.

**See** LeCun, Bottou, Bengio and Haffner, "Gradient-Based Learning Applied to Document Recognition", 1998, section II.
"""

import math
from functools import partial
from typing import Any, ClassVar

import numpy as np

from minicnn import nn, ops
from minicnn.context import is_abstract_mode
from minicnn.models.network import Network
from minicnn.models.spec import Published, Recipe, spec
from minicnn.nn import init
from minicnn.ops.geometry import integer
from minicnn.random import Generator, generator_or_default
from minicnn.tensor import Tensor

# Table I: the maps of S2 that each map of C3 sees.
C3_TABLE = (
    *((0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (4, 5, 0), (5, 0, 1)),
    *((0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (3, 4, 5, 0), (4, 5, 0, 1), (5, 0, 1, 2)),
    *((0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5)),
    (0, 1, 2, 3, 4, 5),
)
# The digits on 7x12 pixels: our own drawing of what the paper shows in a figure.
BITMAPS = """
..###.. ...##.. .#####. .#####. ....##. ####### .#####. ####### .#####. .#####.
.##.##. ..###.. ##...## ##...## ...###. ##..... ##...## .....## ##...## ##...##
##...## .####.. .....## .....## ..####. ##..... ##..... .....## ##...## ##...##
##...## ...##.. .....## .....## .##.##. ##..... ##..... ....##. ##...## ##...##
##...## ...##.. .....## .....## ##..##. ######. ##..... ....##. ##...## ##...##
##...## ...##.. ....##. ..####. ##..##. .....## ######. ...##.. .#####. .######
##...## ...##.. ...##.. .....## ####### .....## ##...## ...##.. ##...## .....##
##...## ...##.. ..##... .....## ....##. .....## ##...## ..##... ##...## .....##
##...## ...##.. .##.... .....## ....##. .....## ##...## ..##... ##...## .....##
##...## ...##.. ##..... .....## ....##. .....## ##...## .##.... ##...## .....##
.##.##. ...##.. ##..... ##...## ....##. ##...## ##...## .##.... ##...## ##...##
..###.. .###### ####### .#####. ....##. .#####. .#####. .##.... .#####. .#####.
"""


class Subsampling(nn.Module):
    """S2 and S4: the sum of 2x2 pixels times a coefficient plus a bias, both one number a map, then squashed.

    **Shapes** (N, C, H, W) -> (N, C, H / 2, W / 2).
    """

    printed = ("channels",)

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.weight, self.bias = init.parameter(channels), init.parameter(channels)

    def forward(self, x: Any) -> Any:
        total = ops.avg_pool2d(x, 2, divisor_override=1)
        return ops.scaled_tanh(total * self.weight.reshape(-1, 1, 1) + self.bias.reshape(-1, 1, 1))


class PartialConv(nn.Module):
    """C3: 5x5 convolutions, each over its own maps; those that see equally many run as one grouped convolution."""

    def __init__(self, generator: Generator | None) -> None:
        super().__init__()
        self.seen = sorted({len(maps) for maps in C3_TABLE})
        for seen in self.seen:
            units = [maps for maps in C3_TABLE if len(maps) == seen]
            conv = nn.Conv2d(seen * len(units), len(units), 5, groups=len(units), generator=generator)
            self.add_module(f"see{seen}", conv)

    def forward(self, x: Any) -> Any:
        parts = []
        for seen, conv in zip(self.seen, self.children(), strict=True):
            numbers = [number for maps in C3_TABLE if len(maps) == seen for number in maps]
            parts.append(conv(ops.index_select(x, 1, np.array(numbers))))
        return ops.cat(parts, 1)


class RBF(nn.Module):
    """Minus the squared distances to fixed centres of +-1, so that the largest output is the answer, and cross entropy
    is the paper's competitive criterion without its constant. Ten classes have the bitmaps, others random centres.

    **Shapes** (N, 84) -> (N, classes). **Math** ``y[i] = -sum_j (x[j] - w[i, j])^2``, the square multiplied out.
    """

    centres: Tensor

    def __init__(self, num_classes: int, generator: Generator | None) -> None:
        super().__init__()
        self.register_buffer("centres", _centres(integer("RBF", "num_classes", num_classes, 1), generator))

    def forward(self, x: Any) -> Any:
        lengths = ops.sum(ops.square(x), 1, keepdim=True) + ops.sum(ops.square(self.centres), 1)
        return 2 * ops.linear(x, self.centres) - lengths


def _centres(num_classes: int, generator: Generator | None) -> Any:
    """(classes, 84): 1 is ink."""
    if num_classes == 10:
        rows = [line.split() for line in BITMAPS.split("\n") if line]
        digits = ["".join(row[digit] for row in rows) for digit in range(10)]
        ink = np.array([[pixel == "#" for pixel in digit] for digit in digits])
    elif is_abstract_mode():
        ink = np.zeros((num_classes, 84), bool)
    else:
        ink = generator_or_default(generator).numpy().random((num_classes, 84)) < 0.5
    return np.where(ink, 1, -1).astype(np.float32)


class LeNet5Of1998(Network):
    """C1, S2, C3, S4, C5, F6 and the output as the paper numbers them; scaled tanh after each but the last."""

    stage_paths: ClassVar = {"stage1": "s2", "stage2": "s4"}

    def __init__(self, *, num_classes: int = 10, in_channels: int = 1, generator: Generator | None = None) -> None:
        super().__init__()
        self.c1 = nn.Conv2d(in_channels, 6, 5, generator=generator)
        self.s2 = Subsampling(6)
        self.c3 = PartialConv(generator)
        self.s4 = Subsampling(16)
        self.c5 = nn.Conv2d(16, 120, 5, generator=generator)
        self.flatten = nn.Flatten()
        self.f6 = nn.Linear(120, 84, generator=generator)
        self.output = RBF(num_classes, generator)
        for module in self.modules():  # uniform on +-2.4 / F, F the number of inputs of a unit
            if isinstance(module, nn.Conv2d | nn.Linear | Subsampling):
                bound = 2.4 / (4 if isinstance(module, Subsampling) else init.fans(module.weight)[0])
                for _, parameter in module.own_parameters():
                    init.uniform_(parameter, -bound, bound, generator)

    def forward(self, x: Any) -> Any:
        x = self.s2(ops.scaled_tanh(self.c1(x)))
        x = self.s4(ops.scaled_tanh(self.c3(x)))
        x = self.flatten(ops.scaled_tanh(self.c5(x)))
        return self.output(ops.scaled_tanh(self.f6(x)))


class LeNet5(Network):
    """32x32 -> 6@28 -> pool -> 16@10 -> pool -> 400 -> 120 -> 84 -> classes."""

    stage_paths: ClassVar = {"stage1": "pool1", "stage2": "pool2"}

    def __init__(self, *, num_classes: int = 10, in_channels: int = 1, generator: Generator | None = None) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 6, 5, generator=generator)
        self.pool1 = nn.MaxPool2d(2)
        self.conv2 = nn.Conv2d(6, 16, 5, generator=generator)
        self.pool2 = nn.MaxPool2d(2)
        self.flatten = nn.Flatten()
        self.fc1 = nn.Linear(16 * 5 * 5, 120, generator=generator)
        self.fc2 = nn.Linear(120, 84, generator=generator)
        self.fc3 = nn.Linear(84, num_classes, generator=generator)
        self.relu = nn.ReLU()

    def forward(self, x: Any) -> Any:
        x = self.pool1(self.relu(self.conv1(x)))
        x = self.pool2(self.relu(self.conv2(x)))
        x = self.relu(self.fc1(self.flatten(x)))
        return self.fc3(self.relu(self.fc2(x)))


class LeNetCaffe(Network):
    """28x28 -> 20@24 -> pool -> 50@8 -> pool -> 800 -> 500 -> classes; the only nonlinearity is after ``ip1``."""

    stage_paths: ClassVar = {"stage1": "pool1", "stage2": "pool2"}

    def __init__(self, *, num_classes: int = 10, in_channels: int = 1, generator: Generator | None = None) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 20, 5, generator=generator)
        self.pool1 = nn.MaxPool2d(2)
        self.conv2 = nn.Conv2d(20, 50, 5, generator=generator)
        self.pool2 = nn.MaxPool2d(2)
        self.flatten = nn.Flatten()
        self.ip1 = nn.Linear(50 * 4 * 4, 500, generator=generator)
        self.relu = nn.ReLU()
        self.ip2 = nn.Linear(500, num_classes, generator=generator)
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                init.zeros_(parameter)
            else:  # Caffe's "xavier" filler looks at fan_in only
                bound = math.sqrt(3 / init.fans(parameter)[0])
                init.uniform_(parameter, -bound, bound, generator)

    def forward(self, x: Any) -> Any:
        x = self.pool2(self.conv2(self.pool1(self.conv1(x))))
        return self.ip2(self.relu(self.ip1(self.flatten(x))))


RECIPE_1998 = Recipe(
    optimizer="stochastic diagonal Levenberg-Marquardt",
    lr=5e-4,
    batch=1,
    epochs=20,
    milestones=(2, 5, 8, 12),
    options=(("rates", (5e-4, 2e-4, 1e-4, 5e-5, 1e-5)), ("mu", 0.02), ("hessian_images", 500)),
    source="section III-B, as re-implementations quote it",
    notes="rates are global ones, which the diagonal second derivatives divide for every weight before each epoch",
)
CAFFE_RECIPE = Recipe(
    optimizer="sgd",
    lr=0.01,
    batch=64,
    epochs=10.7,
    momentum=0.9,
    weight_decay=5e-4,
    schedule="inverse",
    options=(("gamma", 1e-4), ("power", 0.75), ("iterations", 10_000), ("bias_lr", 2.0)),
    source="examples/mnist of github.com/BVLC/caffe: lenet_solver.prototxt, lenet_train_test.prototxt",
    notes="lr (1 + gamma iteration)^-power; pixels are divided by 256; bias_lr multiplies the rate",
)

_lenet = partial(spec, family="LeNet", num_classes=10)

TABLE = (
    _lenet(
        LeNet5Of1998,
        "lenet5_1998",
        year=1998,
        paper="LeCun et al. 1998",
        input_shape=(1, 32, 32),
        recipe=RECIPE_1998,
        published=Published("60,000", "", 0.95, None, "MNIST test, no distortions", "sections II-B and III-B"),
        deviations="the bitmaps are our own; the paper prints its 7x12 digits as a figure only",
    ),
    _lenet(LeNet5, "lenet5", year=1998, paper="LeCun et al. 1998", form="modern", input_shape=(1, 32, 32)),
    _lenet(
        LeNetCaffe,
        "lenet_caffe",
        year=2014,
        paper="Caffe examples/mnist",
        form="Caffe",
        input_shape=(1, 28, 28),
        recipe=CAFFE_RECIPE,
    ),
)
