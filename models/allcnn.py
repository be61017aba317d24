"""All-CNN: nothing but convolutions; a pool is a convolution with a stride that has not learned anything.

Three small nets (A: 5x5; B: 5x5 and 1x1; C: two 3x3 before each pool) come in four forms, to see what a pool is for:
``"model"`` pools 3x3 with stride 2; ``"strided"`` has no pool, its stride is in the convolution before it;
``"all"`` puts a 3x3 convolution with stride 2 in the pool's place; ``"convpool"`` keeps the pool and has that
convolution too, with stride 1, so that it is as large as ``"all"`` and only the pool differs.

All of them end in a 3x3 without padding (8 -> 6 pixels), a 1x1, and a 1x1 to one map a class, whose mean is the logit,
after a ReLU. The pools round up (32 -> 16 -> 8). The ImageNet net is built alike, of 12 convolutions.

**Math** a max pool is ``(sum |x|^p)^(1/p)`` over its window for large p; a convolution has weights there, and a ReLU.
**See** Springenberg et al., "Striving for Simplicity: The All Convolutional Net", 2014.
"""

from functools import partial
from typing import Any, NamedTuple

from minicnn import nn
from minicnn.errors import ArgumentError
from minicnn.models.network import Network
from minicnn.models.spec import Published, Recipe, spec
from minicnn.nn import init
from minicnn.random import Generator


class Conv(NamedTuple):
    """A convolution and its ReLU. A width of 0: as many as classes; padding -1: what keeps the size."""

    width: int
    kernel: int
    stride: int = 1
    padding: int = -1


class Pool(NamedTuple):
    """A max pool that rounds up."""

    kernel: int = 3
    stride: int = 2


Stage = tuple[Conv | Pool, ...]
BASES = {"A": (5,), "B": (5, 1), "C": (3, 3)}  # the kernels before a pool
FORMS = ("model", "strided", "convpool", "all")


def cifar_stages(base: str, form: str) -> tuple[Stage, ...]:
    """The stages of one of the twelve nets: two that halve the image, and the one that ends in the classes."""
    if base not in BASES or form not in FORMS:
        raise ArgumentError(
            f"cifar_stages: base={base!r}, form={form!r} is unknown, expected one of {tuple(BASES)} and one of {FORMS}"
        )

    def stage(width: int) -> Stage:
        convolutions = tuple(Conv(width, kernel) for kernel in BASES[base])
        forms: dict[str, Stage] = {
            "model": (*convolutions, Pool()),
            "strided": (*convolutions[:-1], convolutions[-1]._replace(stride=2)),
            "convpool": (*convolutions, Conv(width, 3), Pool()),
            "all": (*convolutions, Conv(width, 3, stride=2)),
        }
        return forms[form]

    return stage(96), stage(192), (Conv(192, 3, padding=0), Conv(192, 1), Conv(0, 1))


# Table 6; sizes at 224: 54, 26, 12, 6.
IMAGENET: tuple[Stage, ...] = (
    (Conv(96, 11, 4, 0), Conv(96, 1), Conv(96, 3, 2, 0)),
    (Conv(256, 5), Conv(256, 1), Conv(256, 3, 2, 0)),
    (Conv(384, 3), Conv(384, 1), Conv(384, 3, 2, 1)),
    (Conv(1024, 3), Conv(1024, 1), Conv(0, 1)),
)


def build(stage: Stage, channels: int, classes: int, generator: Generator | None) -> tuple[nn.Sequential, int]:
    """The layers of a stage, and how many channels come out."""
    layers = nn.Sequential()
    for i, part in enumerate(stage, 1):
        if isinstance(part, Pool):
            layers.add_module(f"pool{i}", nn.MaxPool2d(part.kernel, part.stride, ceil_mode=True))
            continue
        width = part.width or classes
        padding = part.kernel // 2 if part.padding < 0 else part.padding
        conv = nn.Conv2d(channels, width, part.kernel, part.stride, padding, generator=generator)
        init.kaiming_normal_(conv.weight, nonlinearity="relu", generator=generator)
        if conv.bias is not None:
            init.zeros_(conv.bias)
        layers.add_module(f"conv{i}", conv)
        layers.add_module(f"relu{i}", nn.ReLU())
        channels = width
    return layers, channels


