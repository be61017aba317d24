"""Inception-v4: the widest of the nets that put branches side by side, with a stem that does so too.

Nothing is padded where maps shrink: 299 -> 35 -> 17 -> 8. Mean pools leave their padding out of the mean. State dicts
of timm load.

**See** Szegedy et al., "Inception-v4, Inception-ResNet and the Impact of Residual Connections on Learning", 2016.
"""

import re
from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

from minicnn import nn
from minicnn.models.bn_inception import he_initialise
from minicnn.models.googlenet import BasicConv2d, Branches, Unit
from minicnn.models.network import Network
from minicnn.models.spec import Published, Recipe, spec
from minicnn.random import Generator

_one_by_three, _three_by_one = ({"kernel_size": (1, 3), "padding": (0, 1)}, {"kernel_size": (3, 1), "padding": (1, 0)})
_one_by_seven, _seven_by_one = ({"kernel_size": (1, 7), "padding": (0, 3)}, {"kernel_size": (7, 1), "padding": (3, 0)})


def mean_pool() -> nn.Module:
    """3x3 means of the pixels that are there."""
    return nn.AvgPool2d(3, 1, 1, count_include_pad=False)


class InceptionA(Branches):
    """384 channels to 384 on 35x35 maps (Figure 4)."""

    def __init__(self, unit: Unit) -> None:
        super().__init__(
            branch0=unit(384, 96, 1),
            branch1=nn.Sequential(unit(384, 64, 1), unit(64, 96, 3, padding=1)),
            branch2=nn.Sequential(unit(384, 64, 1), unit(64, 96, 3, padding=1), unit(96, 96, 3, padding=1)),
            branch3=nn.Sequential(mean_pool(), unit(384, 96, 1)),
        )


class InceptionB(Branches):
    """1024 channels to 1024 on 17x17 maps (Figure 5)."""

    def __init__(self, unit: Unit) -> None:
        super().__init__(
            branch0=unit(1024, 384, 1),
            branch1=nn.Sequential(unit(1024, 192, 1), unit(192, 224, **_one_by_seven), unit(224, 256, **_seven_by_one)),
            branch2=nn.Sequential(
                unit(1024, 192, 1),
                unit(192, 192, **_seven_by_one),
                unit(192, 224, **_one_by_seven),
                unit(224, 224, **_seven_by_one),
                unit(224, 256, **_one_by_seven),
            ),
            branch3=nn.Sequential(mean_pool(), unit(1024, 128, 1)),
        )


class InceptionC(Branches):
    """1536 channels to 1536 on 8x8 maps; two branches split into a 1x3 and a 3x1 side by side (Figure 6)."""

    def __init__(self, unit: Unit) -> None:
        split = Branches(a=unit(384, 256, **_one_by_three), b=unit(384, 256, **_three_by_one))
        split_later = Branches(a=unit(512, 256, **_one_by_three), b=unit(512, 256, **_three_by_one))
        super().__init__(
            branch0=unit(1536, 256, 1),
            branch1=nn.Sequential(unit(1536, 384, 1), split),
            branch2=nn.Sequential(
                unit(1536, 384, 1), unit(384, 448, **_three_by_one), unit(448, 512, **_one_by_three), split_later
            ),
            branch3=nn.Sequential(mean_pool(), unit(1536, 256, 1)),
        )


class ReductionA(Branches):
    """From 35x35 to 17x17: a strided 3x3 of n channels, 1x1-3x3-3x3 of k, l, m, a pool (Figure 7, Table 1)."""

    def __init__(self, in_channels: int, k: int, l: int, m: int, n: int, unit: Unit) -> None:
        super().__init__(
            branch0=unit(in_channels, n, 3, stride=2),
            branch1=nn.Sequential(unit(in_channels, k, 1), unit(k, l, 3, padding=1), unit(l, m, 3, stride=2)),
            branch2=nn.MaxPool2d(3, 2),
        )


