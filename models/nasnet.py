"""NASNet: a cell searched on CIFAR-10, stacked for ImageNet.

A controller searched a normal cell, which keeps the size, and a reduction cell, which halves it. The network is a
stack of them, N normal cells between reductions and twice the filters after each, so what was found on small images
scales: "NASNet-A (6 @ 4032)" has N = 6 and ends in 4032 channels. The stem has two reduction cells itself.

The cells are those of the released code, which puts side by side what the paper's rule leaves out: the older input in
the normal cell, state 3 in the reduction cell, though operations read both. Weights of timm's ``nasnetalarge`` load.

**Math** ``6 F`` channels leave a normal cell of F filters, ``4 F`` a reduction cell; F = 4032 / 24, 2 F, 4 F.
**See** Zoph et al., "Learning Transferable Architectures for Scalable Image Recognition", 2017.
"""

import re
from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

from minicnn import nn
from minicnn.errors import ArgumentError
from minicnn.models.nas_cells import (
    AuxiliaryHead,
    Cell,
    CellNetwork,
    CellOutputs,
    Genotype,
    Step,
    initialise,
)
from minicnn.models.nas_operations import Operations
from minicnn.models.spec import Published, Recipe, spec
from minicnn.ops.arguments import number
from minicnn.ops.geometry import integer
from minicnn.random import Generator

NORMAL = Genotype(
    (
        (("sep_5x5", 1), ("sep_3x3", 0)),
        (("sep_5x5", 0), ("sep_3x3", 0)),
        (("avg_3x3", 1), ("skip", 0)),
        (("avg_3x3", 0), ("avg_3x3", 0)),
        (("sep_3x3", 1), ("skip", 1)),
    ),
    concat=(0, 2, 3, 4, 5, 6),
)
REDUCTION = Genotype(
    (
        (("sep_5x5", 1), ("sep_7x7", 0)),
        (("max_3x3", 1), ("sep_7x7", 0)),
        (("avg_3x3", 1), ("sep_5x5", 0)),
        (("skip", 3), ("avg_3x3", 2)),
        (("sep_3x3", 2), ("max_3x3", 1)),
    ),
    concat=(3, 4, 5, 6),
)


