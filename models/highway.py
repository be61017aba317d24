"""Highway networks: every layer decides, unit by unit, how much of its input it transforms and how much it copies.

A gate T of its own weights looks at the same input as the transform H does; what T does not let through is carried
over unchanged. Gates start nearly closed (a negative bias), so that a net of a hundred layers begins as little more
than a copy, and the gradient reaches the first layer whatever the other weights are. A plain net depends on them: of
weights a little too small the hundredth power is nothing. ResNets later left the gates out.

Input and output of a highway layer have one shape; plain layers stand where it changes. The fully connected nets have
50 units, their plain twins 71, which makes layers of about the same size.

**Math** ``y = T(x) H(x) + (1 - T(x)) x``, ``H = relu(W_H x + b_H)``, ``T = sigmoid(W_T x + b_T)``.
**See** Srivastava, Greff and Schmidhuber, "Highway Networks", 2015, and "Training Very Deep Networks", 2015. Initial
weights, and all of the convolutional net, are those of the authors' code, github.com/flukeskywalker/highway-networks.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, TypeVar

from minicnn import nn
from minicnn.errors import ArgumentError
from minicnn.models.network import Network
from minicnn.models.spec import Published, Recipe, spec
from minicnn.nn import init
from minicnn.ops.arguments import number
from minicnn.ops.geometry import integer
from minicnn.random import Generator

Layer = TypeVar("Layer", nn.Linear, nn.Conv2d)


def initialised(layer: Layer, generator: Generator | None, std: float | None = None) -> Layer:
    """``layer`` with biases 0 and normal weights, of variance 2 / fan_in unless ``std`` is given."""
    if std is None:
        init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
    else:
        init.normal_(layer.weight, 0.0, std, generator)
    if layer.bias is not None:
        init.zeros_(layer.bias)
    return layer


class Highway(nn.Module):
    """One highway layer; ``make()`` is called for the transform and for the gate, and must keep the shape.

    **Shapes** those of the layers made: (N, C) -> (N, C), or (N, C, H, W) -> (N, C, H, W).
    """

    def __init__(self, make: Callable[[], nn.Linear] | Callable[[], nn.Conv2d], transform_bias: float) -> None:
        super().__init__()
        self.transform, self.gate = make(), make()
        self.relu, self.sigmoid = nn.ReLU(), nn.Sigmoid()
        if self.gate.bias is not None:
            init.constant_(self.gate.bias, transform_bias)

    def forward(self, x: Any) -> Any:
        t = self.sigmoid(self.gate(x))
        return t * self.relu(self.transform(x)) + (1 - t) * x


class HighwayMLP(Network):
    """``depth - 1`` highway layers of ``units`` units between a plain layer and the classes; ``highway=False``: plain.

    Nothing here has places but the image, so that is the only stage.
    """

    stage_paths: ClassVar = {"image": "image"}

    def __init__(
        self,
        *,
        depth: int = 10,
        units: int = 50,
        highway: bool = True,
        transform_bias: float = -2.0,
        size: int = 28,
        num_classes: int = 10,
        in_channels: int = 1,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        integer("HighwayMLP", "depth", depth, 1)
        bias = number("HighwayMLP", "transform_bias", transform_bias)
        pixels = integer("HighwayMLP", "in_channels", in_channels, 1) * integer("HighwayMLP", "size", size, 1) ** 2

        def linear(inputs: int = units, outputs: int = units) -> nn.Linear:
            return initialised(nn.Linear(inputs, outputs, generator=generator), generator)

        self.image, self.flatten = nn.Identity(), nn.Flatten()
        self.fc1, self.relu = linear(pixels), nn.ReLU()
        self.layers = nn.Sequential(
            *(Highway(linear, bias) if highway else nn.Sequential(linear(), nn.ReLU()) for _ in range(depth - 1))
        )
        self.fc2 = linear(units, num_classes)

    def forward(self, x: Any) -> Any:
        return self.fc2(self.layers(self.relu(self.fc1(self.flatten(self.image(x))))))


class HighwayCNN(Network):
    """Stages of a plain 3x3 to ``widths`` channels and ``highways`` highway layers of 3x3, with 2x2 pools between.

    A 1x1 to ``units`` channels, the global mean and a linear layer follow; dropout of the image, after every pool and
    before the classes.
    """

    stage_paths: ClassVar = {f"stage{i}": f"stage{i}" for i in (1, 2, 3)}

    def __init__(
        self,
        *,
        widths: tuple[int, int, int] = (32, 80, 128),
        highways: tuple[int, int, int] = (4, 5, 5),
        units: int = 100,
        dropout: float = 0.2,
        transform_bias: float = -2.0,
        num_classes: int = 10,
        in_channels: int = 3,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        if len(widths) != 3 or len(highways) != 3:
            raise ArgumentError(
                f"HighwayCNN: widths={widths!r} and highways={highways!r}, expected a number for each of three stages"
            )
        bias = number("HighwayCNN", "transform_bias", transform_bias)
        drop = partial(nn.Dropout, dropout, generator=generator)

        def conv(inputs: int, outputs: int, kernel: int = 3, std: float | None = None) -> nn.Conv2d:
            layer = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, generator=generator)
            return initialised(layer, generator, std)

        def stage(inputs: int, width: int, count: int, std: float | None = None) -> nn.Sequential:
            layers = (Highway(partial(conv, width, width), bias) for _ in range(count))
            return nn.Sequential(conv(inputs, width, std=std), nn.ReLU(), *layers)

        self.drop1, self.drop2, self.drop3, self.drop4 = drop(), drop(), drop(), drop()
        self.pool = nn.MaxPool2d(2)
        self.stage1 = stage(in_channels, widths[0], highways[0], 0.05)
        self.stage2 = stage(widths[0], widths[1], highways[1])
        self.stage3 = stage(widths[1], widths[2], highways[2])
        self.conv, self.relu = conv(widths[2], units, 1), nn.ReLU()
        self.avgpool, self.flatten = nn.GlobalAvgPool2d(), nn.Flatten()
        self.fc = initialised(nn.Linear(units, num_classes, generator=generator), generator, 0.05)

    def forward(self, x: Any) -> Any:
        x = self.stage1(self.drop1(x))
        x = self.stage2(self.drop2(self.pool(x)))
        x = self.stage3(self.drop3(self.pool(x)))
        return self.fc(self.drop4(self.flatten(self.avgpool(self.relu(self.conv(x))))))


_CODE = "flukeskywalker/highway-networks, examples/highways/cifar10-19layers"
RECIPE = Recipe(
    optimizer="sgd",
    lr=0.025,
    batch=100,
    epochs=400,
    momentum=0.9,
    weight_decay=1e-3,
    milestones=(200, 300, 350),
    augmentation=("global contrast normalisation", "mean subtraction", "random crop 32, pad 8", "flip"),
    options=(("nesterov", True), ("bias_lr", 2.0), ("bias_weight_decay", 0.0), ("fc_weight_decay", 0.01)),
    source=f"{_CODE}: cifar10_network.prototxt, cifar10_solver.prototxt; README",
    notes="200,000 iterations; bias_lr multiplies the rate",
)

_highway = partial(spec, family="Highway", year=2015)
_fc = partial(_highway, HighwayMLP, paper="arXiv:1505.00387 sec 3", input_shape=(1, 28, 28), num_classes=10)
_gated = partial(
    _fc,
    units=50,
    deviations="the paper searches the bias of the gates from -1 to -10; here it is about -ln(depth), with which a "
    "third to a half of the input arrives at the end",
)
_plain = partial(_fc, units=71, highway=False)

TABLE = (
    _gated("highway_fc10_mnist", depth=10, transform_bias=-2.0),
    _plain("plain_fc10_mnist", depth=10),
    _gated("highway_fc20_mnist", depth=20, transform_bias=-3.0),
    _plain("plain_fc20_mnist", depth=20),
    _gated("highway_fc50_mnist", depth=50, transform_bias=-4.0),
    _plain("plain_fc50_mnist", depth=50),
    _gated("highway_fc100_mnist", depth=100, transform_bias=-5.0),
    _plain("plain_fc100_mnist", depth=100),
    _highway(
        HighwayCNN,
        "highway_conv_cifar10",
        paper="arXiv:1505.00387 Table 1",
        input_shape=(3, 32, 32),
        num_classes=10,
        form="Caffe",
        recipe=RECIPE,
        published=Published("", "", 7.86, None, "test, last iteration", f"{_CODE}/sample.log, as accuracy: 0.9214"),
        deviations="the paper has nets of 11, 19 and 32 layers and prints no widths; this is the one of 19 that the "
        "authors released. Their file gives conv1 a deviation of 0.05 as `value`, which Caffe does not read (it takes "
        "1); here it is 0.05",
    ),
)
