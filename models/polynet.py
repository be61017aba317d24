"""PolyNet: modules that are polynomials of inception blocks.

A residual unit is I + F: the input plus an inception block of it. A PolyInception module has more terms: "poly-2" is
I + F + F F, with one set of filters for both orders; "mpoly-2" is I + F + G F, each order with its own; "2-way" is
I + F + G, side by side. All three see more paths than I + F; poly-2 does so with the parameters of F alone. The Very
Deep PolyNet has 2-ways on its largest maps and poly-3 and 2-way in turn on the others.

``Poly``, ``MPoly`` and ``Way`` take any blocks. In a ``Poly`` all orders have the convolutions of the first and batch
norms of their own. The net is that of the authors' Caffe model: the ReLU that follows a sum also stands between orders,
each order of a poly-3 has its own last 1x1, and the sum of blocks is scaled, from 1 in the first module to 0.7 in the
last.

**Math** ``y = relu(x + s sum_i B_i)``; k-way: ``B_i = F_i x``; mpoly-k: ``B_i = F_i relu(B_{i-1})``, ``B_1 = F_1 x``.
**See** Zhang et al., "PolyNet: A Pursuit of Structural Diversity in Very Deep Networks", 2016.
"""

import re
from collections.abc import Callable, Iterable
from functools import partial
from itertools import islice
from typing import Any, ClassVar

from minicnn import nn
from minicnn.errors import ArgumentError
from minicnn.models.bn_inception import he_initialise
from minicnn.models.googlenet import BasicConv2d, Branches, Unit
from minicnn.models.inception_resnet import ReductionB
from minicnn.models.inception_v4 import ReductionA
from minicnn.models.network import Network
from minicnn.models.spec import Published, spec
from minicnn.ops.arguments import number
from minicnn.ops.geometry import integer
from minicnn.random import Generator

Block = Callable[[], nn.Module]  # builds a block with new weights; what comes out has the shape of what goes in


class PolyInception(nn.Module):
    """``relu(x + scale * (sum of terms))``; every kind says what its terms are."""

    printed = ("scale",)

    def __init__(self, blocks: Iterable[nn.Module], scale: float = 1.0) -> None:
        super().__init__()
        self.blocks, self.scale, self.relu = nn.ModuleList(blocks), scale, nn.ReLU()

    def terms(self, x: Any) -> list[Any]:
        raise NotImplementedError

    def forward(self, x: Any) -> Any:
        first, *others = self.terms(x)
        return self.relu(x + sum(others, start=first) * self.scale)


class Way(PolyInception):
    """k-way, I + F + G + ...: every block sees the input."""

    def terms(self, x: Any) -> list[Any]:
        return [block(x) for block in self.blocks]


class MPoly(PolyInception):
    """mpoly-k, I + F + GF + ...: every block sees what the one before it made, after a ReLU."""

    def terms(self, x: Any) -> list[Any]:
        found: list[Any] = []
        for block in self.blocks:
            found.append(block(self.relu(found[-1]) if found else x))
        return found


class Poly(MPoly):
    """poly-k, I + F + FF + ...: as ``MPoly``, but the convolutions in ``shared`` (a path within the blocks; all of
    the block by default) are those of the first block. Batch norms are not shared."""

    def __init__(self, blocks: Iterable[nn.Module], scale: float = 1.0, shared: str = "") -> None:
        super().__init__(blocks, scale)
        first, *others = (block.get_submodule(shared) for block in self.blocks)
        for path, module in first.named_modules():
            parent, _, name = path.rpartition(".")
            for other in others if isinstance(module, nn.Conv2d) else ():
                setattr(other.get_submodule(parent), name, module)


def poly_inception(kind: str, block: Block, scale: float = 1.0, shared: str = "") -> PolyInception:
    """The module called "poly-k", "mpoly-k" or "k-way", of new blocks."""
    found = re.fullmatch(r"(m?poly)-([1-9])|([1-9])-way", kind)
    if not found:
        raise ArgumentError(f"PolyNet: {kind!r} is no module, expected a name such as 'poly-3', 'mpoly-2' or '2-way'")
    blocks = [block() for _ in range(int(found[2] or found[3]))]
    if found[1] == "poly":
        return Poly(blocks, scale, shared)
    return MPoly(blocks, scale) if found[1] else Way(blocks, scale)


def inception(channels: int, branches: Branches, width: int, generator: Generator | None) -> nn.Sequential:
    """Branches and a 1x1 back to the channels of the input, with batch norm and without ReLU."""
    conv = nn.Conv2d(width, channels, 1, bias=False, generator=generator)
    return nn.Sequential(branches=branches, conv=conv, bn=nn.BatchNorm2d(channels))


def block_a(unit: Unit, generator: Generator | None) -> nn.Sequential:
    """384 channels on 39x39 maps: 1x1, 3x3, 3x3; 1x1, 3x3; 1x1."""
    branches = Branches(
        branch0=nn.Sequential(unit(384, 32, 1), unit(32, 48, 3, padding=1), unit(48, 64, 3, padding=1)),
        branch1=nn.Sequential(unit(384, 32, 1), unit(32, 32, 3, padding=1)),
        branch2=unit(384, 32, 1),
    )
    return inception(384, branches, 128, generator)


