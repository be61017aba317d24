"""DenseNet: every layer of a block sees the features of all layers before it, and adds ``growth`` of its own.

A layer is BN-ReLU-3x3; with *bottleneck* ("B") BN-ReLU-1x1 to ``4 growth`` channels comes first. Between blocks a
transition (BN-ReLU-1x1, 2x2 mean) keeps the fraction ``compression`` of the channels ("C" where it is below 1). New
features stand *after* the old ones. The ImageNet nets are BC and have torchvision's weight names.

``memory_efficient=True`` keeps no concatenation: BN, ReLU and the 1x1 are computed again in backward (Pleiss et al.,
"Memory-Efficient Implementation of DenseNets", 2017).

**See** Huang et al., "Densely Connected Convolutional Networks", 2016.
"""

import re
from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

from minicnn import nn, ops
from minicnn.checkpoint import checkpoint
from minicnn.errors import ArgumentError
from minicnn.models.network import Network
from minicnn.models.spec import Published, Recipe, spec
from minicnn.nn import init
from minicnn.ops.geometry import integer
from minicnn.random import Generator


class DenseLayer(nn.Module):
    """``growth`` new features of all features so far, which come as a list."""

    def __init__(
        self,
        in_channels: int,
        growth: int,
        *,
        bottleneck: bool,
        dropout: float,
        memory_efficient: bool,
        generator: Generator | None,
    ) -> None:
        super().__init__()
        conv = partial(nn.Conv2d, bias=False, generator=generator)
        self.norm1, self.relu1 = nn.BatchNorm2d(in_channels), nn.ReLU()
        if bottleneck:
            self.conv1 = conv(in_channels, 4 * growth, 1)
            self.norm2, self.relu2 = nn.BatchNorm2d(4 * growth), nn.ReLU()
            self.conv2 = conv(4 * growth, growth, 3, padding=1)
        else:
            self.conv1 = conv(in_channels, growth, 3, padding=1)
        self.bottleneck, self.memory_efficient = bottleneck, memory_efficient
        self.drop = nn.Dropout(dropout, generator=generator) if dropout else nn.Identity()

    def first(self, *features: Any) -> Any:
        """Everything up to the first convolution: what a memory-efficient layer computes twice."""
        return self.conv1(self.relu1(self.norm1(ops.concatenate(features, 1))))

    def forward(self, features: list[Any]) -> Any:
        again = self.memory_efficient and self.training
        y = self.drop(checkpoint(self.first, *features) if again else self.first(*features))
        return self.drop(self.conv2(self.relu2(self.norm2(y)))) if self.bottleneck else y


class DenseBlock(nn.Module):
    """Layers whose outputs are all kept: ``in_channels + layers * growth`` channels come out."""

    def __init__(self, in_channels: int, growth: int, layers: int, **options: Any) -> None:
        super().__init__()
        for i in range(layers):
            self.add_module(f"denselayer{i + 1}", DenseLayer(in_channels + i * growth, growth, **options))

    def forward(self, x: Any) -> Any:
        features = [x]
        for layer in self.children():
            features.append(layer(features))
        return ops.concatenate(features, 1)


class Transition(nn.Sequential):
    """BN-ReLU-1x1, then the mean of 2x2 pixels."""

    def __init__(self, in_channels: int, out_channels: int, dropout: float, generator: Generator | None) -> None:
        super().__init__()
        self.norm, self.relu = nn.BatchNorm2d(in_channels), nn.ReLU()
        self.conv = nn.Conv2d(in_channels, out_channels, 1, bias=False, generator=generator)
        if dropout:
            self.drop = nn.Dropout(dropout, generator=generator)
        self.pool = nn.AvgPool2d(2)


