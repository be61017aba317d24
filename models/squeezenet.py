"""SqueezeNet: AlexNet's accuracy with fifty times fewer parameters, by modules that squeeze before they expand.

A *fire* module squeezes its input with 1x1 filters, then expands it with 1x1 and 3x3 filters side by side. Version 1.1
(the authors' repository) has a smaller stem and pools earlier: 2.4 times fewer multiply-adds. ``bypass="simple"`` adds
identity shortcuts round fire3, 5, 7 and 9; ``"complex"`` also 1x1 convolutions round the others. Pools round up, as
Caffe's. Weight names are torchvision's.

**See** Iandola et al., "SqueezeNet", 2016.
"""

from functools import partial
from typing import Any, ClassVar

from minicnn import nn, ops
from minicnn.errors import ArgumentError
from minicnn.models.network import Network
from minicnn.models.spec import Published, Recipe, spec
from minicnn.nn import init
from minicnn.random import Generator

BYPASSES = ("none", "simple", "complex")

# (squeeze, expand to 1x1 and to 3x3 each) of fire2 to fire9: Table 1
FIRES = ((16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256))
# version -> channels and kernel of conv1, and the fire modules after which a pool follows
VERSIONS: dict[str, tuple[int, int, tuple[int, ...]]] = {"1.0": (96, 7, (4, 8)), "1.1": (64, 3, (3, 5))}


class Fire(nn.Module):
    """Squeeze with 1x1, expand with 1x1 and 3x3, put both together; ``bypass`` adds (a 1x1 of) the input."""

    def __init__(self, in_channels: int, squeeze: int, expand: int, bypass: bool, generator: Generator | None) -> None:
        super().__init__()
        conv = partial(nn.Conv2d, generator=generator)
        self.squeeze, self.squeeze_activation = conv(in_channels, squeeze, 1), nn.ReLU()
        self.expand1x1, self.expand1x1_activation = conv(squeeze, expand, 1), nn.ReLU()
        self.expand3x3, self.expand3x3_activation = conv(squeeze, expand, 3, padding=1), nn.ReLU()
        self.shortcut: nn.Module | None = None
        if bypass:
            self.shortcut = nn.Identity() if in_channels == 2 * expand else conv(in_channels, 2 * expand, 1)

    def forward(self, x: Any) -> Any:
        s = self.squeeze_activation(self.squeeze(x))
        y = ops.concatenate(
            [self.expand1x1_activation(self.expand1x1(s)), self.expand3x3_activation(self.expand3x3(s))], 1
        )
        return y if self.shortcut is None else y + self.shortcut(x)


class SqueezeNet(Network):
    """conv1, pool, eight fire modules with two pools among them, 1x1 convolution to the classes, global mean."""

    def __init__(
        self,
        *,
        version: str = "1.0",
        bypass: str = "none",
        dropout: float = 0.5,
        num_classes: int = 1000,
        in_channels: int = 3,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        if version not in VERSIONS:
            raise ArgumentError(f"SqueezeNet: version={version!r} is unknown, expected one of {tuple(VERSIONS)}")
        if bypass not in BYPASSES:
            raise ArgumentError(f"SqueezeNet: bypass={bypass!r} is unknown, expected one of {BYPASSES}")
        channels, kernel, pooled = VERSIONS[version]
        layers: list[nn.Module] = [nn.Conv2d(in_channels, channels, kernel, 2, generator=generator), nn.ReLU(), _pool()]
        stages = {"stem": "features.1"}
        for number, (squeeze, expand) in enumerate(FIRES, 2):
            same = channels == 2 * expand
            shortcut = bypass == "complex" or (bypass == "simple" and same)
            layers.append(Fire(channels, squeeze, expand, shortcut, generator))
            channels = 2 * expand
            stages[f"stage{1 + sum(number > p for p in pooled)}"] = f"features.{len(layers) - 1}"
            if number in pooled:
                layers.append(_pool())
        self.features = nn.Sequential(*layers)
        final = nn.Conv2d(512, num_classes, 1, generator=generator)
        self.classifier = nn.Sequential(
            nn.Dropout(dropout, generator=generator), final, nn.ReLU(), nn.GlobalAvgPool2d()
        )
        self.flatten = nn.Flatten()
        self.stage_paths = stages  # type: ignore[misc]
        _initialise(self, final, generator)

    cam_path: ClassVar[str] = "classifier.2"

    def forward(self, x: Any) -> Any:
        return self.flatten(self.classifier(self.features(x)))


def _pool() -> nn.Module:
    return nn.MaxPool2d(3, 2, ceil_mode=True)


def _initialise(model: nn.Module, final: nn.Module, generator: Generator | None) -> None:
    """He et al. uniform; the last convolution normal with deviation 0.01; biases 0: as torchvision."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and module.bias is not None:
            if module is final:
                init.normal_(module.weight, 0.0, 0.01, generator=generator)
            else:
                init.kaiming_uniform_(module.weight, nonlinearity="relu", generator=generator)
            init.zeros_(module.bias)


RECIPE = Recipe(
    optimizer="sgd",
    lr=0.08,
    batch=1024,
    momentum=0.9,
    weight_decay=2e-4,
    schedule="polynomial",
    augmentation=("random crop 227", "flip", "mean subtraction"),
    options=(("power", 0.5), ("iterations", 85_000)),
    source="solver.prototxt and train_val.prototxt of github.com/forresti/SqueezeNet",
    notes="batches of 32 accumulated 32 times",
)

_squeezenet = partial(
    spec,
    SqueezeNet,
    family="SqueezeNet",
    year=2016,
    paper="arXiv:1602.07360",
    input_shape=(3, 224, 224),
    num_classes=1000,
    recipe=RECIPE,
    form="torchvision",
    deviations="the authors' prototxt of 1.0 takes 227x227 and pads conv10 by 1: 861,339,936 multiply-adds",
)

TABLE = (
    _squeezenet("squeezenet1_0", torchvision="squeezenet1_0"),
    _squeezenet("squeezenet1_1", version="1.1", torchvision="squeezenet1_1", deviations=""),
    _squeezenet("squeezenet1_0_bypass", bypass="simple"),
    _squeezenet(
        "squeezenet1_0_complex_bypass",
        bypass="complex",
        published=Published("7.7 MB", source="Table 3"),
        deviations="the table's 7.7 MB do not follow from 1x1 convolutions round fire2, 4, 6 and 8, which give 6.4 MB",
    ),
)
