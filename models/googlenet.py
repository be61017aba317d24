"""GoogLeNet: nine inception modules, each of which looks at its input with 1x1, 3x3 and 5x5 filters side by side.

In the paper's form convolutions have biases, LRN stands in the stem and pools round up, as in Caffe's bvlc_googlenet,
whose widths are Table 1's. ``norm="batch"`` is torchvision's net: batch norm for biases and LRN, **3x3 for the 5x5
filters** (``kernel=3``, a known mistake that its weights depend on) and a 2x2 pool4. Its files hold auxiliary heads
(dropped by a net without) and want ``transform_input=True``, which turns ImageNet's normalisation into TensorFlow's.

**See** Szegedy et al., "Going Deeper with Convolutions", 2014.
"""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar, NamedTuple

from minicnn import nn, ops
from minicnn.errors import ArgumentError
from minicnn.models.network import Network
from minicnn.models.spec import Published, Recipe, spec
from minicnn.nn import init
from minicnn.random import Generator

NORMS = ("lrn", "batch")
IMAGENET = ((0.485, 0.229), (0.456, 0.224), (0.406, 0.225))  # mean and deviation of red, green, blue

Unit = Callable[..., nn.Module]  # builds a convolution with what follows it


class BasicConv2d(nn.Sequential):
    """Convolution, batch norm (or a bias), ReLU."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        *,
        batch_norm: bool = True,
        bias: bool | None = None,
        eps: float = 1e-3,
        generator: Generator | None = None,
        **where: Any,
    ) -> None:
        super().__init__()
        bias = not batch_norm if bias is None else bias
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, bias=bias, generator=generator, **where)
        if batch_norm:
            self.bn = nn.BatchNorm2d(out_channels, eps)
        self.relu = nn.ReLU()


class Branches(nn.Sequential):
    """Every child runs on the same input; their channels are put side by side ("filter concatenation")."""

    def forward(self, x: Any) -> Any:
        return ops.concatenate([branch(x) for branch in self.children()], 1)


class InceptionNaive(Branches):
    """The module as first drawn: 1x1, 3x3, 5x5 and a 3x3 max pool on all input channels (Figure 2a)."""

    def __init__(self, in_channels: int, ch1x1: int, ch3x3: int, ch5x5: int, *, unit: Unit = BasicConv2d) -> None:
        super().__init__(
            branch1=unit(in_channels, ch1x1, 1),
            branch2=unit(in_channels, ch3x3, 3, padding=1),
            branch3=unit(in_channels, ch5x5, 5, padding=2),
            branch4=nn.MaxPool2d(3, 1, 1),
        )


class Inception(Branches):
    """The module with 1x1 reductions before the large filters and after the pool (Figure 2b); a row of Table 1."""

    def __init__(
        self,
        in_channels: int,
        ch1x1: int,
        ch3x3red: int,
        ch3x3: int,
        ch5x5red: int,
        ch5x5: int,
        pool_proj: int,
        *,
        kernel: int = 5,
        unit: Unit = BasicConv2d,
    ) -> None:
        super().__init__(
            branch1=unit(in_channels, ch1x1, 1),
            branch2=nn.Sequential(unit(in_channels, ch3x3red, 1), unit(ch3x3red, ch3x3, 3, padding=1)),
            branch3=nn.Sequential(unit(in_channels, ch5x5red, 1), unit(ch5x5red, ch5x5, kernel, padding=kernel // 2)),
            branch4=nn.Sequential(nn.MaxPool2d(3, 1, 1), unit(in_channels, pool_proj, 1)),
        )


class AuxiliaryHead(nn.Module):
    """A small classifier on 14x14 maps: mean pool to 4x4, 1x1 to 128 channels, 1024 units, classes.

    ``adaptive=True`` pools maps of any size to 4x4.
    """

    def __init__(
        self, in_channels: int, num_classes: int, *, adaptive: bool, unit: Unit, generator: Generator | None
    ) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(4) if adaptive else nn.AvgPool2d(5, 3)
        self.conv, self.flatten = unit(in_channels, 128, 1), nn.Flatten()
        self.fc1 = nn.Linear(128 * 4 * 4, 1024, generator=generator)
        self.relu, self.dropout = nn.ReLU(), nn.Dropout(0.7, generator=generator)
        self.fc2 = nn.Linear(1024, num_classes, generator=generator)

    def forward(self, x: Any) -> Any:
        x = self.flatten(self.conv(self.pool(x)))
        return self.fc2(self.dropout(self.relu(self.fc1(x))))


class GoogLeNetOutputs(NamedTuple):
    """What a net with auxiliary heads returns while training; the first head (on 4a) comes last, as torchvision's."""

    logits: Any
    aux_logits2: Any
    aux_logits1: Any


