"""VGG: 3x3 convolutions between 2x2 max pools, five times, then two hidden layers of 4096 units.

``CONFIGURATIONS`` is Table 1 of the paper. Features are torchvision's: its weight names, and the last pool is resized
to 7x7, which changes nothing at 224x224 and lets smaller images in.

**See** Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", 2014.
"""

from functools import partial
from typing import Any

from minicnn import nn, ops
from minicnn.errors import ArgumentError
from minicnn.models.alexnet import response_norm
from minicnn.models.network import Network
from minicnn.models.spec import Published, Recipe, spec
from minicnn.nn import init
from minicnn.random import Generator
from minicnn.tensor import Tensor

# Channels of the 3x3 convolutions (``256/1``: of a 1x1); a bar is a 2x2 max pool, and one more ends every row.
CONFIGURATIONS = {
    "A": "64 | 128 | 256 256 | 512 512 | 512 512",
    "A-LRN": "64 LRN | 128 | 256 256 | 512 512 | 512 512",
    "B": "64 64 | 128 128 | 256 256 | 512 512 | 512 512",
    "C": "64 64 | 128 128 | 256 256 256/1 | 512 512 512/1 | 512 512 512/1",
    "D": "64 64 | 128 128 | 256 256 256 | 512 512 512 | 512 512 512",
    "E": "64 64 | 128 128 | 256 256 256 256 | 512 512 512 512 | 512 512 512 512",
}


