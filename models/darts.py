"""DARTS: a cell searched by gradient descent.

While searching, every edge of the cell is a mixture of all operations, weighted by a softmax; the weights of the
mixture are learned with those of the network, on other images. Then each state keeps its two strongest edges. The
cells are those of the authors' second-order search (``DARTS_V2``), found on CIFAR-10; here is the network for ImageNet.
A cell always puts all its states side by side, also those that another state reads. Padding is PyTorch's.

**Math** searching: ``f_ij(s) = sum_o softmax(a_ij)_o o(s)``; kept: two edges a state, those of largest weight.
**See** Liu, Simonyan, Yang, "DARTS: Differentiable Architecture Search", 2018.
"""

from typing import Any

from minicnn import nn
from minicnn.errors import ArgumentError
from minicnn.models.nas_cells import AuxiliaryHead, CellNetwork, CellOutputs, Genotype, Step
from minicnn.models.nas_operations import Operations
from minicnn.models.spec import Published, Recipe, spec
from minicnn.ops.arguments import number
from minicnn.ops.geometry import integer
from minicnn.random import Generator

NORMAL = Genotype(
    (
        (("sep_3x3", 0), ("sep_3x3", 1)),
        (("sep_3x3", 0), ("sep_3x3", 1)),
        (("sep_3x3", 1), ("skip", 0)),
        (("skip", 0), ("dil_3x3", 2)),
    ),
    concat=(2, 3, 4, 5),
)
REDUCTION = Genotype(
    (
        (("max_3x3", 0), ("max_3x3", 1)),
        (("skip", 2), ("max_3x3", 1)),
        (("max_3x3", 0), ("skip", 2)),
        (("skip", 2), ("max_3x3", 1)),
    ),
    concat=(2, 3, 4, 5),
)


class DARTS(CellNetwork):
    """Three 3x3 convolutions with stride 2, ``layers`` cells of which two reduce, global mean, linear.

    ``aux``: an auxiliary head after the second reduction, which fits images of 224 pixels.
    """

    deeper_drops_more = False

    def __init__(
        self,
        *,
        channels: int = 48,
        layers: int = 14,
        drop_path: float = 0.0,
        aux: bool = False,
        num_classes: int = 1000,
        in_channels: int = 3,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        if integer("DARTS", "channels", channels, 1) % 2:
            raise ArgumentError(
                f"DARTS: channels={channels} is odd, expected an even number: the stem has half as many"
            )
        integer("DARTS", "layers", layers, 3)
        self.drop_path = number("DARTS", "drop_path", drop_path, 0, 1, "a probability from 0 to 1 (of dropping)")
        operations = Operations(same=False, generator=generator)
        self.stem0 = nn.Sequential(
            *(operations.conv(in_channels, channels // 2, 3, 2), nn.BatchNorm2d(channels // 2)),
            *(nn.ReLU(), operations.conv(channels // 2, channels, 3, 2), nn.BatchNorm2d(channels)),
        )
        self.stem1 = operations.unit(channels, channels, 3, 2)
        reductions = layers // 3, 2 * layers // 3
        steps, width = [], channels
        for i in range(layers):
            stride = 2 if i in reductions else 1
            width *= stride
            steps.append(Step(f"cell_{i}", REDUCTION if stride == 2 else NORMAL, width, stride))
        width = self.add_cells(steps, (channels, 4), (channels, 8), operations, generator)
        self.watched, self.aux = f"cell_{reductions[1]}", None
        if aux:
            # the authors left out the last batch norm by mistake, and keep it so
            self.aux = AuxiliaryHead(width, num_classes, size=2, stride=2, last_norm=False, generator=generator)
        self.avgpool, self.flatten = nn.GlobalAvgPool2d(), nn.Flatten()
        self.classifier = nn.Linear(width, num_classes, generator=generator)
        ends = [f"cell_{end - 1}" for end in (*reductions, layers)]
        self.stage_paths = {"stem": "stem0"} | {f"stage{i}": end for i, end in enumerate(ends, 1)}  # type: ignore[misc]

    def forward(self, x: Any) -> Any:
        x = self.stem0(x)
        x, watched = self.run_cells(x, self.stem1(x), self.watched)
        logits = self.classifier(self.flatten(self.avgpool(x)))
        if self.training and self.aux is not None:
            return CellOutputs(logits, self.aux(watched))
        return logits


_CODE = "quark0/darts"
RECIPE = Recipe(
    optimizer="sgd",
    lr=0.1,
    batch=128,
    epochs=250,
    momentum=0.9,
    weight_decay=3e-5,
    gamma=0.97,
    augmentation=("random resized crop 224", "flip", "colour jitter 0.4, hue 0.2", "mean and deviation"),
    options=(("step_epochs", 1), ("aux_weight", 0.4), ("label_smoothing", 0.1), ("clip_norm", 5.0), ("drop_path", 0.0)),
    source=f"{_CODE}, cnn/train_imagenet.py and README.md (--auxiliary)",
)

TABLE = (
    spec(
        DARTS,
        "darts_imagenet",
        family="NAS",
        year=2018,
        paper="arXiv:1806.09055",
        input_shape=(3, 224, 224),
        num_classes=1000,
        published=Published("4.7M", "", 26.7, 8.7, "centre crop 224, validation", f"{_CODE}, README.md"),
        recipe=RECIPE,
    ),
)
