"""PNASNet: one cell for both purposes, found from simple to complex.

The search grew cells pair by pair, and a predictor of their accuracy chose which to train. The cell it found, of five
pairs, keeps the size; with stride 2 the same cell halves it, so there is no reduction cell: the first cell of the
second and third stage, and those of the stem, are strided. A skip then becomes a 1x1 with that stride.

Weights of timm's ``pnasnet5large`` load.

**Math** ``5 F`` channels leave a cell of F filters; 216, 432, 864 in the stages.
**See** Liu et al., "Progressive Neural Architecture Search", 2017.
"""

from typing import ClassVar

from minicnn import nn
from minicnn.errors import ArgumentError
from minicnn.models.nas_cells import Genotype, Step
from minicnn.models.nas_operations import Operations
from minicnn.models.nasnet import ImageNetCells
from minicnn.models.spec import Published, spec
from minicnn.ops.geometry import integer
from minicnn.random import Generator

CELL = Genotype(
    (
        (("sep_5x5", 0), ("max_3x3", 0)),
        (("sep_7x7", 1), ("max_3x3", 1)),
        (("sep_5x5", 1), ("sep_3x3", 1)),
        (("sep_3x3", 4), ("max_3x3", 1)),
        (("sep_3x3", 0), ("skip", 1)),
    ),
    concat=(2, 3, 4, 5, 6),
)


class StridedSkips(Operations):
    """A skip that must halve is ReLU, 1x1 with stride 2, batch norm."""

    def skip(self, in_channels: int, out_channels: int, stride: int) -> nn.Module:
        return nn.Identity() if stride == 1 else self.unit(in_channels, out_channels, 1, stride)


class PNASNet(ImageNetCells):
    """PNASNet-5 (``repeats``, ``filters``)."""

    stem_name: ClassVar[str] = "conv_0"

    def __init__(
        self,
        *,
        filters: int = 216,
        repeats: int = 4,
        stem_channels: int = 96,
        drop_path: float = 0.0,
        dropout: float = 0.5,
        aux: int = 0,
        num_classes: int = 1000,
        in_channels: int = 3,
        generator: Generator | None = None,
    ) -> None:
        if integer("PNASNet", "filters", filters, 1) % 4:
            raise ArgumentError(f"PNASNet: filters={filters}, expected a multiple of 4: the stem has a quarter of them")
        steps, width = [], filters
        for cell in range(3 * integer("PNASNet", "repeats", repeats, 1)):
            stride = 2 if cell in (repeats, 2 * repeats) else 1
            width *= stride
            steps.append(Step(f"cell_{cell}", CELL, width, stride))
        super().__init__(
            steps,
            CELL,
            StridedSkips(same=True, generator=generator),
            filters=filters,
            repeats=repeats,
            stem_channels=stem_channels,
            skip_reduction_input=False,
            drop_path=drop_path,
            dropout=dropout,
            aux=aux,
            num_classes=num_classes,
            in_channels=in_channels,
            generator=generator,
        )


TABLE = (
    spec(
        PNASNet,
        "pnasnet5_large",
        family="NAS",
        year=2017,
        paper="arXiv:1712.00559",
        input_shape=(3, 331, 331),
        num_classes=1000,
        filters=216,
        repeats=4,
        drop_path=0.4,
        timm="pnasnet5large",
        published=Published(
            top1_error=17.1, top5_error=3.8, protocol="validation", source="chenxi116/PNASNet.TF, README.md"
        ),
        deviations="all but the counts is from tensorflow/models, research/slim/nets/nasnet/pnasnet.py",
    ),
)
