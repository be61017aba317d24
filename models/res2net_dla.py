"""Res2Net-DLA: the staircase of Res2Net at the leaves of deep layer aggregation; two kinds of scales that add up.

DLA gathers scales between blocks, Res2Net within one. Nothing else changes: ``dla60`` with ``Bottle2neck`` for its
bottlenecks, with ``groups`` for those of DLA-X. Weight names are the authors' and timm's; unused projections of the
authors' code are left out.

**Math** that of ``models/res2net.py`` in the leaves, that of ``models/dla.py`` in the roots.
**See** Gao et al., "Res2Net: A New Multi-scale Backbone Architecture", 2019, section 3.3.
"""

from functools import partial

from minicnn.models.dla import Aggregation, Leaf
from minicnn.models.res2net import README, RECIPE, Bottle2neck, printed, res2net_row
from minicnn.ops.geometry import integer
from minicnn.random import Generator


class Bottle2neckLeaf(Leaf, Bottle2neck):
    """``Bottle2neck`` from half the channels; the one that strides is the first of its stage."""

    expansion = 2


class Res2NetDLA(Aggregation):
    """Trees of ``Bottle2neck``."""

    def __init__(
        self,
        *,
        levels: tuple[int, ...] = (1, 1, 1, 2, 3, 1),
        channels: tuple[int, ...] = (16, 32, 128, 256, 512, 1024),
        residual_root: bool = False,
        scale: int = 4,
        base_width: int = 28,
        groups: int = 1,
        num_classes: int = 1000,
        in_channels: int = 3,
        generator: Generator | None = None,
    ) -> None:
        for name, value in (("scale", scale), ("base_width", base_width), ("groups", groups)):
            integer("Res2NetDLA", name, value, 1)
        leaf = partial(Bottle2neckLeaf, scale=scale, base_width=base_width, groups=groups, generator=generator)
        super().__init__(leaf, levels, channels, residual_root, num_classes, in_channels, generator)


_printed = partial(printed, source=f"table 1; sizes, unused projections included: {README}")
_60 = partial(
    res2net_row,
    Res2NetDLA,
    levels=(1, 1, 1, 2, 3, 1),
    channels=(16, 32, 128, 256, 512, 1024),
    scale=4,
    input_shape=(3, 224, 224),
    num_classes=1000,
    form="timm",
    recipe=RECIPE,
)

TABLE = (
    _60(
        "res2net_dla60",
        base_width=28,
        published=_printed("21.15M", "4.2G", 21.53, 5.80),
        timm="dla60_res2net",
        deviations="the authors' code has 21,145,544 parameters, projections that are never used among them",
    ),
    _60(
        "res2next_dla60",
        base_width=4,
        groups=8,
        published=_printed("17.33M", "3.6G", 21.55, 5.86),
        timm="dla60_res2next",
        deviations="the authors' code has 17,330,456 parameters, projections that are never used among them",
    ),
)