class VGG(Network):
    """``features`` by a row of ``CONFIGURATIONS``, 7x7 means, ``classifier``: 4096, 4096, classes."""

    def __init__(
        self,
        *,
        configuration: str = "D",
        batch_norm: bool = False,
        hidden: int = 4096,
        dropout: float = 0.5,
        num_classes: int = 1000,
        in_channels: int = 3,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        if configuration not in CONFIGURATIONS:
            raise ArgumentError(
                f"VGG: configuration={configuration!r} is unknown, expected one of {tuple(CONFIGURATIONS)}"
            )
        self.features = nn.Sequential()
        stage_paths = {}
        for i, row in enumerate(CONFIGURATIONS[configuration].split(" | "), 1):
            for word in row.split():
                self.features.extend(_layers(word, in_channels, batch_norm, generator))
                in_channels = in_channels if word == "LRN" else int(word.removesuffix("/1"))
            stage_paths[f"stage{i}"] = f"features.{len(self.features) - 1}"
            self.features.append(nn.MaxPool2d(2, 2))
        self.stage_paths = stage_paths  # type: ignore[misc]
        self.avgpool = nn.AdaptiveAvgPool2d((7, 7))
        self.flatten = nn.Flatten()
        linear = partial(nn.Linear, generator=generator)
        self.classifier = nn.Sequential(
            *(linear(in_channels * 7 * 7, hidden), nn.ReLU(), nn.Dropout(dropout, generator=generator)),
            *(linear(hidden, hidden), nn.ReLU(), nn.Dropout(dropout, generator=generator)),
            linear(hidden, num_classes),
        )
        _initialise(self, batch_norm, generator)

    def forward(self, x: Any) -> Any:
        return self.classifier(self.flatten(self.avgpool(self.features(x))))

    def dense(self, x: Any) -> Tensor:
        """Section 3.2: the logits of every 224x224 window, 32 pixels apart, of larger images; test on their mean.

        **Shapes** (N, C, H, W) -> (N, classes, H / 32 - 6, W / 32 - 6). The hidden layers slide as convolutions, 7x7
        and 1x1; dropout is left out.
        """
        first, second, last = (layer for layer in self.classifier if isinstance(layer, nn.Linear))
        y = ops.relu(ops.conv2d(self.features(x), first.weight.reshape(first.out_features, -1, 7, 7), first.bias))
        y = ops.relu(ops.conv2d(y, second.weight.reshape(*second.weight.shape, 1, 1), second.bias))
        return ops.conv2d(y, last.weight.reshape(*last.weight.shape, 1, 1), last.bias)


def _layers(word: str, in_channels: int, batch_norm: bool, generator: Generator | None) -> list[nn.Module]:
    """What a word of a configuration stands for."""
    if word == "LRN":
        return [response_norm("paper")]
    channels, kernel = int(word.removesuffix("/1")), 1 if word.endswith("/1") else 3
    conv = nn.Conv2d(in_channels, channels, kernel, padding=kernel // 2, generator=generator)
    return [conv, nn.BatchNorm2d(channels), nn.ReLU()] if batch_norm else [conv, nn.ReLU()]


def _initialise(model: VGG, batch_norm: bool, generator: Generator | None) -> None:
    """Glorot and Bengio, by which the authors found that the deep nets need not start from the layers of A; with
    batch norm as torchvision: He et al. with fan_out, and a deviation of 0.01 in the classifier. Biases are 0.
    """
    for module in model.modules():
        if not isinstance(module, nn.Conv2d | nn.Linear) or module.bias is None:
            continue
        if not batch_norm:
            init.xavier_uniform_(module.weight, generator=generator)
        elif isinstance(module, nn.Conv2d):
            init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu", generator=generator)
        else:
            init.normal_(module.weight, 0.0, 0.01, generator)
        init.zeros_(module.bias)


RECIPE = Recipe(
    optimizer="sgd",
    lr=0.01,
    batch=256,
    epochs=74,
    momentum=0.9,
    weight_decay=5e-4,
    schedule="plateau",
    augmentation=("shorter side 256, 384 or 256-512", "random crop 224", "flip", "PCA colour", "mean subtraction"),
    options=(("dropout", 0.5),),
    source="section 3.1",
    notes="divided by 10 three times, 370K iterations; the paper first drew weights with variance 0.01 for A, and "
    "started the others with A's first four convolutions and its three fully connected layers",
)


def _published(params: str, top1: float, top5: float, scales: str) -> Published:
    return Published(params, "", top1, top5, f"dense, single test scale, {scales}, validation", "Tables 2 and 3")


_ONE, _JITTERED = "trained at 256 and tested at 256", "trained at 256-512 and tested at 384"

_vgg = partial(
    spec,
    VGG,
    family="VGG",
    year=2014,
    paper="arXiv:1409.1556",
    input_shape=(3, 224, 224),
    num_classes=1000,
    recipe=RECIPE,
)
_bn = partial(_vgg, form="torchvision", batch_norm=True, recipe=None)

TABLE = (
    _vgg("vgg11", configuration="A", torchvision="vgg11", timm="vgg11", published=_published("133M", 29.6, 10.4, _ONE)),
    _vgg("vgg11_lrn", configuration="A-LRN", published=_published("133M", 29.7, 10.5, _ONE)),
    _vgg("vgg13", configuration="B", torchvision="vgg13", timm="vgg13", published=_published("133M", 28.7, 9.9, _ONE)),
    _vgg("vgg16_c", configuration="C", published=_published("134M", 27.3, 8.8, _JITTERED)),
    _vgg(
        "vgg16",
        configuration="D",
        torchvision="vgg16",
        timm="vgg16",
        published=_published("138M", 25.6, 8.1, _JITTERED),
    ),
    _vgg(
        "vgg19",
        configuration="E",
        torchvision="vgg19",
        timm="vgg19",
        published=_published("144M", 25.5, 8.0, _JITTERED),
    ),
    _bn("vgg11_bn", configuration="A", torchvision="vgg11_bn", timm="vgg11_bn"),
    _bn("vgg13_bn", configuration="B", torchvision="vgg13_bn", timm="vgg13_bn"),
    _bn("vgg16_bn", configuration="D", torchvision="vgg16_bn", timm="vgg16_bn"),
    _bn("vgg19_bn", configuration="E", torchvision="vgg19_bn", timm="vgg19_bn"),
)
