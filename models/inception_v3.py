"""Inception-v3: GoogLeNet rebuilt from small and one-dimensional filters, on 299x299 images.

5x5 filters become two 3x3 (module A), 7x7 a 1x7 and a 7x1 (module C), and in the last modules 3x3 splits into a 1x3
and a 3x1 side by side (module E); modules B and D halve the maps by strided convolutions beside a pool. Nothing is
padded where maps shrink: 299 -> 35 -> 17 -> 8. Weight names are torchvision's, and as there the mean pools count
their padding (TensorFlow's do not). Its files hold the auxiliary head and want ``transform_input=True``.

**See** Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", 2015.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar, NamedTuple

from minicnn import nn, ops
from minicnn.models.googlenet import BasicConv2d, Unit, check_transform, imagenet_to_tensorflow
from minicnn.models.network import Network
from minicnn.models.spec import Published, Recipe, spec
from minicnn.nn import init
from minicnn.random import Generator


def side_by_side(*branches: Any) -> Any:
    """The channels of all branches."""
    return ops.concatenate(branches, 1)


class InceptionA(nn.Module):
    """Figure 5, on 35x35 maps (its middle branch keeps a 5x5)."""

    def __init__(self, in_channels: int, pool_features: int, *, unit: Unit) -> None:
        super().__init__()
        self.branch1x1 = unit(in_channels, 64, 1)
        self.branch5x5_1 = unit(in_channels, 48, 1)
        self.branch5x5_2 = unit(48, 64, 5, padding=2)
        self.branch3x3dbl_1 = unit(in_channels, 64, 1)
        self.branch3x3dbl_2 = unit(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = unit(96, 96, 3, padding=1)
        self.pool = nn.AvgPool2d(3, 1, 1)
        self.branch_pool = unit(in_channels, pool_features, 1)

    def forward(self, x: Any) -> Any:
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return side_by_side(
            self.branch1x1(x), self.branch5x5_2(self.branch5x5_1(x)), double, self.branch_pool(self.pool(x))
        )


class InceptionB(nn.Module):
    """From 35x35 to 17x17: strided convolutions beside a pool (Figure 10)."""

    def __init__(self, in_channels: int, *, unit: Unit) -> None:
        super().__init__()
        self.branch3x3 = unit(in_channels, 384, 3, stride=2)
        self.branch3x3dbl_1 = unit(in_channels, 64, 1)
        self.branch3x3dbl_2 = unit(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = unit(96, 96, 3, stride=2)
        self.pool = nn.MaxPool2d(3, 2)

    def forward(self, x: Any) -> Any:
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return side_by_side(self.branch3x3(x), double, self.pool(x))


class InceptionC(nn.Module):
    """Figure 6, on 17x17 maps: 7x7 as 1x7 and 7x1, once and twice."""

    def __init__(self, in_channels: int, channels_7x7: int, *, unit: Unit) -> None:
        super().__init__()
        c = channels_7x7
        flat, tall = {"kernel_size": (1, 7), "padding": (0, 3)}, {"kernel_size": (7, 1), "padding": (3, 0)}
        self.branch1x1 = unit(in_channels, 192, 1)
        self.branch7x7_1 = unit(in_channels, c, 1)
        self.branch7x7_2 = unit(c, c, **flat)
        self.branch7x7_3 = unit(c, 192, **tall)
        self.branch7x7dbl_1 = unit(in_channels, c, 1)
        self.branch7x7dbl_2 = unit(c, c, **tall)
        self.branch7x7dbl_3 = unit(c, c, **flat)
        self.branch7x7dbl_4 = unit(c, c, **tall)
        self.branch7x7dbl_5 = unit(c, 192, **flat)
        self.pool = nn.AvgPool2d(3, 1, 1)
        self.branch_pool = unit(in_channels, 192, 1)

    def forward(self, x: Any) -> Any:
        once = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        twice = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        twice = self.branch7x7dbl_5(self.branch7x7dbl_4(twice))
        return side_by_side(self.branch1x1(x), once, twice, self.branch_pool(self.pool(x)))


class InceptionD(nn.Module):
    """From 17x17 to 8x8."""

    def __init__(self, in_channels: int, *, unit: Unit) -> None:
        super().__init__()
        self.branch3x3_1 = unit(in_channels, 192, 1)
        self.branch3x3_2 = unit(192, 320, 3, stride=2)
        self.branch7x7x3_1 = unit(in_channels, 192, 1)
        self.branch7x7x3_2 = unit(192, 192, (1, 7), padding=(0, 3))
        self.branch7x7x3_3 = unit(192, 192, (7, 1), padding=(3, 0))
        self.branch7x7x3_4 = unit(192, 192, 3, stride=2)
        self.pool = nn.MaxPool2d(3, 2)

    def forward(self, x: Any) -> Any:
        seven = self.branch7x7x3_4(self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x))))
        return side_by_side(self.branch3x3_2(self.branch3x3_1(x)), seven, self.pool(x))


class InceptionE(nn.Module):
    """Figure 7, on 8x8 maps: each 3x3 as a 1x3 beside a 3x1."""

    def __init__(self, in_channels: int, *, unit: Unit) -> None:
        super().__init__()
        flat, tall = {"kernel_size": (1, 3), "padding": (0, 1)}, {"kernel_size": (3, 1), "padding": (1, 0)}
        self.branch1x1 = unit(in_channels, 320, 1)
        self.branch3x3_1 = unit(in_channels, 384, 1)
        self.branch3x3_2a = unit(384, 384, **flat)
        self.branch3x3_2b = unit(384, 384, **tall)
        self.branch3x3dbl_1 = unit(in_channels, 448, 1)
        self.branch3x3dbl_2 = unit(448, 384, 3, padding=1)
        self.branch3x3dbl_3a = unit(384, 384, **flat)
        self.branch3x3dbl_3b = unit(384, 384, **tall)
        self.pool = nn.AvgPool2d(3, 1, 1)
        self.branch_pool = unit(in_channels, 192, 1)

    def forward(self, x: Any) -> Any:
        once, twice = self.branch3x3_1(x), self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        once = [self.branch3x3_2a(once), self.branch3x3_2b(once)]
        twice = [self.branch3x3dbl_3a(twice), self.branch3x3dbl_3b(twice)]
        return side_by_side(self.branch1x1(x), *once, *twice, self.branch_pool(self.pool(x)))


class AuxiliaryHead(nn.Module):
    """A classifier on the 17x17 maps (Figure 8): mean pool to 5x5, 1x1, 5x5 without padding, global mean, linear."""

    def __init__(self, in_channels: int, num_classes: int, *, unit: Unit, generator: Generator | None) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(5, 3)
        self.conv0 = unit(in_channels, 128, 1)
        self.conv1 = unit(128, 768, 5)
        self.avgpool, self.flatten = nn.GlobalAvgPool2d(), nn.Flatten()
        self.fc = nn.Linear(768, num_classes, generator=generator)

    def forward(self, x: Any) -> Any:
        return self.fc(self.flatten(self.avgpool(self.conv1(self.conv0(self.pool(x))))))


class InceptionOutputs(NamedTuple):
    """What the net with an auxiliary head returns while training."""

    logits: Any
    aux_logits: Any


class InceptionV3(Network):
    """Stem of 3x3 convolutions, modules A A A, B, C C C C, D, E E, global mean, linear."""

    stage_paths: ClassVar = {
        "stem": "Conv2d_2b_3x3",
        "stage1": "Conv2d_4a_3x3",
        "stage2": "Mixed_5d",
        "stage3": "Mixed_6e",
        "stage4": "Mixed_7c",
    }

    def __init__(
        self,
        *,
        dropout: float = 0.5,
        aux_logits: bool = False,
        transform_input: bool = False,
        num_classes: int = 1000,
        in_channels: int = 3,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        check_transform("InceptionV3", transform_input, in_channels)
        self.transform_input = transform_input
        unit = partial(BasicConv2d, generator=generator)
        self.Conv2d_1a_3x3 = unit(in_channels, 32, 3, stride=2)
        self.Conv2d_2a_3x3 = unit(32, 32, 3)
        self.Conv2d_2b_3x3 = unit(32, 64, 3, padding=1)
        self.maxpool1 = nn.MaxPool2d(3, 2)
        self.Conv2d_3b_1x1 = unit(64, 80, 1)
        self.Conv2d_4a_3x3 = unit(80, 192, 3)
        self.maxpool2 = nn.MaxPool2d(3, 2)
        self.Mixed_5b = InceptionA(192, 32, unit=unit)
        self.Mixed_5c = InceptionA(256, 64, unit=unit)
        self.Mixed_5d = InceptionA(288, 64, unit=unit)
        self.Mixed_6a = InceptionB(288, unit=unit)
        self.Mixed_6b = InceptionC(768, 128, unit=unit)
        self.Mixed_6c = InceptionC(768, 160, unit=unit)
        self.Mixed_6d = InceptionC(768, 160, unit=unit)
        self.Mixed_6e = InceptionC(768, 192, unit=unit)
        self.AuxLogits = AuxiliaryHead(768, num_classes, unit=unit, generator=generator) if aux_logits else None
        self.Mixed_7a = InceptionD(768, unit=unit)
        self.Mixed_7b = InceptionE(1280, unit=unit)
        self.Mixed_7c = InceptionE(2048, unit=unit)
        self.avgpool, self.flatten = nn.GlobalAvgPool2d(), nn.Flatten()
        self.dropout = nn.Dropout(dropout, generator=generator)
        self.fc = nn.Linear(2048, num_classes, generator=generator)
        self._initialise(generator)

    def forward(self, x: Any) -> Any:
        x = imagenet_to_tensorflow(x) if self.transform_input else x
        x = self.maxpool1(self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x))))
        x = self.maxpool2(self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x)))
        x = self.Mixed_6a(self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(x))))
        middle = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(x))))
        x = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(middle)))
        logits = self.fc(self.dropout(self.flatten(self.avgpool(x))))
        if self.training and self.AuxLogits is not None:
            return InceptionOutputs(logits, self.AuxLogits(middle))
        return logits

    def adapt_state(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """Without the auxiliary head of the file, if this net has none."""
        if self.AuxLogits is not None:
            return values
        return {name: value for name, value in values.items() if not name.startswith("AuxLogits.")}

    def _initialise(self, generator: Generator | None) -> None:
        """slim's: normal with deviation 0.1, in the auxiliary head's last layers 0.01 and 0.001."""
        # torchvision writes 0.01 beside conv1, where its own loop does not look, and so draws with 0.1.
        deviations = {"AuxLogits.conv1.conv": 0.01, "AuxLogits.fc": 0.001}
        for path, module in self.named_modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                init.normal_(module.weight, 0.0, deviations.get(path, 0.1), generator=generator)


RECIPE = Recipe(
    optimizer="rmsprop",
    lr=0.045,
    batch=32,
    epochs=100,
    momentum=0.9,
    weight_decay=4e-5,
    gamma=0.94,
    options=(
        *(("step_epochs", 2), ("alpha", 0.9), ("eps", 1.0), ("clip_norm", 2.0), ("label_smoothing", 0.1)),
        *(("aux_weight", 0.4), ("dropout", 0.2), ("polyak_averaging", True)),
    ),
    source="sections 7 and 8; momentum, weight decay, dropout and aux_weight from inception_train.py and "
    "inception_model.py of tensorflow/models",
    notes="50 replicas with batches of 32 each; torchvision's layer has dropout 0.5",
)

_v3 = partial(
    spec,
    InceptionV3,
    family="Inception",
    year=2015,
    paper="arXiv:1512.00567",
    input_shape=(3, 299, 299),
    num_classes=1000,
    form="torchvision",
    recipe=RECIPE,
    published=Published("<25M", "5G", 21.2, 5.6, "single crop, validation", "abstract"),
    deviations="the first module A has 256 channels and there are four modules C, where section 6 prints 288 and five; "
    "mean pools count their padding, TensorFlow's do not; slim's batch norm has no gamma",
)

TABLE = (
    _v3("inception_v3", torchvision="inception_v3(aux_logits=False)", timm="inception_v3"),
    _v3("inception_v3_aux", aux_logits=True, torchvision="inception_v3"),
)