class ReductionB(Branches):
    """From 17x17 to 8x8 in Inception-v4 (Figure 8)."""

    def __init__(self, unit: Unit) -> None:
        super().__init__(
            branch0=nn.Sequential(unit(1024, 192, 1), unit(192, 192, 3, stride=2)),
            branch1=nn.Sequential(
                unit(1024, 256, 1),
                unit(256, 256, **_one_by_seven),
                unit(256, 320, **_seven_by_one),
                unit(320, 320, 3, stride=2),
            ),
            branch2=nn.MaxPool2d(3, 2),
        )


def _stem(in_channels: int, unit: Unit) -> list[nn.Module]:
    """Figure 3: from 299x299 to 384 channels of 35x35; wherever maps shrink, two ways side by side."""
    return [
        unit(in_channels, 32, 3, stride=2),
        unit(32, 32, 3),
        unit(32, 64, 3, padding=1),
        Branches(maxpool=nn.MaxPool2d(3, 2), conv=unit(64, 96, 3, stride=2)),
        Branches(
            branch0=nn.Sequential(unit(160, 64, 1), unit(64, 96, 3)),
            branch1=nn.Sequential(
                unit(160, 64, 1), unit(64, 64, **_one_by_seven), unit(64, 64, **_seven_by_one), unit(64, 96, 3)
            ),
        ),
        Branches(conv=unit(192, 192, 3, stride=2), maxpool=nn.MaxPool2d(3, 2)),
    ]


class InceptionV4(Network):
    """Stem, 4 modules A, 7 modules B, 3 modules C with reductions between (Figure 9)."""

    stage_paths: ClassVar = {
        "stem": "features.2",
        "stage1": "features.3",
        "stage2": "features.9",
        "stage3": "features.17",
        "stage4": "features.21",
    }

    def __init__(
        self,
        *,
        dropout: float = 0.2,
        num_classes: int = 1000,
        in_channels: int = 3,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        unit = partial(BasicConv2d, generator=generator)
        self.features = nn.Sequential(
            *_stem(in_channels, unit),
            *(InceptionA(unit) for _ in range(4)),
            ReductionA(384, 192, 224, 256, 384, unit),
            *(InceptionB(unit) for _ in range(7)),
            ReductionB(unit),
            *(InceptionC(unit) for _ in range(3)),
        )
        self.avgpool, self.flatten = nn.GlobalAvgPool2d(), nn.Flatten()
        self.dropout = nn.Dropout(dropout, generator=generator)
        self.last_linear = nn.Linear(1536, num_classes, generator=generator)
        he_initialise(self, generator)

    def forward(self, x: Any) -> Any:
        return self.last_linear(self.dropout(self.flatten(self.avgpool(self.features(x)))))

    def adapt_state(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """timm's ``branch2_3a`` is layer 3 of branch 2, part a."""
        names = {name: re.sub(r"(branch\d)_(\d)([ab]?)", r"\1.\2.\3", name).replace("..", ".") for name in values}
        return {names[name]: value for name, value in values.items()}


# Section 4; batch, weight decay and dropout as in Inception-v3's training code of tensorflow/models.
RECIPE = Recipe(
    optimizer="rmsprop",
    lr=0.045,
    batch=32,
    momentum=0.9,
    weight_decay=4e-5,
    gamma=0.94,
    options=(("step_epochs", 2), ("alpha", 0.9), ("eps", 1.0), ("dropout", 0.2), ("polyak_averaging", True)),
    source="section 4 (rate, alpha, eps); the rest from research/slim and inception_train.py of tensorflow/models",
    notes="20 replicas; epochs are not printed; the AAAI version adds gradient clipping",
)


def table_2(top1: float, top5: float) -> Published:
    """What the paper measured of its nets."""
    return Published(
        "", "", top1, top5, "single crop, validation without blacklisted images", "Table 2 (at AAAI: Table 1)"
    )


TABLE = (
    spec(
        InceptionV4,
        "inception_v4",
        family="Inception",
        year=2016,
        paper="arXiv:1602.07261",
        input_shape=(3, 299, 299),
        num_classes=1000,
        timm="inception_v4",
        recipe=RECIPE,
        published=table_2(20.0, 5.0),
    ),
)
