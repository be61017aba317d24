"""Res2NeXt: the staircase of a Res2Net block with grouped convolutions, so scales are joined by cardinality.

``6c24w4s`` reads: 6 groups of 24 channels in each of 4 splits. Weight names of ``res2next50`` are timm's.

**Math** ``y_i = K_i(x_i + y_(i-1))`` as in ``models/res2net.py``, K a 3x3 convolution of ``groups`` groups.
**See** Gao et al., "Res2Net: A New Multi-scale Backbone Architecture", 2019, sections 3.2 and 4.3.
"""

from functools import partial

from minicnn.models.res2net import README, RECIPE, Res2Net, printed, res2net_row, stage
from minicnn.models.resnext import CIFAR_RECIPE, CifarBottlenecks
from minicnn.models.spec import Published
from minicnn.ops.geometry import integer
from minicnn.random import Generator


class Res2NeXtCifar(CifarBottlenecks):
    """``ResNeXtCifar`` with other blocks."""

    def __init__(
        self,
        *,
        depth: int = 29,
        scale: int = 4,
        base_width: int = 24,
        groups: int = 6,
        num_classes: int = 100,
        in_channels: int = 3,
        generator: Generator | None = None,
    ) -> None:
        for name, value in (("scale", scale), ("base_width", base_width), ("groups", groups)):
            integer("Res2NeXtCifar", name, value, 1)
        layer = partial(stage, scale=scale, base_width=base_width, groups=groups, generator=generator)
        super().__init__(layer, depth, num_classes, in_channels, generator)


CIFAR100_RECIPE = CIFAR_RECIPE._replace(
    source="section 4.1, 'the implementation of ResNeXt-29', which is facebookresearch/ResNeXt",
    notes="the paper says no more than that it is the same",
)

_29 = partial(
    res2net_row,
    Res2NeXtCifar,
    depth=29,
    paper="arXiv:1904.01169 sec 4.3",
    input_shape=(3, 32, 32),
    num_classes=100,
    recipe=CIFAR100_RECIPE,
    deviations="built from the text, ResNeXt-29 with the block of the authors' ImageNet code: 2 % smaller than the "
    "printed size; their CIFAR code is not published",
)
_error = partial(Published, protocol="CIFAR-100 test", source="table 4")

TABLE = (
    res2net_row(
        Res2Net,
        "res2next50",
        depths=(3, 4, 6, 3),
        scale=4,
        base_width=4,
        groups=8,
        input_shape=(3, 224, 224),
        num_classes=1000,
        form="authors' code",
        published=printed("24.67M", "4.2G", 21.76, 6.09, source=f"table 1; sizes: {README}"),
        recipe=RECIPE,
        timm="res2next50",
    ),
    _29("res2next29_6c24w4s_cifar100", groups=6, base_width=24, scale=4, published=_error("24.3M", "", 16.98)),
    _29("res2next29_8c25w4s_cifar100", groups=8, base_width=25, scale=4, published=_error("33.8M", "", 16.93)),
    _29("res2next29_6c24w6s_cifar100", groups=6, base_width=24, scale=6, published=_error("36.7M", "", 16.79)),
)
