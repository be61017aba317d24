"""SE gates in networks that are not residual at heart, and in wide ResNets.

A gate stands after the filters of an Inception module are joined, after each ReLU of VGG, and before the addition of a
pre-activation unit.

**See** Hu et al., "Squeeze-and-Excitation Networks", 2017, version 3.
"""

from typing import ClassVar

from minicnn import nn
from minicnn.models.bn_inception import BNInception
from minicnn.models.senet import RECIPE, gate_for, printed, senet_row, squeeze_and_excite
from minicnn.models.spec import Published
from minicnn.models.vgg import VGG
from minicnn.models.wide_resnet import WideResNet
from minicnn.random import Generator


class SEBNInception(BNInception):
    """``BNInception`` with a gate after every module."""

    # what each module puts out
    CHANNELS: ClassVar = {
        **{"3a": 256, "3b": 320, "3c": 576},
        **{"4a": 576, "4b": 576, "4c": 608, "4d": 608, "4e": 1056},
        **{"5a": 1024, "5b": 1024},
    }

    def __init__(
        self,
        *,
        reduction: int = 16,
        gate: str = "excitation",
        num_classes: int = 1000,
        in_channels: int = 3,
        generator: Generator | None = None,
    ) -> None:
        super().__init__(num_classes=num_classes, in_channels=in_channels, generator=generator)
        for name, channels in self.CHANNELS.items():
            se = gate_for("SEBNInception", channels, reduction, gate, generator)
            self.add_module(f"inception{name}", nn.Sequential(module=getattr(self, f"inception{name}"), se=se))


class SEVGG(VGG):
    """``VGG`` with a gate after every ReLU of the features; its other weights keep the names of VGG's."""

    def __init__(
        self,
        *,
        configuration: str = "D",
        batch_norm: bool = True,
        hidden: int = 4096,
        dropout: float = 0.5,
        reduction: int = 16,
        gate: str = "excitation",
        num_classes: int = 1000,
        in_channels: int = 3,
        generator: Generator | None = None,
    ) -> None:
        super().__init__(
            configuration=configuration,
            batch_norm=batch_norm,
            hidden=hidden,
            dropout=dropout,
            num_classes=num_classes,
            in_channels=in_channels,
            generator=generator,
        )
        for number, layer in enumerate(self.features):
            if isinstance(layer, nn.Conv2d):
                channels = layer.out_channels
            elif isinstance(layer, nn.ReLU):
                se = gate_for("SEVGG", channels, reduction, gate, generator)
                self.features[number] = nn.Sequential(relu=layer, se=se)


class SEWideResNet(WideResNet):
    """``WideResNet`` with gates."""

    def __init__(
        self,
        *,
        depth: int = 16,
        widen: int = 8,
        dropout: float = 0.0,
        reduction: int = 16,
        gate: str = "excitation",
        num_classes: int = 10,
        in_channels: int = 3,
        generator: Generator | None = None,
    ) -> None:
        super().__init__(
            depth=depth,
            widen=widen,
            dropout=dropout,
            num_classes=num_classes,
            in_channels=in_channels,
            generator=generator,
        )
        squeeze_and_excite(self, reduction, gate, generator)


TABLE = (
    senet_row(
        SEBNInception,
        "se_bn_inception",
        input_shape=(3, 224, 224),
        num_classes=1000,
        form="Caffe",
        published=printed("", "", 23.62, 7.04),
        recipe=RECIPE,
    ),
    senet_row(
        SEWideResNet,
        "se_wrn16_8_cifar10",
        input_shape=(3, 32, 32),
        num_classes=10,
        published=Published("11.1M", source="version 3, CIFAR"),
        depth=16,
        widen=8,
    ),
    senet_row(SEVGG, "se_vgg16_bn", input_shape=(3, 224, 224), num_classes=1000, configuration="D"),
)