class ImageNetCells(CellNetwork):
    """3x3 convolution and two cells of stride 2, three stages of cells, ReLU, global mean, dropout, linear.

    What NASNet and PNASNet share. ``steps``: the cells after the stem, ``repeats`` of them end a stage. ``aux``: the
    side of the pooled map of the auxiliary head after the second stage (4 for images of 224, 6 for 331), 0 for none.
    """

    cam_path: ClassVar[str] = "act"
    stem_name: ClassVar[str] = "conv0"

    def __init__(
        self,
        steps: list[Step],
        stem: Genotype,
        operations: Operations,
        *,
        filters: int,
        repeats: int,
        stem_channels: int,
        skip_reduction_input: bool,
        drop_path: float,
        dropout: float,
        aux: int,
        num_classes: int,
        in_channels: int,
        generator: Generator | None,
    ) -> None:
        super().__init__()
        kind = type(self).__name__
        self.skip_reduction_input = skip_reduction_input
        self.drop_path = number(kind, "drop_path", drop_path, 0, 1, "a probability from 0 to 1 (of dropping)")
        stem_conv = nn.Conv2d(in_channels, stem_channels, 3, 2, bias=False, generator=generator)
        self.add_module(self.stem_name, nn.Sequential(conv=stem_conv, bn=nn.BatchNorm2d(stem_channels)))
        cell = partial(Cell, stem, stride=2, operations=operations, generator=generator)
        # the first cell has one input, and reads it as both
        self.cell_stem_0 = cell((stem_channels, stem_channels), filters // 4, older="as_is")
        first = self.cell_stem_0.out_channels
        self.cell_stem_1 = cell((stem_channels, first), filters // 2, older="reduce")
        channels = self.add_cells(steps, (first, 4), (self.cell_stem_1.out_channels, 8), operations, generator)
        ends = [f"cell_{stage * repeats - 1}" for stage in (1, 2, 3)]
        self.watched, self.aux = ends[1], None
        if integer(kind, "aux", aux, 0):
            width = getattr(self, self.watched).out_channels
            self.aux = AuxiliaryHead(width, num_classes, size=aux, generator=generator)
        self.act, self.avgpool, self.flatten = nn.ReLU(), nn.GlobalAvgPool2d(), nn.Flatten()
        self.dropout = nn.Dropout(dropout, generator=generator)
        self.last_linear = nn.Linear(channels, num_classes, generator=generator)
        paths = {"stem": self.stem_name, "stage1": "cell_stem_0"}
        self.stage_paths = paths | {f"stage{i}": end for i, end in enumerate(ends, 2)}  # type: ignore[misc]
        initialise(self, 1e-3, 1 - 0.9997, "fan_out", generator)

    def forward(self, x: Any) -> Any:
        x = getattr(self, self.stem_name)(x)
        first = self.cell_stem_0(x, x)
        x, watched = self.run_cells(first, self.cell_stem_1(x, first), self.watched)
        logits = self.last_linear(self.dropout(self.flatten(self.avgpool(self.act(x)))))
        if self.training and self.aux is not None:
            return CellOutputs(logits, self.aux(watched))
        return logits


class NASNet(ImageNetCells):
    """NASNet-A (``repeats`` @ ``penultimate``).

    ``skip_reduction_input``: the cell after a reduction reads the outputs of that and of the cell two before it, as in
    the large net; else of the one before it.
    """

    def __init__(
        self,
        *,
        penultimate: int = 1056,
        repeats: int = 4,
        stem_channels: int = 32,
        skip_reduction_input: bool = False,
        drop_path: float = 0.0,
        dropout: float = 0.5,
        aux: int = 0,
        num_classes: int = 1000,
        in_channels: int = 3,
        generator: Generator | None = None,
    ) -> None:
        if integer("NASNet", "penultimate", penultimate, 1) % 96:
            raise ArgumentError(
                f"NASNet: penultimate={penultimate}, expected a multiple of 96 such as 1056: 24 times the filters, "
                "a quarter of which are in the stem"
            )
        filters = penultimate // 24
        steps, width = [], filters
        for cell in range(3 * integer("NASNet", "repeats", repeats, 1)):
            if cell in (repeats, 2 * repeats):
                width *= 2
                steps.append(Step(f"reduction_cell_{cell // repeats - 1}", REDUCTION, width, 2))
            steps.append(Step(f"cell_{cell}", NORMAL, width))
        super().__init__(
            steps,
            REDUCTION,
            Operations(same=True, generator=generator),
            filters=filters,
            repeats=repeats,
            stem_channels=stem_channels,
            skip_reduction_input=skip_reduction_input,
            drop_path=drop_path,
            dropout=dropout,
            aux=aux,
            num_classes=num_classes,
            in_channels=in_channels,
            generator=generator,
        )

    def adapt_state(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """timm has the paths of a factorized reduction in the cell itself."""
        return {
            re.sub(r"^(cell_\w+)\.(path_|final_path_bn)", r"\1.conv_prev_1x1.\2", name): value
            for name, value in values.items()
        }


_CODE = "tensorflow/models, research/slim/nets/nasnet"
RECIPE = Recipe(
    optimizer="rmsprop",
    lr=1.5,
    batch=1600,
    momentum=0.9,
    weight_decay=5e-5,
    gamma=0.97,
    options=(
        *(("step_epochs", 2.4), ("steps", 250_000), ("alpha", 0.9), ("eps", 1.0)),
        *(("drop_path", 0.3), ("dropout", 0.5), ("aux_weight", 0.4), ("label_smoothing", 0.1), ("clip_norm", 10.0)),
    ),
    source=f"{_CODE}/nasnet.py (comments and configurations); rmsprop, alpha, eps and momentum are the defaults of "
    "research/slim/train_image_classifier.py",
    notes="100 synchronous replicas of 16 images; 1.5 is written as 0.015 * 100",
)
MOBILE_RECIPE = RECIPE._replace(
    lr=2.0,
    weight_decay=4e-5,
    options=(
        *(("step_epochs", 2.4), ("steps", 250_000), ("alpha", 0.9), ("eps", 1.0)),
        *(("drop_path", 0.0), ("dropout", 0.5), ("aux_weight", 0.4), ("label_smoothing", 0.1), ("clip_norm", 10.0)),
    ),
    notes="50 synchronous replicas of 32 images; 2.0 is written as 0.04 * 50",
)
_printed = partial(Published, protocol="single crop, validation", source=f"{_CODE}/README.md")
_nasnet = partial(spec, NASNet, family="NAS", year=2017, paper="arXiv:1707.07012", num_classes=1000)

TABLE = (
    _nasnet(
        "nasnet_a_mobile",
        input_shape=(3, 224, 224),
        penultimate=1056,
        repeats=4,
        stem_channels=32,
        published=_printed("5.3M", "564M", 26.0, 8.4),
        recipe=MOBILE_RECIPE,
        deviations="pytorchcv computes a row and a column more in cells that halve even sizes, and cuts them off: "
        "4.6M multiply-adds more, the same logits",
    ),
    _nasnet(
        "nasnet_a_large",
        input_shape=(3, 331, 331),
        penultimate=4032,
        repeats=6,
        stem_channels=96,
        skip_reduction_input=True,
        drop_path=0.3,
        timm="nasnetalarge",
        published=_printed("88.9M", "23.8G", 17.3, 3.8),
        recipe=RECIPE,
        deviations="timm's mean pools of stride 2 count the padding, TensorFlow's and these do not: its weights load, "
        "its logits differ. The 88.9M printed are 88.75M",
    ),
)