class DenseNet(Network):
    """A stem, dense blocks with transitions between them, BN-ReLU, global mean, linear."""

    def __init__(
        self,
        *,
        growth: int = 32,
        layers: tuple[int, ...] = (6, 12, 24, 16),
        stem_channels: int = 64,
        small_images: bool = False,
        bottleneck: bool = True,
        compression: float = 0.5,
        dropout: float = 0.0,
        memory_efficient: bool = False,
        num_classes: int = 1000,
        in_channels: int = 3,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        if not layers or min(layers) < 1:
            raise ArgumentError(f"DenseNet: layers={layers!r}, expected the numbers of layers of the blocks")
        if not 0 < compression <= 1:
            raise ArgumentError(f"DenseNet: compression={compression!r}, expected above 0 and at most 1")
        options = {
            "bottleneck": bottleneck,
            "dropout": dropout,
            "memory_efficient": memory_efficient,
            "generator": generator,
        }
        self.features = _stem(in_channels, stem_channels, small_images, generator)
        channels = stem_channels
        for i, depth in enumerate(layers, 1):
            self.features.add_module(f"denseblock{i}", DenseBlock(channels, growth, depth, **options))
            channels += depth * growth
            if i < len(layers):
                kept = int(channels * compression)
                self.features.add_module(f"transition{i}", Transition(channels, kept, dropout, generator))
                channels = kept
        self.features.add_module(f"norm{len(layers) + 1}", nn.BatchNorm2d(channels))
        self.relu, self.avgpool, self.flatten = nn.ReLU(), nn.GlobalAvgPool2d(), nn.Flatten()
        self.classifier = nn.Linear(channels, num_classes, generator=generator)
        self.stage_paths = {"stem": f"features.{'conv0' if small_images else 'pool0'}"} | {  # type: ignore[misc]
            f"stage{i}": f"features.denseblock{i}" for i in range(1, len(layers) + 1)
        }
        _initialise(self, generator)

    cam_path: ClassVar[str] = "relu"

    def forward(self, x: Any) -> Any:
        return self.classifier(self.flatten(self.avgpool(self.relu(self.features(x)))))

    def adapt_state(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """Files written before torchvision 0.2 say ``norm.1`` where ``norm1`` is meant."""
        return {re.sub(r"(denselayer\d+\.(?:norm|relu|conv))\.([12])", r"\1\2", k): v for k, v in values.items()}


def _stem(in_channels: int, channels: int, small_images: bool, generator: Generator | None) -> nn.Sequential:
    stem = nn.Sequential()
    if small_images:
        stem.conv0 = nn.Conv2d(in_channels, channels, 3, padding=1, bias=False, generator=generator)
        return stem
    stem.conv0 = nn.Conv2d(in_channels, channels, 7, 2, 3, bias=False, generator=generator)
    stem.norm0, stem.relu0, stem.pool0 = nn.BatchNorm2d(channels), nn.ReLU(), nn.MaxPool2d(3, 2, 1)
    return stem


def _initialise(model: nn.Module, generator: Generator | None) -> None:
    """He et al. 2015 with fan_in for convolutions; the classifier's bias is 0."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
        elif isinstance(module, nn.Linear) and module.bias is not None:
            init.zeros_(module.bias)


class DenseNetCifar(DenseNet):
    """Three blocks on 32x32 images; ``depth`` counts the convolutions and the linear layer."""

    def __init__(
        self,
        *,
        depth: int = 40,
        growth: int = 12,
        bottleneck: bool = False,
        dropout: float = 0.0,
        memory_efficient: bool = False,
        num_classes: int = 10,
        in_channels: int = 3,
        generator: Generator | None = None,
    ) -> None:
        step = 6 if bottleneck else 3
        if integer("DenseNetCifar", "depth", depth, 0) < 4 + step or (depth - 4) % step:
            raise ArgumentError(f"DenseNetCifar: depth={depth!r}, expected {step}n + 4 such as 40 or 100")
        super().__init__(
            growth=growth,
            layers=((depth - 4) // step,) * 3,
            stem_channels=2 * growth if bottleneck else 16,
            small_images=True,
            bottleneck=bottleneck,
            compression=0.5 if bottleneck else 1.0,
            dropout=dropout,
            memory_efficient=memory_efficient,
            num_classes=num_classes,
            in_channels=in_channels,
            generator=generator,
        )


_AUTHORS = "github.com/liuzhuang13/DenseNet: README.md, opts.lua, train.lua"
CIFAR_RECIPE = Recipe(
    optimizer="sgd",
    lr=0.1,
    batch=64,
    epochs=300,
    momentum=0.9,
    weight_decay=1e-4,
    milestones=(150, 225),
    augmentation=("pad 4", "random crop 32", "flip", "normalise channels"),
    options=(("nesterov", True),),
    source=_AUTHORS,
    notes="without augmentation: dropout 0.2 after each convolution except the first",
)
IMAGENET_RECIPE = CIFAR_RECIPE._replace(
    batch=256,
    epochs=90,
    milestones=(30, 60),
    augmentation=("random resized crop 224", "flip", "colour"),
    notes="augmentation as fb.resnet.torch",
)

_densenet = partial(spec, family="DenseNet", year=2016, paper="arXiv:1608.06993")
_cifar = partial(_densenet, DenseNetCifar, input_shape=(3, 32, 32), num_classes=10, recipe=CIFAR_RECIPE)
_bc = partial(_cifar, bottleneck=True)
_imagenet = partial(
    _densenet,
    DenseNet,
    input_shape=(3, 224, 224),
    num_classes=1000,
    recipe=IMAGENET_RECIPE,
    growth=32,
    stem_channels=64,
)


def _cifar10(params: str, error: float | None) -> Published:
    """Table 2; errors with augmentation ("C10+")."""
    return Published(
        params, "", error, None, "CIFAR-10 test, with augmentation", "README.md of the authors' repository"
    )


def _imagenet_error(top1: float) -> Published:
    return Published("", "", top1, None, "single crop 224, validation", "README.md of the authors' repository")


TABLE = (
    _cifar("densenet40_k12_cifar10", depth=40, growth=12, published=_cifar10("1.0M", 5.24)),
    _cifar("densenet100_k12_cifar10", depth=100, growth=12, published=_cifar10("7.0M", 4.1)),
    _cifar("densenet100_k24_cifar10", depth=100, growth=24, published=_cifar10("27.2M", 3.74)),
    _bc("densenet_bc100_k12_cifar10", depth=100, growth=12, published=_cifar10("0.8M", 4.51)),
    _bc("densenet_bc250_k24_cifar10", depth=250, growth=24, published=_cifar10("15.3M", 3.62)),
    _bc("densenet_bc190_k40_cifar10", depth=190, growth=40, published=_cifar10("25.6M", 3.46)),
    _imagenet(
        "densenet121",
        layers=(6, 12, 24, 16),
        torchvision="densenet121",
        timm="densenet121",
        published=_imagenet_error(25.0),
    ),
    _imagenet(
        "densenet161",
        layers=(6, 12, 36, 24),
        growth=48,
        stem_channels=96,
        torchvision="densenet161",
        timm="densenet161",
        published=_imagenet_error(22.2),
    ),
    _imagenet(
        "densenet169",
        layers=(6, 12, 32, 32),
        torchvision="densenet169",
        timm="densenet169",
        published=_imagenet_error(23.6),
    ),
    _imagenet(
        "densenet201",
        layers=(6, 12, 48, 32),
        torchvision="densenet201",
        timm="densenet201",
        published=_imagenet_error(22.5),
    ),
    _imagenet("densenet264", layers=(6, 12, 64, 48)),
    _imagenet("densenet264_k48", layers=(6, 12, 64, 48), growth=48, stem_channels=96, form="authors' code"),
)