class AllCNN(Network):
    """The ``stages`` one after another, with dropout in front of each (``dropouts``), and the mean of every map."""

    def __init__(
        self,
        *,
        stages: tuple[Stage, ...] = cifar_stages("C", "all"),
        dropouts: tuple[float, ...] = (0.2, 0.5, 0.5),
        num_classes: int = 10,
        in_channels: int = 3,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        if not stages or not all(stages) or stages[-1][-1][0] != 0:
            raise ArgumentError(
                f"AllCNN: stages={stages!r}, expected stages that end in a width of 0 (one map a class)"
            )
        if len(dropouts) != len(stages):
            raise ArgumentError(f"AllCNN: dropouts={dropouts!r}, expected one for each of {len(stages)} stages")
        self.features, channels = nn.Sequential(), in_channels
        for i, (stage, dropout) in enumerate(zip(stages, dropouts, strict=True), 1):
            layers, channels = build(stage, channels, num_classes, generator)
            self.features.add_module(f"drop{i}", nn.Dropout(dropout, generator=generator))
            self.features.add_module(f"stage{i}", layers)
        self.stage_paths = {  # type: ignore[misc]
            f"stage{i}": f"features.stage{i}" for i in range(1, len(stages) + 1)
        }
        self.avgpool, self.flatten = nn.GlobalAvgPool2d(), nn.Flatten()

    def forward(self, x: Any) -> Any:
        return self.flatten(self.avgpool(self.features(x)))


RECIPE = Recipe(
    optimizer="sgd",
    lr=0.05,
    batch=256,
    epochs=350,
    momentum=0.9,
    weight_decay=1e-3,
    milestones=(200, 250, 300),
    augmentation=("global contrast normalisation", "ZCA whitening"),
    options=(("input_dropout", 0.2), ("dropout", 0.5)),
    source="ALL_CNN_C_solver.prototxt, _train_val.prototxt and README of mateuszbuda/ALL-CNN, Report.ipynb of "
    "wtsyang/dl-reproducibility-project, which quote the paper",
    notes="the paper took the best of the rates 0.25, 0.1, 0.05 and 0.01; the batch is the port's",
)
_NOTE = "the paper's initial weights were not found; here they are He's. The ReLU after the last layer is the paper's"
_TYPO = "the paper prints 1.3M parameters, which its layers do not have. " + _NOTE

_allcnn = partial(spec, AllCNN, family="AllCNN", year=2014)
_cifar = partial(
    _allcnn,
    paper="arXiv:1412.6806 Tables 1-3",
    input_shape=(3, 32, 32),
    num_classes=10,
    recipe=RECIPE,
    deviations=_NOTE,
)
_printed = partial(Published, source="tables 3 and 6, as tests/reference/catalog.tsv quotes them")

TABLE = (
    _cifar("model_a", stages=cifar_stages("A", "model"), published=_printed("0.9M")),
    _cifar("strided_cnn_a", stages=cifar_stages("A", "strided"), published=_printed("0.9M")),
    _cifar("convpool_cnn_a", stages=cifar_stages("A", "convpool"), published=_printed("1.28M")),
    _cifar("all_cnn_a", stages=cifar_stages("A", "all"), published=_printed("1.28M")),
    _cifar("model_b", stages=cifar_stages("B", "model"), published=_printed("1M")),
    _cifar("strided_cnn_b", stages=cifar_stages("B", "strided"), published=_printed("1M")),
    _cifar("convpool_cnn_b", stages=cifar_stages("B", "convpool"), published=_printed("1.35M")),
    _cifar("all_cnn_b", stages=cifar_stages("B", "all"), published=_printed("1.35M")),
    _cifar("model_c", stages=cifar_stages("C", "model"), published=_printed("1.3M"), deviations=_TYPO),
    _cifar("strided_cnn_c", stages=cifar_stages("C", "strided"), published=_printed("1.3M"), deviations=_TYPO),
    _cifar("convpool_cnn_c", stages=cifar_stages("C", "convpool"), published=_printed("1.4M")),
    _cifar("all_cnn_c", stages=cifar_stages("C", "all"), published=_printed("1.4M")),
    _allcnn(
        "all_cnn_b_imagenet",
        paper="arXiv:1412.6806 Table 6",
        input_shape=(3, 224, 224),
        num_classes=1000,
        stages=IMAGENET,
        dropouts=(0.0, 0.0, 0.0, 0.5),
        published=_printed("<10M"),
        deviations=_NOTE,
    ),
)
