"""SE gates in mobile networks: after every pointwise layer of MobileNet, at the end of every branch of ShuffleNet.

The paper gives the counts alone. Section 3.3 puts gates after the ReLU where there is no shortcut, as in VGG; the
reduction is 16, which makes the 4.7M and 2.4M parameters of Table 3. Means after a ReLU are never negative, so a
unit of a gate is on for all images or for none: in one of 16 draws none of the first gate's 4 units is, and that gate
then starts as a constant.

**See** Hu et al., "Squeeze-and-Excitation Networks", 2017, version 4, section 5.1.
"""

from functools import partial

from minicnn.models.mobilenet_v1 import DepthwiseSeparable, MobileNetV1
from minicnn.models.senet import gate_for, senet_row, squeeze_and_excite
from minicnn.models.shufflenet_v1 import ShuffleNetV1
from minicnn.models.spec import Published, Recipe
from minicnn.random import Generator


class SEMobileNetV1(MobileNetV1):
    """``MobileNetV1`` with a gate after the last ReLU of every block."""

    def __init__(
        self,
        *,
        width: float = 1.0,
        depths: tuple[int, int, int, int, int] = (1, 2, 2, 6, 2),
        relu6: bool = False,
        dropout: float = 0.001,
        reduction: int = 16,
        gate: str = "excitation",
        num_classes: int = 1000,
        in_channels: int = 3,
        generator: Generator | None = None,
    ) -> None:
        super().__init__(
            width=width,
            depths=depths,
            relu6=relu6,
            dropout=dropout,
            num_classes=num_classes,
            in_channels=in_channels,
            generator=generator,
        )
        for block in reversed(list(self.modules())):  # the last gate is drawn first
            if isinstance(block, DepthwiseSeparable):
                block.se = gate_for("SEMobileNetV1", block.conv_pw.out_channels, reduction, gate, generator)


class SEShuffleNetV1(ShuffleNetV1):
    """``ShuffleNetV1`` with a gate at the end of every branch, before the addition or the joining."""

    def __init__(
        self,
        *,
        groups: int = 3,
        width: float = 1.0,
        stem: int = 24,
        depths: tuple[int, int, int] = (4, 8, 4),
        shuffle: bool = True,
        bias: bool = True,
        reduction: int = 16,
        gate: str = "excitation",
        num_classes: int = 1000,
        in_channels: int = 3,
        generator: Generator | None = None,
    ) -> None:
        super().__init__(
            groups=groups,
            width=width,
            stem=stem,
            depths=depths,
            shuffle=shuffle,
            bias=bias,
            num_classes=num_classes,
            in_channels=in_channels,
            generator=generator,
        )
        squeeze_and_excite(self, reduction, gate, generator)


RECIPE = Recipe(
    optimizer="sgd",
    lr=0.1,
    batch=256,
    epochs=400,
    momentum=0.9,
    weight_decay=4e-5,
    schedule="plateau",
    source="section 5.1, 'Mobile setting'",
    notes="divided by 10 whenever the validation loss stops falling; the weight decay is printed in one version only",
)

_mobile = partial(senet_row, year=2018, input_shape=(3, 224, 224), num_classes=1000, recipe=RECIPE)
_printed = partial(Published, protocol="single crop 224, validation", source="table 3")

TABLE = (
    _mobile(
        SEMobileNetV1,
        "se_mobilenet_v1",
        published=_printed("4.7M", "572M", 25.3, 7.7),
        deviations="the paper's 572M counts the pools and the scaling too, products alone are 569M",
    ),
    _mobile(
        SEShuffleNetV1,
        "se_shufflenet_v1_g3",
        groups=3,
        published=_printed("2.4M", "142M", 31.0, 11.1),
        deviations="the paper's 142M starts from 140M for ShuffleNet, which has 137M",
    ),
)
