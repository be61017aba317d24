"""FractalNet: very deep networks without a single shortcut, drawn by one rule that is applied again and again.

A fractal of one column is a convolution. One column more puts two fractals behind each other and a convolution beside
them, so that column c (0 is the shallowest) has 2^c convolutions, and where columns meet a join takes their mean. Every
input of a convolution is thus the mean of short and long paths, and each column is a plain network of its own:
``net(x, column=0)`` is a quick answer, ``net.anytime(x)`` gives ever better ones.

Drop-path keeps columns from leaning on each other. A training step either drops each input of each join with
probability 0.15 but never all of them (local), or keeps one column of the whole network (global), half the steps each.
Both are drawn for a whole mini-batch, as in the authors' join; ``ops.drop_path`` can draw for each sample. Eval mode
has the mean of all inputs, which is the expectation of what a join gives.

A block is a fractal; its columns are pooled before their last join, as in the authors' generator. The 1x1 map of a
32x32 image is its own global mean.

**Math** ``f_1(z) = conv(z)``, ``f_{C+1}(z) = f_C(f_C(z)) + conv(z)``, where + is the mean of all the columns that meet:
``2^C - 1`` convolutions, of which ``2^(C-1)`` are behind each other.
**See** Larsson, Maire, Shakhnarovich, "FractalNet: Ultra-Deep Neural Networks without Residuals", 2016.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from minicnn import nn, ops
from minicnn.context import is_abstract_mode
from minicnn.errors import ArgumentError
from minicnn.models.network import Network
from minicnn.models.spec import Published, Recipe, spec
from minicnn.nn import init
from minicnn.ops.arguments import number
from minicnn.ops.geometry import integer
from minicnn.random import Generator, generator_or_default

POOLS = {"max": nn.MaxPool2d, "mean": nn.AvgPool2d}
_DROP = "a probability from 0 to 1 (of dropping)"


class Join(nn.Module):
    """The mean of its inputs; while training, of those that are alive.

    **Shapes** a list of tensors of one shape -> that shape.
    """

    printed = ("survival",)

    def __init__(self, drop_path: float = 0.15, generator: Generator | None = None) -> None:
        super().__init__()
        self.survival = 1 - number("Join", "drop_path", drop_path, 0, 1, _DROP)  # of each input, in a training step
        self.generator = generator

    def alive(self, count: int) -> list[int]:
        """Which of ``count`` inputs a training step has: where all would be dropped, one drawn evenly stays."""
        draw = generator_or_default(self.generator).numpy()
        kept = [index for index in range(count) if draw.random() < self.survival]
        return kept or [int(draw.integers(count))]

    def forward(self, inputs: Sequence[Any]) -> Any:
        if len(inputs) > 1 and self.training and self.survival < 1 and not is_abstract_mode():
            inputs = [inputs[index] for index in self.alive(len(inputs))]
        return ops.drop_path(list(inputs), training=False)


class Fractal(nn.Module):
    """``columns`` columns over ``2 ** (columns - 1)`` rows, not yet joined.

    ``unit(start, end)`` makes the unit of a column that leads from row ``start`` to row ``end``: a convolution in a
    FractalNet, a whole FractalNet block in ``fractal_of_fractalnet.py``. ``join()`` makes a join.
    """

    def __init__(
        self, unit: Callable[[int, int], nn.Module], columns: int, join: Callable[[], nn.Module], start: int = 0
    ) -> None:
        super().__init__()
        middle, end = start + 2**columns // 4, start + 2**columns // 2
        self.columns = columns
        self.unit = unit(start, end)
        if columns > 1:
            self.first = Fractal(unit, columns - 1, join, start)
            self.join = join()
            self.second = Fractal(unit, columns - 1, join, middle)

    def branches(self, x: Any) -> list[Any]:
        """The outputs of all columns, the shallowest first."""
        if self.columns == 1:
            return [self.unit(x)]
        return [self.unit(x), *self.second.branches(self.join(self.first.branches(x)))]

    def column(self, x: Any, index: int) -> Any:
        """The output of one column where the others are not there."""
        return self.unit(x) if index == 0 else self.second.column(self.first.column(x, index - 1), index - 1)


class FractalBlock(nn.Module):
    """A fractal of 3x3 convolutions, a pool of ``pool`` x ``pool`` in each column (1: none), the last join.

    A unit is convolution, dropout, batch norm, ReLU. ``affine=False`` is the form of the Caffe files: a bias in the
    convolution, where batch norm takes it away again, and batch norm without scale and shift.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        columns: int = 3,
        *,
        dropout: float = 0.0,
        drop_path: float = 0.15,
        affine: bool = True,
        pool: int = 2,
        pooling: str = "max",
        generator: Generator | None = None,
    ) -> None:
        super().__init__()

        def unit(start: int, end: int) -> nn.Module:
            inputs = channels if start else in_channels
            return nn.Sequential(
                conv=nn.Conv2d(inputs, channels, 3, padding=1, bias=not affine, generator=generator),
                dropout=nn.Dropout(dropout, generator=generator),
                bn=nn.BatchNorm2d(channels, affine=affine),
                relu=nn.ReLU(),
            )

        join = partial(Join, drop_path, generator)
        self.fractal = Fractal(unit, columns, join)
        self.pool = POOLS[pooling](pool) if pool > 1 else nn.Identity()
        self.join = join()

    def forward(self, x: Any, column: int | None = None) -> Any:
        if column is not None:
            return self.pool(self.fractal.column(x, column))
        return self.join([self.pool(y) for y in self.fractal.branches(x)])


