"""Deep layer aggregation: the outputs of all blocks of a network, gathered by nodes that form trees.

Hierarchical aggregation, within a stage: the smallest ``Tree`` is two residual blocks and the node ("root") that merges
them. A deeper one is two trees, the second fed by the first; the output of the first goes to the last root of the
second as well. 2**depth blocks thus have half as many roots, and that last root sees every level of the tree at once.
Iterative aggregation, between stages: a tree also hands its input, halved by a max pool, to its last root.
``residual_root``, in the deep nets, adds the last block to what a root makes.

The authors' code makes a projection for every tree that changes the channels and uses those of two blocks alone. The
others are left out here, and out of files that have them; else weight names are the authors' and timm's.

**Math** ``N(x_1, ..., x_n) = relu(bn(sum_i W_i x_i) [+ x_1])``, W_i 1x1 convolutions, ``x_1`` the last block.
**See** Yu et al., "Deep Layer Aggregation", 2017.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar

from minicnn import nn, ops
from minicnn.errors import ArgumentError
from minicnn.models.network import Network
from minicnn.models.resnet import BasicBlock, Block, Bottleneck, check_block, he_initialise
from minicnn.models.spec import Published, Recipe, spec
from minicnn.ops.geometry import integer
from minicnn.random import Generator

MakeLeaf = Callable[[int, int, int], nn.Module]  # input channels, output channels, stride


class Leaf(Block):
    """A residual block in a tree, which hands it the shortcut; mixed into one of ResNet's blocks."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1, **options: Any) -> None:
        make: Any = super().__init__  # of the block that this is mixed into; "none": it makes no shortcut itself
        make(in_channels, out_channels // self.expansion, stride, shortcut="none", **options)
        self.residual = True

    def forward(self, x: Any, shortcut: Any = None) -> Any:
        return self.relu(self.add(self.branch, x, x if shortcut is None else shortcut))


class BasicLeaf(Leaf, BasicBlock):
    """Two 3x3 convolutions."""


class BottleneckLeaf(Leaf, Bottleneck):
    """1x1 to half the channels, 3x3, 1x1; the 3x3 of DLA-X has groups, and widths as in ResNeXt."""

    expansion = 2


LEAVES: dict[str, type[Leaf]] = {"basic": BasicLeaf, "bottleneck": BottleneckLeaf}


class Root(nn.Module):
    """An aggregation node: all its inputs through one 1x1, with ``residual`` plus the first of them."""

    printed = ("residual",)

    def __init__(self, in_channels: int, out_channels: int, residual: bool, generator: Generator | None) -> None:
        super().__init__()
        self.residual = residual
        self.conv = nn.Conv2d(in_channels, out_channels, 1, bias=False, generator=generator)
        self.bn = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU()

    def forward(self, *inputs: Any) -> Any:
        y = self.bn(self.conv(ops.concatenate(inputs, 1)))
        return self.relu(y + inputs[0] if self.residual else y)


class Tree(nn.Module):
    """``2 ** depth`` leaves and the roots of their pairs; the first leaf strides.

    The last root aggregates ``extra`` channels besides its pair, and with ``keeps_input`` also the pooled input.
    """

    printed = ("depth", "stride", "keeps_input")
    tree1: nn.Module
    tree2: nn.Module

    def __init__(
        self,
        depth: int,
        leaf: MakeLeaf,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        *,
        extra: int = 0,
        keeps_input: bool = False,
        residual_root: bool = False,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        self.depth, self.stride, self.keeps_input = depth, stride, keeps_input
        extra += in_channels if keeps_input else 0
        if depth > 1:
            half = partial(Tree, depth - 1, leaf, residual_root=residual_root, generator=generator)
            self.tree1 = half(in_channels, out_channels, stride)
            self.tree2 = half(out_channels, out_channels, extra=extra + out_channels)
            return
        self.project: nn.Module = nn.Identity()
        if in_channels != out_channels:
            conv = nn.Conv2d(in_channels, out_channels, 1, bias=False, generator=generator)
            self.project = nn.Sequential(conv, nn.BatchNorm2d(out_channels))
        self.tree1, self.tree2 = leaf(in_channels, out_channels, stride), leaf(out_channels, out_channels, 1)
        self.root = Root(2 * out_channels + extra, out_channels, residual_root, generator)

    def forward(self, x: Any, pooled: Any = None, nodes: tuple[Any, ...] = ()) -> Any:
        """``pooled`` is ``x`` at the size of the output, ``nodes`` what the last root sees besides its pair."""
        if pooled is None:
            pooled = x if self.stride == 1 else ops.max_pool2d(x, self.stride)
        nodes = (*nodes, pooled) if self.keeps_input else nodes
        if self.depth > 1:
            first = self.tree1(x, pooled)
            return self.tree2(first, nodes=(*nodes, first))
        first = self.tree1(x, self.project(pooled))
        return self.root(self.tree2(first), first, *nodes)


def _convolutions(in_channels: int, channels: int, count: int, stride: int, generator: Generator | None) -> nn.Module:
    """``count`` 3x3 convolutions, the first with the stride."""
    layers: list[nn.Module] = []
    for number in range(count):
        before, step = (channels, 1) if number else (in_channels, stride)
        conv = nn.Conv2d(before, channels, 3, step, padding=1, bias=False, generator=generator)
        layers += [conv, nn.BatchNorm2d(channels), nn.ReLU()]
    return nn.Sequential(*layers)


class Aggregation(Network):
    """7x7 convolution, two levels of 3x3 convolutions, four trees of any leaf, global mean, linear.

    ``levels`` are the numbers of convolutions of the first two levels, then the depths of the trees.
    """

    stage_paths: ClassVar = {"stem": "base_layer"} | {f"stage{i}": f"level{i}" for i in range(6)}

    def __init__(
        self,
        leaf: MakeLeaf,
        levels: tuple[int, ...],
        channels: tuple[int, ...],
        residual_root: bool,
        num_classes: int,
        in_channels: int,
        generator: Generator | None,
    ) -> None:
        super().__init__()
        for name, values in (("levels", levels), ("channels", channels)):
            if len(values) != 6:
                raise ArgumentError(f"{type(self).__name__}: {name}={values!r}, expected six numbers, one a level")
            for value in values:
                integer(type(self).__name__, name, value, 1)
        self.base_layer = nn.Sequential(
            nn.Conv2d(in_channels, channels[0], 7, padding=3, bias=False, generator=generator),
            nn.BatchNorm2d(channels[0]),
            nn.ReLU(),
        )
        self.level0 = _convolutions(channels[0], channels[0], levels[0], 1, generator)
        self.level1 = _convolutions(channels[0], channels[1], levels[1], 2, generator)
        tree = partial(Tree, stride=2, residual_root=residual_root, generator=generator)
        self.level2 = tree(levels[2], leaf, channels[1], channels[2])
        self.level3 = tree(levels[3], leaf, channels[2], channels[3], keeps_input=True)
        self.level4 = tree(levels[4], leaf, channels[3], channels[4], keeps_input=True)
        self.level5 = tree(levels[5], leaf, channels[4], channels[5], keeps_input=True)
        self.avgpool = nn.GlobalAvgPool2d()
        self.fc = nn.Conv2d(channels[5], num_classes, 1, generator=generator)
        self.flatten = nn.Flatten()
        he_initialise(self, generator)

    def adapt_state(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """The authors' files without the projections that their code never uses."""
        mine = {path for path, _ in self.named_modules()}
        return {key: v for key, v in values.items() if ".project." not in key or key.rpartition(".")[0] in mine}

    def forward(self, x: Any) -> Any:
        x = self.level1(self.level0(self.base_layer(x)))
        x = self.level5(self.level4(self.level3(self.level2(x))))
        return self.flatten(self.fc(self.avgpool(x)))


class DLA(Aggregation):
    """Trees of ResNet's blocks; with ``groups`` bottlenecks are those of DLA-X."""

    def __init__(
        self,
        *,
        block: str = "bottleneck",
        levels: tuple[int, ...] = (1, 1, 1, 2, 3, 1),
        channels: tuple[int, ...] = (16, 32, 128, 256, 512, 1024),
        residual_root: bool = False,
        groups: int = 1,
        base_width: int = 64,
        num_classes: int = 1000,
        in_channels: int = 3,
        generator: Generator | None = None,
    ) -> None:
        kind = LEAVES[check_block("DLA", block, "B", False, groups, base_width)]
        widths = {} if block == "basic" else {"groups": groups, "base_width": base_width}
        leaf = partial(kind, **widths, generator=generator)
        super().__init__(leaf, levels, channels, residual_root, num_classes, in_channels, generator)


RECIPE = Recipe(
    optimizer="sgd",
    lr=0.1,
    batch=256,
    epochs=120,
    momentum=0.9,
    weight_decay=1e-4,
    milestones=(30, 60, 90),
    augmentation=("random resized crop 224, 8-100 %, 3/4-4/3", "flip", "mean and deviation"),
    source="ucbdrive/dla: classify.py, README",
)

_PROJECTIONS = "the authors' code has more parameters, projections that are never used"
_dla = partial(
    spec,
    DLA,
    family="DLA",
    year=2017,
    paper="arXiv:1707.06484",
    input_shape=(3, 224, 224),
    num_classes=1000,
    form="timm",
    recipe=RECIPE,
    deviations=_PROJECTIONS,
)
_quoted = partial(
    Published, protocol="single crop 224, validation", source="table 1 of arXiv:1904.01169 quotes the paper"
)
_x = {"groups": 32, "base_width": 4}
_compact = partial(_dla, channels=(16, 32, 64, 64, 128, 256))
_wide = partial(_dla, channels=(16, 32, 128, 256, 512, 1024))
_60 = partial(_wide, levels=(1, 1, 1, 2, 3, 1))
_102 = partial(_wide, levels=(1, 1, 1, 3, 4, 1), residual_root=True)

TABLE = (
    _dla("dla34", block="basic", levels=(1, 1, 1, 2, 2, 1), channels=(16, 32, 64, 128, 256, 512), timm="dla34"),
    _compact("dla46_c", levels=(1, 1, 1, 2, 2, 1), timm="dla46_c"),
    _compact("dla46x_c", levels=(1, 1, 1, 2, 2, 1), **_x, timm="dla46x_c"),
    _60("dla60", published=_quoted("", "", 23.32, 6.60), timm="dla60"),
    _60("dla60x", **_x, published=_quoted("", "", 22.19, 6.13), timm="dla60x"),
    _compact("dla60x_c", levels=(1, 1, 1, 2, 3, 1), **_x, timm="dla60x_c"),
    _102("dla102", timm="dla102"),
    _102("dla102x", **_x, timm="dla102x"),
    _102("dla102x2", groups=64, base_width=4, timm="dla102x2"),
    _wide("dla169", levels=(1, 1, 2, 3, 5, 1), residual_root=True, timm="dla169"),
)