def block_bc(
    channels: int, widths: tuple[int, int, int], length: int, unit: Unit, generator: Generator | None
) -> nn.Sequential:
    """1x1, 1xn, nx1; 1x1: n is 7 in B (1152 channels, 19x19) and 3 in C (2048 channels, 9x9)."""
    (p, q, r), side = widths, length // 2
    branches = Branches(
        branch0=nn.Sequential(
            unit(channels, p, 1),
            unit(p, q, (1, length), padding=(0, side)),
            unit(q, r, (length, 1), padding=(side, 0)),
        ),
        branch1=unit(channels, 192, 1),
    )
    return inception(channels, branches, r + 192, generator)


def _stem(in_channels: int, unit: Unit) -> nn.Sequential:
    """That of Inception-v4, to 384 channels of 39x39, but with the 7x1 before the 1x7."""
    short = nn.Sequential(unit(160, 64, 1), unit(64, 96, 3))
    long = nn.Sequential(
        unit(160, 64, 1), unit(64, 64, (7, 1), padding=(3, 0)), unit(64, 64, (1, 7), padding=(0, 3)), unit(64, 96, 3)
    )
    return nn.Sequential(
        unit(in_channels, 32, 3, stride=2),
        unit(32, 32, 3),
        unit(32, 64, 3, padding=1),
        Branches(maxpool=nn.MaxPool2d(3, 2), conv=unit(64, 96, 3, stride=2)),
        Branches(branch0=short, branch1=long),
        Branches(maxpool=nn.MaxPool2d(3, 2), conv=unit(192, 192, 3, stride=2)),
    )


class PolyNet(Network):
    """Stem; stages A, B and C, in which the modules of a mix take turns ``depths`` times; reductions between them."""

    stage_paths: ClassVar = {
        "stem": "stem.2",
        "stage1": "stem.4",
        "stage2": "stage_a",
        "stage3": "stage_b",
        "stage4": "stage_c",
    }

    def __init__(
        self,
        *,
        mixes: tuple[tuple[str, ...], ...] = (("2-way",), ("poly-3", "2-way"), ("poly-3", "2-way")),
        depths: tuple[int, int, int] = (10, 10, 5),
        last_scale: float = 0.7,
        dropout: float = 0.2,
        num_classes: int = 1000,
        in_channels: int = 3,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        if len(mixes) != 3 or len(depths) != 3 or not all(mixes):
            raise ArgumentError(f"PolyNet: mixes={mixes!r}, depths={depths!r}, expected one of each for three stages")
        kinds = [mix * integer("PolyNet", "depths", depth, 1) for mix, depth in zip(mixes, depths, strict=True)]
        last = number("PolyNet", "last_scale", last_scale, 0, 1)
        total = sum(map(len, kinds))
        scales = (1 - (1 - last) * i / max(total - 1, 1) for i in range(total))  # one a module, for all stages
        unit = partial(BasicConv2d, eps=1e-5, generator=generator)

        def stage(kinds: tuple[str, ...], block: Block) -> nn.Sequential:
            pairs = zip(kinds, islice(scales, len(kinds)), strict=True)
            return nn.Sequential(*(poly_inception(kind, block, scale, "branches") for kind, scale in pairs))

        self.stem = _stem(in_channels, unit)
        self.stage_a = stage(kinds[0], partial(block_a, unit, generator))
        self.reduction_a = ReductionA(384, 256, 256, 384, 384, unit)
        self.stage_b = stage(kinds[1], partial(block_bc, 1152, (128, 160, 192), 7, unit, generator))
        self.reduction_b = ReductionB(1152, ((256, 384), (256, 256), (256, 256, 256)), unit)
        self.stage_c = stage(kinds[2], partial(block_bc, 2048, (192, 224, 256), 3, unit, generator))
        self.avgpool, self.flatten = nn.GlobalAvgPool2d(), nn.Flatten()
        self.dropout = nn.Dropout(dropout, generator=generator)
        self.fc = nn.Linear(2048, num_classes, generator=generator)
        he_initialise(self, generator)

    def forward(self, x: Any) -> Any:
        x = self.stage_b(self.reduction_a(self.stage_a(self.stem(x))))
        x = self.stage_c(self.reduction_b(x))
        return self.fc(self.dropout(self.flatten(self.avgpool(x))))


TABLE = (
    spec(
        PolyNet,
        "polynet",
        family="PolyNet",
        year=2016,
        paper="arXiv:1611.05725",
        input_shape=(3, 331, 331),
        num_classes=1000,
        form="Caffe",
        published=Published(
            "92M",
            "34.7B",
            18.71,
            4.25,
            "single crop 331, validation",
            "MMLab-CU/polynet, README; parameters and multiply-adds as the NASNet paper quotes them",
        ),
        deviations="scales are fixed, those of the ports of the Caffe model; in training the authors left out paths at "
        "random, more often the deeper, which the scales make up for",
    ),
)
