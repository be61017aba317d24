"""PreResNet: residual units with batch norm and ReLU before the convolutions, and the four other orderings.

``ordering=`` names the units of the paper's figure 4: ``"original"``, ``"bn_after_addition"``,
``"relu_before_addition"``, ``"relu_preactivation"`` and ``"preactivation"``. Pre-activation units leave the sum alone,
so the first unit of a stage activates before it splits, and the network ends in the activation that the last sum still
needs; the ImageNet nets activate in the stem, before the pool. Projections are bare 1x1 convolutions, with batch norm
where the branch ends in one. How (b), (c) and (d) start, end and project the paper leaves open.

**See** He et al., "Identity Mappings in Deep Residual Networks", 2016.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar, NamedTuple

from minicnn import nn
from minicnn.errors import ArgumentError
from minicnn.models.network import Network
from minicnn.models.resnet import BLOCKS, PadShortcut, Residual, check_block, check_depths, he_initialise
from minicnn.models.resnet_cifar import RECIPE, cifar_blocks
from minicnn.models.spec import Published, Recipe, spec
from minicnn.nn import init
from minicnn.random import Generator


class Convolution(NamedTuple):
    """One of a unit's convolutions."""

    kernel: int
    channels: int
    stride: int = 1


class Unit(Residual):
    """The convolutions of a unit, a norm for each, and its shortcut; every ordering writes its own ``forward``.

    ``enters`` says what happens before the first convolution of a pre-activation unit: "activated" (the input is
    already), "shared" (activate, then split) or "branch" (activate in the branch only).
    """

    preactivated: ClassVar[bool] = False  # norms have the channels that go into their convolution
    projects_with_norm: ClassVar[bool] = True

    def __init__(
        self,
        in_channels: int,
        convolutions: Sequence[Convolution],
        *,
        shortcut: str = "B",
        enters: str = "branch",
        dropout: float = 0.0,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        channels = [in_channels, *(c.channels for c in convolutions)]
        self.convs = nn.ModuleList(
            nn.Conv2d(before, c.channels, c.kernel, c.stride, c.kernel // 2, bias=False, generator=generator)
            for before, c in zip(channels, convolutions, strict=False)
        )
        self.enters, self.relu = enters, nn.ReLU()
        self.dropout = nn.Dropout(dropout, generator=generator) if dropout else nn.Identity()
        normed = channels[:-1] if self.preactivated else channels[1:]
        self.norms = nn.ModuleList(nn.BatchNorm2d(c) for c in normed)
        if self.preactivated and enters == "activated":
            self.norms[0] = nn.Identity()
        stride = max(c.stride for c in convolutions)
        self.shortcut = self._shortcut(in_channels, channels[-1], stride, shortcut, generator)

    def _shortcut(self, before: int, after: int, stride: int, kind: str, generator: Generator | None) -> nn.Module:
        if kind != "C" and before == after and stride == 1:
            return nn.Identity()
        if kind == "A":
            return PadShortcut(before, after, stride)
        projection = nn.Conv2d(before, after, 1, stride, bias=False, generator=generator)
        return nn.Sequential(projection, nn.BatchNorm2d(after)) if self.projects_with_norm else projection

    def convolved(self, y: Any) -> Any:
        """conv, BN, ReLU, ... up to the last convolution, bare."""
        for conv, norm in list(zip(self.convs, self.norms, strict=True))[:-1]:
            y = self.relu(norm(conv(y)))
        return self.convs[-1](y)


class Original(Unit):
    """Figure 4 (a): conv, BN, ReLU, conv, BN; add; ReLU."""

    def branch(self, x: Any) -> Any:
        return self.norms[-1](self.convolved(x))

    def forward(self, x: Any) -> Any:
        return self.relu(self.add(self.branch, x, self.shortcut(x)))


class BnAfterAddition(Unit):
    """Figure 4 (b): conv, BN, ReLU, conv; add; BN, ReLU."""

    projects_with_norm = False

    def forward(self, x: Any) -> Any:
        return self.relu(self.norms[-1](self.add(self.convolved, x, self.shortcut(x))))


class ReluBeforeAddition(Unit):
    """Figure 4 (c): conv, BN, ReLU, conv, BN, ReLU; add."""

    def branch(self, x: Any) -> Any:
        return self.relu(self.norms[-1](self.convolved(x)))

    def forward(self, x: Any) -> Any:
        return self.add(self.branch, x, self.shortcut(x))


class ReluPreactivation(Unit):
    """Figure 4 (d): ReLU, conv, BN, ReLU, conv, BN; add."""

    def branch(self, activated: Any) -> Any:
        return self.norms[-1](self.convolved(activated))

    def forward(self, x: Any) -> Any:
        activated = x if self.enters == "activated" else self.relu(x)
        return self.add(self.branch, activated, self.shortcut(activated if self.enters == "shared" else x))


class Preactivation(Unit):
    """Figure 4 (e): BN, ReLU, conv, BN, ReLU, conv; add. Dropout, if any, before all convs but the first."""

    preactivated = True
    projects_with_norm = False

    def branch(self, activated: Any) -> Any:
        y = self.convs[0](activated)
        for norm, conv in list(zip(self.norms, self.convs, strict=True))[1:]:
            y = conv(self.dropout(self.relu(norm(y))))
        return y

    def forward(self, x: Any) -> Any:
        activated = x if self.enters == "activated" else self.relu(self.norms[0](x))
        return self.add(self.branch, activated, self.shortcut(activated if self.enters == "shared" else x))


ORDERINGS: dict[str, type[Unit]] = {
    "original": Original,
    "bn_after_addition": BnAfterAddition,
    "relu_before_addition": ReluBeforeAddition,
    "relu_preactivation": ReluPreactivation,
    "preactivation": Preactivation,
}
SHORTCUTS = ("A", "B", "C")


def basic(channels: int, stride: int, stride_in_1x1: bool) -> list[Convolution]:
    """Two 3x3 convolutions."""
    return [Convolution(3, channels, stride), Convolution(3, channels)]


def bottleneck(channels: int, stride: int, stride_in_1x1: bool) -> list[Convolution]:
    """1x1, 3x3, and 1x1 to four times as many channels."""
    first, second = (stride, 1) if stride_in_1x1 else (1, stride)
    return [Convolution(1, channels, first), Convolution(3, channels, second), Convolution(1, 4 * channels)]


SHAPES = {"basic": basic, "bottleneck": bottleneck}


def stage(
    block: str,
    ordering: str,
    in_channels: int,
    channels: int,
    depth: int,
    stride: int,
    *,
    enters: str = "shared",
    stride_in_1x1: bool = False,
    **options: Any,
) -> nn.Sequential:
    """``depth`` units of the same width, the first with the stride."""
    unit = ORDERINGS[ordering]
    first = SHAPES[block](channels, stride, stride_in_1x1)
    rest = SHAPES[block](channels, 1, stride_in_1x1)
    units = [unit(in_channels, first, enters=enters, **options)]
    units += [unit(first[-1].channels, rest, **options) for _ in range(depth - 1)]
    return nn.Sequential(*units)


def last_activation(ordering: str, channels: int) -> nn.Module:
    """What the last sum still needs before it is averaged."""
    if ordering == "preactivation":
        return nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU())
    return nn.ReLU() if ordering == "relu_preactivation" else nn.Identity()


def initialise(model: nn.Module, generator: Generator | None) -> None:
    """Normal with variance 2 / fan_out for convolutions, no bias in the classifier, as in the authors' code."""
    he_initialise(model, generator)
    for module in model.modules():
        if isinstance(module, nn.Linear) and module.bias is not None:
            init.zeros_(module.bias)


def check_ordering(kind: str, ordering: str, shortcut: str) -> None:
    if ordering not in ORDERINGS:
        raise ArgumentError(f"{kind}: ordering={ordering!r} is unknown, expected one of {tuple(ORDERINGS)}")
    if shortcut not in SHORTCUTS:
        raise ArgumentError(f"{kind}: shortcut={shortcut!r} is unknown, expected one of {SHORTCUTS}")


class PreResNet(Network):
    """7x7 convolution, BN, ReLU and 3x3 pool, four stages of units, BN and ReLU, global mean, linear."""

    stage_paths: ClassVar = {"stem": "stem"} | {f"stage{i}": f"layer{i}" for i in (1, 2, 3, 4)}
    cam_path: ClassVar = "last"

    def __init__(
        self,
        *,
        block: str = "basic",
        depths: tuple[int, int, int, int] = (2, 2, 2, 2),
        ordering: str = "preactivation",
        shortcut: str = "B",
        stride_in_1x1: bool = False,
        num_classes: int = 1000,
        in_channels: int = 3,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        check_ordering("PreResNet", ordering, shortcut)
        check_depths("PreResNet", depths)
        check_block("PreResNet", block, shortcut, stride_in_1x1)
        conv1 = nn.Conv2d(in_channels, 64, 7, 2, 3, bias=False, generator=generator)
        self.stem = nn.Sequential(conv1, nn.BatchNorm2d(64), nn.ReLU())
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        units, e = partial(stage, block, ordering), BLOCKS[block].expansion
        options = dict[str, Any](stride_in_1x1=stride_in_1x1, shortcut=shortcut, generator=generator)
        self.layer1 = units(64, 64, depths[0], 1, enters="activated", **options)
        self.layer2 = units(64 * e, 128, depths[1], 2, **options)
        self.layer3 = units(128 * e, 256, depths[2], 2, **options)
        self.layer4 = units(256 * e, 512, depths[3], 2, **options)
        self.last = last_activation(ordering, 512 * e)
        self.avgpool = nn.GlobalAvgPool2d()
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(512 * e, num_classes, generator=generator)
        initialise(self, generator)

    def forward(self, x: Any) -> Any:
        x = self.maxpool(self.stem(x))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(self.flatten(self.avgpool(self.last(x))))


class PreResNetCifar(Network):
    """3x3 convolution, three stages of (depth - 2) / 6 units, or / 9 of bottlenecks, BN and ReLU, mean, linear."""

    stage_paths: ClassVar = {"stem": "stem"} | {f"stage{i}": f"layer{i}" for i in (1, 2, 3)}
    cam_path: ClassVar = "last"

    def __init__(
        self,
        *,
        depth: int = 110,
        block: str = "basic",
        ordering: str = "preactivation",
        shortcut: str = "A",
        stride_in_1x1: bool = False,
        num_classes: int = 10,
        in_channels: int = 3,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        check_ordering("PreResNetCifar", ordering, shortcut)
        check_block("PreResNetCifar", block, shortcut, stride_in_1x1)
        n = cifar_blocks("PreResNetCifar", depth, block)
        self.stem = nn.Sequential(nn.Conv2d(in_channels, 16, 3, padding=1, bias=False, generator=generator))
        if ordering != "preactivation":
            self.stem.append(nn.BatchNorm2d(16))
            self.stem.append(nn.Identity() if ordering == "relu_preactivation" else nn.ReLU())
        units, e = partial(stage, block, ordering), BLOCKS[block].expansion
        options = dict[str, Any](stride_in_1x1=stride_in_1x1, shortcut=shortcut, generator=generator)
        self.layer1 = units(16, 16, n, 1, **options)
        self.layer2 = units(16 * e, 32, n, 2, **options)
        self.layer3 = units(32 * e, 64, n, 2, **options)
        self.last = last_activation(ordering, 64 * e)
        self.avgpool = nn.GlobalAvgPool2d()
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(64 * e, num_classes, generator=generator)
        initialise(self, generator)

    def forward(self, x: Any) -> Any:
        x = self.layer3(self.layer2(self.layer1(self.stem(x))))
        return self.fc(self.flatten(self.avgpool(self.last(x))))


# facebook/fb.resnet.torch, which trained the published ResNet-200.
IMAGENET_RECIPE = Recipe(
    optimizer="sgd",
    lr=0.1,
    batch=256,
    epochs=90,
    momentum=0.9,
    weight_decay=1e-4,
    milestones=(30, 60),
    augmentation=("random area 0.08-1 and aspect 3/4-4/3", "flip", "colour jitter", "PCA colour", "mean and deviation"),
    options=(("nesterov", True),),
    source="facebook/fb.resnet.torch: opts.lua, train.lua, TRAINING.md",
    notes="weight decay on all parameters",
)

_imagenet = partial(
    spec,
    PreResNet,
    family="PreResNet",
    year=2016,
    paper="arXiv:1603.05027",
    input_shape=(3, 224, 224),
    num_classes=1000,
    form="fb.resnet.torch",
    recipe=IMAGENET_RECIPE,
)
_cifar = partial(spec, PreResNetCifar, family="PreResNet", year=2016, paper="arXiv:1603.05027", input_shape=(3, 32, 32))
_basic = partial(_cifar, block="basic", shortcut="A", recipe=RECIPE)
_bottleneck = partial(_cifar, block="bottleneck", shortcut="B", stride_in_1x1=True, recipe=RECIPE)
_printed = partial(Published, protocol="median of 5")
_WRN = "table 3; szagoruyko/wide-residual-networks, README"
_200 = Published("64.7M", "", 21.66, 5.79, "single crop, validation", "facebook/fb.resnet.torch, README; WRN's README")

TABLE = (
    _imagenet("preresnet18", block="basic", depths=(2, 2, 2, 2)),
    _imagenet("preresnet34", block="basic", depths=(3, 4, 6, 3)),
    _imagenet("preresnet50", block="bottleneck", depths=(3, 4, 6, 3)),
    _imagenet("preresnet101", block="bottleneck", depths=(3, 4, 23, 3)),
    _imagenet("preresnet152", block="bottleneck", depths=(3, 8, 36, 3)),
    _imagenet("preresnet200", block="bottleneck", depths=(3, 24, 36, 3), published=_200),
    _basic(
        "preresnet110_cifar10",
        depth=110,
        num_classes=10,
        published=_printed("", "", 6.37, source="table 3, quoted from its TeX"),
    ),
    _bottleneck("preresnet164_cifar10", depth=164, num_classes=10, published=_printed("", "", 5.46, source=_WRN)),
    _bottleneck("preresnet164_cifar100", depth=164, num_classes=100, published=_printed("", "", 24.33, source=_WRN)),
    _bottleneck(
        "preresnet1001_cifar10", depth=1001, num_classes=10, published=_printed("10.2M", "", 4.92, source=_WRN)
    ),
    _bottleneck("preresnet1001_cifar100", depth=1001, num_classes=100, published=_printed("", "", 22.71, source=_WRN)),
)
