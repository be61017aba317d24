"""Network in Network: small perceptrons that slide over the image, and global means instead of fully connected layers.

**See** Lin, Chen and Yan, "Network In Network", 2013. Widths and initial deviations are those of the authors' files:
NIN/cifar-10_def and NIN/cifar-100_def of github.com/mavenlin/cuda-convnet, nin_imagenet of Caffe's model zoo.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from minicnn import nn
from minicnn.errors import ArgumentError
from minicnn.models.network import Network
from minicnn.models.spec import Published, Recipe, spec
from minicnn.nn import init
from minicnn.random import Generator


class Row(NamedTuple):
    """One mlpconv layer: a convolution and 1x1 layers, and the pool behind it. A width of 0: as many as classes."""

    kernel: int
    stride: int
    padding: int
    widths: tuple[int, ...]
    stds: tuple[float, ...]  # of the initial weights
    pool: str = ""  # "max", "mean", or none
    dropout: float = 0.0  # behind the pool


_05 = (0.05, 0.05, 0.05)
CIFAR = (
    Row(5, 1, 2, (192, 160, 96), _05, "max", 0.5),
    Row(5, 1, 2, (192, 192, 192), _05, "mean", 0.5),
    Row(3, 1, 1, (192, 192, 0), _05),
)
CIFAR100 = (
    CIFAR[0]._replace(stds=(0.001, 0.01, 0.01)),
    CIFAR[1]._replace(pool="max"),
    CIFAR[2],
)
IMAGENET = (
    Row(11, 4, 0, (96, 96, 96), (0.01, 0.05, 0.05), "max"),
    Row(5, 1, 2, (256, 256, 256), _05, "max"),
    Row(3, 1, 1, (384, 384, 384), (0.01, 0.05, 0.05), "max", 0.5),
    Row(3, 1, 1, (1024, 1024, 0), (0.05, 0.05, 0.01)),
)
POOLS: dict[str, Callable[[], nn.Module]] = {
    "max": partial(nn.MaxPool2d, 3, 2, ceil_mode=True),
    "mean": partial(nn.AvgPool2d, 3, 2, ceil_mode=True),
}


class Mlpconv(nn.Sequential):
    """Figure 1(b): the perceptron of ``widths`` units that sees a ``kernel`` x ``kernel`` patch; ReLU everywhere."""

    def __init__(self, in_channels: int, row: Row, generator: Generator | None) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, row.widths[0], row.kernel, row.stride, row.padding, generator=generator)
        self.relu = nn.ReLU()
        for i, (before, width) in enumerate(zip(row.widths, row.widths[1:], strict=False), 1):
            self.add_module(f"cccp{i}", nn.Conv2d(before, width, 1, generator=generator))
            self.add_module(f"relu{i}", nn.ReLU())
        convolutions = (layer for layer in self if isinstance(layer, nn.Conv2d))
        for layer, std in zip(convolutions, row.stds, strict=True):
            init.normal_(layer.weight, 0.0, std, generator)
            if layer.bias is not None:
                init.zeros_(layer.bias)


class NiN(Network):
    """Mlpconv layers with overlapping pools that round up (32 -> 16 -> 8); the last gives one map a class, and its mean
    is the logit. The ReLU before that mean is the authors'.
    """

    def __init__(
        self,
        *,
        rows: tuple[Row, ...] = CIFAR,
        num_classes: int = 10,
        in_channels: int = 3,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        if not rows or rows[-1].widths[-1] != 0:
            raise ArgumentError(f"NiN: rows={rows!r}, expected rows whose last width is 0 (one map a class)")
        self.features = nn.Sequential()
        for i, given in enumerate(rows, 1):
            row = given._replace(widths=tuple(width or num_classes for width in given.widths))
            self.features.add_module(f"mlpconv{i}", Mlpconv(in_channels, row, generator))
            if row.pool:
                if row.pool not in POOLS:
                    raise ArgumentError(f"NiN: pool={row.pool!r} is unknown, expected one of {tuple(POOLS)}")
                self.features.add_module(f"pool{i}", POOLS[row.pool]())
            if row.dropout:
                self.features.add_module(f"drop{i}", nn.Dropout(row.dropout, generator=generator))
            in_channels = row.widths[-1]
        self.stage_paths = {  # type: ignore[misc]
            f"stage{i}": f"features.mlpconv{i}" for i in range(1, len(rows) + 1)
        }
        self.avgpool, self.flatten = nn.GlobalAvgPool2d(), nn.Flatten()

    def forward(self, x: Any) -> Any:
        return self.flatten(self.avgpool(self.features(x)))


_AUTHORS = "github.com/mavenlin/cuda-convnet"
CIFAR_RECIPE = Recipe(
    optimizer="sgd",
    lr=0.01,
    batch=128,
    epochs=260,
    momentum=0.9,
    weight_decay=1e-3,
    milestones=(200, 230),
    augmentation=("global contrast normalisation", "ZCA whitening"),
    options=(("dropout", 0.5), ("bias_lr", 2.0)),
    source=f"README.md, Python/convnet.py and NIN/cifar-100_params of {_AUTHORS}",
    notes="no augmentation; images are preprocessed as for maxout networks; bias_lr multiplies the rate",
)
IMAGENET_RECIPE = Recipe(
    optimizer="sgd",
    lr=0.01,
    batch=64,
    momentum=0.9,
    weight_decay=5e-4,
    augmentation=("random crop 224", "flip", "mean subtraction"),
    options=(("dropout", 0.5), ("bias_lr", 2.0), ("bias_weight_decay", 0.0), ("iterations", 450_000)),
    source="train_val.prototxt of Caffe's model zoo; rates as a port of its solver has them",
    notes="divided by 10 every 200,000 iterations; bias_lr multiplies the rate",
)

_nin = partial(spec, NiN, family="NiN")
_cifar = partial(_nin, year=2013, input_shape=(3, 32, 32), recipe=CIFAR_RECIPE)

TABLE = (
    _cifar(
        "nin_cifar10",
        paper="arXiv:1312.4400",
        num_classes=10,
        rows=CIFAR,
        form="Caffe",
        published=Published("", "", 10.4, None, "test", "readme.md of the model zoo, as accuracy: 89.6%"),
        deviations="the second pool is a mean as in the authors' Caffe net; their cuda-convnet file has a maximum",
    ),
    _cifar("nin_cifar100", paper="arXiv:1312.4400", num_classes=100, rows=CIFAR100, form="authors' code"),
    _nin(
        "nin_imagenet",
        year=2014,
        paper="Caffe model zoo nin_imagenet",
        input_shape=(3, 224, 224),
        num_classes=1000,
        rows=IMAGENET,
        form="Caffe",
        recipe=IMAGENET_RECIPE,
        published=Published("", "", 40.64, None, "validation", "readme.md of the model zoo, as accuracy: 59.36%"),
    ),
)