class FractalNet(Network):
    """A block of ``columns`` columns for each of ``filters``, global mean, linear.

    ``small_images=False`` puts ResNet's stem in front and leaves out the last pool. ``net.survival`` is the probability
    that a training step has all columns.
    """

    def __init__(
        self,
        *,
        filters: tuple[int, ...] = (64, 128, 256, 512, 512),
        columns: int = 3,
        dropout: tuple[float, ...] = (0.0, 0.1, 0.2, 0.3, 0.4),
        drop_path: float = 0.15,
        global_drop: float = 0.5,
        affine: bool = True,
        pooling: str = "max",
        small_images: bool = True,
        num_classes: int = 10,
        in_channels: int = 3,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        _check(filters, columns, dropout, pooling)
        self.columns, self.generator = columns, generator
        self.survival = 1 - number("FractalNet", "global_drop", global_drop, 0, 1, _DROP)
        self.stem = nn.Identity() if small_images else _stem(in_channels, generator)
        widths, last = (in_channels if small_images else 64, *filters), len(filters) - 1
        self.blocks = nn.ModuleList(
            FractalBlock(
                *(widths[i], widths[i + 1], columns),
                dropout=dropout[i],
                drop_path=drop_path,
                affine=affine,
                pool=2 if small_images or i < last else 1,
                pooling=pooling,
                generator=generator,
            )
            for i in range(len(filters))
        )
        self.avgpool = nn.GlobalAvgPool2d()
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(filters[-1], num_classes, generator=generator)
        stem = {} if small_images else {"stem": "stem"}
        self.stage_paths = stem | {f"stage{i + 1}": f"blocks.{i}" for i in range(last + 1)}  # type: ignore[misc]
        # the last map of a small image has one place
        self.cam_path = f"blocks.{max(last - 1, 0) if small_images else last}"  # type: ignore[misc]
        caffe_xavier(self, generator)

    def forward(self, x: Any, column: int | None = None) -> Any:
        """The logits; with ``column``, from 0 for the shallowest, those of that column alone."""
        if column is not None and integer("FractalNet", "column", column, 0) >= self.columns:
            raise ArgumentError(f"FractalNet: column={column} does not exist, expected 0 to {self.columns - 1} or None")
        column, x = self._step() if column is None else column, self.stem(x)
        for block in self.blocks:
            x = block(x, column)
        return self.fc(self.flatten(self.avgpool(x)))

    def anytime(self, x: Any) -> Iterator[Any]:
        """The logits of each column alone, from the quickest to the deepest, and those of the whole network."""
        yield from (self(x, column) for column in range(self.columns))
        yield self(x)

    def _step(self) -> int | None:
        """The column that this training step has, or None for all."""
        if not self.training or self.survival == 1 or is_abstract_mode():
            return None
        draw = generator_or_default(self.generator).numpy()
        return None if draw.random() < self.survival else int(draw.integers(self.columns))


def _check(filters: tuple[int, ...], columns: int, dropout: tuple[float, ...], pooling: str) -> None:
    integer("FractalNet", "columns", columns, 1)
    if not filters or min(filters) < 1:
        raise ArgumentError(f"FractalNet: filters={filters!r}, expected the channels of each block")
    if len(dropout) != len(filters):
        raise ArgumentError(f"FractalNet: dropout={dropout!r}, expected {len(filters)} numbers, one a block")
    if pooling not in POOLS:
        raise ArgumentError(f"FractalNet: pooling={pooling!r} is unknown, expected one of {tuple(POOLS)}")


def _stem(in_channels: int, generator: Generator | None) -> nn.Sequential:
    return nn.Sequential(
        conv=nn.Conv2d(in_channels, 64, 7, 2, 3, bias=False, generator=generator),
        bn=nn.BatchNorm2d(64),
        relu=nn.ReLU(),
        pool=nn.MaxPool2d(3, 2, 1),
    )


def caffe_xavier(model: nn.Module, generator: Generator | None) -> None:
    """Caffe's "xavier", of the authors' globals.crox: uniform with variance 1 / fan_in; biases 0."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            bound = math.sqrt(3 / init.fans(module.weight)[0])
            init.uniform_(module.weight, -bound, bound, generator)
            if module.bias is not None:
                init.zeros_(module.bias)


_QUOTED = "khanrc/pt.fractalnet"
RECIPE = Recipe(
    optimizer="sgd",
    lr=0.02,
    batch=100,
    epochs=400,
    momentum=0.9,
    milestones=(200, 300, 350, 375),
    augmentation=("shift by up to 4 pixels", "flip"),
    options=(("dropout", (0.0, 0.1, 0.2, 0.3, 0.4)), ("drop_path", 0.15), ("global_drop", 0.5)),
    source=f"section 4, as a page about its reproducibility quotes it; the rest: {_QUOTED}, config.py and README.md",
    notes="the rate falls whenever half of the remaining epochs are over",
)
CAFFE_RECIPE = Recipe(
    optimizer="sgd",
    lr=0.02,
    batch=25,
    epochs=50,
    momentum=0.9,
    weight_decay=1e-4,
    milestones=(25, 37.5, 43.75),
    augmentation=("flip", "mean image"),
    source="iPhysicist/CNNDesignPatterns: solver.prototxt, fractalnet.prototxt",
    notes="100,000 steps; biases learn twice as fast and do not decay",
)

_fractalnet = partial(spec, FractalNet, family="FractalNet", year=2016, paper="arXiv:1605.07648")
_cifar = partial(_fractalnet, input_shape=(3, 32, 32), num_classes=10, filters=(64, 128, 256, 512, 512))
_narrow = partial(
    _fractalnet,
    input_shape=(3, 32, 32),
    num_classes=100,
    filters=(16, 32, 64, 128, 128),
    recipe=RECIPE,
    deviations="dropout and drop-path as in fractalnet20_cifar10: which ones table 3 had is not known here",
)
_caffe = partial(
    _cifar,
    columns=4,
    global_drop=0.0,
    affine=False,
    form="Caffe files of Smith and Topin",
    recipe=CAFFE_RECIPE,
)


def _table3(params: str) -> Published:
    return Published(params, source="table 3, as tests/reference/catalog.tsv quotes it")


TABLE = (
    _cifar(
        "fractalnet20_cifar10",
        columns=3,
        recipe=RECIPE,
        published=Published(
            "38.6M",
            top1_error=4.60,
            protocol="flips and shifts, dropout and drop-path; the deepest column alone: 4.68",
            source=f"the paper's results, as {_QUOTED} quotes them in README.md and exp-note-kor.md",
        ),
        deviations="the paper's 38.6M parameters do not follow from its widths; the authors' Caffe files have "
        "convolutions with biases and batch norms without scale and shift (affine=False)",
    ),
    _narrow("fractalnet_c1_d5_cifar100", columns=1, published=_table3("0.3M")),
    _narrow("fractalnet_c2_d10_cifar100", columns=2, published=_table3("0.8M")),
    _narrow("fractalnet_c3_d20_cifar100", columns=3, published=_table3("2.1M")),
    _narrow("fractalnet_c4_d40_cifar100", columns=4, published=_table3("4.8M")),
    _narrow("fractalnet_c5_d80_cifar100", columns=5, published=_table3("10.2M")),
    _narrow("fractalnet_c6_d160_cifar100", columns=6, published=_table3("21.1M")),
    _caffe("fractalnet40_c4_cifar10"),
    _caffe(
        "fractalnet40_c4_avgpool_cifar10",
        pooling="mean",
        deviations="the file has one max pool left, that of the shallowest column of the first block",
    ),
    _fractalnet(
        "fractalnet34_imagenet",
        columns=4,
        filters=(128, 256, 512, 1024),
        dropout=(0.0, 0.0, 0.0, 0.0),
        small_images=False,
        input_shape=(3, 224, 224),
        num_classes=1000,
        form="assumed",
        recipe=RECIPE._replace(
            lr=0.001,
            batch=32,
            epochs=70,
            milestones=(),
            augmentation=(),
            options=(),
            source="section 4, as a page about its reproducibility quotes it",
            notes="when the rate falls, and what is dropped, is not known here",
        ),
        deviations="34 layers are the paper's; widths, ResNet's stem and the missing last pool are assumed",
    ),
)