def imagenet_to_tensorflow(x: Any) -> Any:
    """An image normalised by ImageNet's mean and deviation, in TensorFlow's range -1 to 1."""
    planes = [x[:, i : i + 1] * (std / 0.5) + (mean - 0.5) / 0.5 for i, (mean, std) in enumerate(IMAGENET)]
    return ops.concatenate(planes, 1)


def check_transform(kind: str, transform_input: bool, in_channels: int) -> None:
    if transform_input and in_channels != 3:
        raise ArgumentError(f"{kind}: transform_input=True with in_channels={in_channels}, expected 3 (RGB)")


class GoogLeNet(Network):
    """Stem, modules 3a to 5b with max pools between 3, 4 and 5, global mean, linear."""

    stage_paths: ClassVar = {
        "stem": "conv1",
        "stage1": "conv3",
        "stage2": "inception3b",
        "stage3": "inception4e",
        "stage4": "inception5b",
    }

    def __init__(
        self,
        *,
        norm: str = "lrn",
        kernel: int = 5,
        pool4: int = 3,
        dropout: float = 0.4,
        aux_logits: bool = False,
        transform_input: bool = False,
        num_classes: int = 1000,
        in_channels: int = 3,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        if norm not in NORMS:
            raise ArgumentError(f"GoogLeNet: norm={norm!r} is unknown, expected one of {NORMS}")
        if kernel not in (3, 5):
            raise ArgumentError(f"GoogLeNet: kernel={kernel!r}, expected 5 (the paper's) or 3 (torchvision's)")
        check_transform("GoogLeNet", transform_input, in_channels)
        self.transform_input, lrn = transform_input, norm == "lrn"
        unit = partial(BasicConv2d, batch_norm=not lrn, generator=generator)
        self._build_trunk(in_channels, lrn, partial(Inception, kernel=kernel, unit=unit), unit, pool4)
        self.aux1: nn.Module | None = None
        self.aux2: nn.Module | None = None
        if aux_logits:
            head = partial(AuxiliaryHead, num_classes=num_classes, adaptive=not lrn, unit=unit, generator=generator)
            self.aux1, self.aux2 = head(512), head(528)
        self.avgpool, self.flatten = nn.GlobalAvgPool2d(), nn.Flatten()
        self.dropout = nn.Dropout(dropout, generator=generator)
        self.fc = nn.Linear(1024, num_classes, generator=generator)
        (_xavier if lrn else _narrow_normal)(self, generator)

    def _build_trunk(
        self, in_channels: int, lrn: bool, module: Callable[..., nn.Module], unit: Unit, pool4: int
    ) -> None:
        """Table 1, from the image to 5b."""
        pool = partial(nn.MaxPool2d, stride=2, ceil_mode=True)
        self.conv1 = unit(in_channels, 64, 7, stride=2, padding=3)
        self.maxpool1, self.norm1 = pool(3), nn.LocalResponseNorm(5) if lrn else nn.Identity()
        self.conv2 = unit(64, 64, 1)
        self.conv3 = unit(64, 192, 3, padding=1)
        self.norm2, self.maxpool2 = nn.LocalResponseNorm(5) if lrn else nn.Identity(), pool(3)
        # input channels, 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool proj
        self.inception3a = module(192, 64, 96, 128, 16, 32, 32)
        self.inception3b = module(256, 128, 128, 192, 32, 96, 64)
        self.maxpool3 = pool(3)
        self.inception4a = module(480, 192, 96, 208, 16, 48, 64)
        self.inception4b = module(512, 160, 112, 224, 24, 64, 64)
        self.inception4c = module(512, 128, 128, 256, 24, 64, 64)
        self.inception4d = module(512, 112, 144, 288, 32, 64, 64)
        self.inception4e = module(528, 256, 160, 320, 32, 128, 128)
        self.maxpool4 = pool(pool4)
        self.inception5a = module(832, 256, 160, 320, 32, 128, 128)
        self.inception5b = module(832, 384, 192, 384, 48, 128, 128)

    def forward(self, x: Any) -> Any:
        x = imagenet_to_tensorflow(x) if self.transform_input else x
        x = self.norm1(self.maxpool1(self.conv1(x)))
        x = self.maxpool2(self.norm2(self.conv3(self.conv2(x))))
        x = self.maxpool3(self.inception3b(self.inception3a(x)))
        a = self.inception4a(x)
        d = self.inception4d(self.inception4c(self.inception4b(a)))
        x = self.maxpool4(self.inception4e(d))
        x = self.inception5b(self.inception5a(x))
        logits = self.fc(self.dropout(self.flatten(self.avgpool(x))))
        if self.training and self.aux1 is not None and self.aux2 is not None:
            return GoogLeNetOutputs(logits, self.aux2(d), self.aux1(a))
        return logits

    def adapt_state(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """Without the auxiliary heads of the file, if this net has none."""
        if self.aux1 is not None:
            return values
        return {name: value for name, value in values.items() if not name.startswith(("aux1.", "aux2."))}


def _xavier(model: nn.Module, generator: Generator | None) -> None:
    """bvlc_googlenet: uniform by fan_in, biases 0.2 so that every ReLU starts alive; 0 where logits come out."""
    for path, module in model.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            bound = math.sqrt(3 / init.fans(module.weight)[0])
            init.uniform_(module.weight, -bound, bound, generator)
            if module.bias is not None:
                init.constant_(module.bias, 0.0 if path.split(".")[-1] in ("fc", "fc2") else 0.2)


def _narrow_normal(model: nn.Module, generator: Generator | None) -> None:
    """torchvision: normal with deviation 0.01 (its bounds of +-2 cut nothing off); batch norms are 1 and 0 already."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            init.normal_(module.weight, 0.0, 0.01, generator=generator)


RECIPE = Recipe(
    optimizer="sgd",
    lr=0.01,
    batch=32,
    epochs=250,
    momentum=0.9,
    weight_decay=2e-4,
    gamma=0.96,
    augmentation=("random crop 224, 8-100% of the area, aspect 3/4 to 4/3", "flip", "photometric distortion"),
    options=(("step_epochs", 8), ("aux_weight", 0.3), ("dropout", 0.4), ("polyak_averaging", True)),
    source="sections 5 and 6; rates, batch and decay from bvlc_googlenet/solver.prototxt",
    notes="4% less every 8 epochs; bvlc's quick_solver instead: rate (1 - t/T)^0.5 over 60 epochs",
)

_googlenet = partial(
    spec,
    GoogLeNet,
    family="GoogLeNet",
    year=2014,
    paper="arXiv:1409.4842",
    input_shape=(3, 224, 224),
    num_classes=1000,
    recipe=RECIPE,
)
_paper = partial(
    _googlenet,
    published=Published(
        top1_error=31.3,
        top5_error=11.1,
        protocol="bvlc_googlenet, centre crop, validation",
        source="models/bvlc_googlenet/readme.md of Caffe",
    ),
    deviations="Table 1's parameters (6.8M in all) do not follow from its widths; the text has 5M, 12 times fewer than "
    "AlexNet: they are 7.0M, 8.7 times fewer. LRN divides alpha by n, k is 1, as in Caffe",
)
_batch = partial(_googlenet, form="torchvision", norm="batch", pool4=2, dropout=0.2)

TABLE = (
    _paper("googlenet"),
    _paper("googlenet_aux", aux_logits=True),
    _batch(
        "googlenet_bn_tv",
        kernel=3,
        torchvision="googlenet",
        published=Published(
            "6624904",
            "1.50G",
            30.222,
            10.47,
            "centre crop, validation",
            "its page at pytorch.org: 69.778% and 89.53% right",
        ),
    ),
    _batch("googlenet_bn_tv_aux", kernel=3, aux_logits=True, torchvision="googlenet(aux_logits=True)"),
    _batch("googlenet_bn_5x5", deviations="torchvision's net with the 5x5 filters it should have"),
)
