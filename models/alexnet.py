"""AlexNet: five convolutions and three fully connected layers, in the four forms that go by the name.

``alexnet`` is the paper's net on two GPUs: convolutions 2, 4 and 5 see half of the maps each, hence 60M parameters.
``caffenet`` pools before it normalises. ``alexnet_cs231n`` is the lecture's table, where every layer sees all maps.
``alexnet_owt`` is what Krizhevsky made of it two years later, and torchvision's AlexNet: fewer maps, no normalisation.

**See** Krizhevsky, Sutskever and Hinton, "ImageNet Classification with Deep Convolutional Neural Networks", 2012;
Krizhevsky, "One weird trick for parallelizing convolutional neural networks", 2014.
"""

from functools import partial
from typing import Any, ClassVar

from minicnn import nn
from minicnn.errors import ArgumentError
from minicnn.models.network import Network
from minicnn.models.spec import Published, Recipe, spec
from minicnn.nn import init
from minicnn.random import Generator

RESPONSE_NORMS = {
    "paper": partial(nn.LocalResponseNorm, 5, alpha=1e-4, beta=0.75, k=2.0, alpha_over_n=False),
    "caffe": partial(nn.LocalResponseNorm, 5, alpha=1e-4, beta=0.75, k=1.0),
}


def response_norm(form: str) -> nn.LocalResponseNorm:
    """Section 3.3's normalisation over five maps: ``k`` is 2, and alpha is the weight of each square. Caffe divides
    alpha by five and has ``k`` 1.
    """
    if form not in RESPONSE_NORMS:
        raise ArgumentError(f"AlexNet: norm={form!r} is unknown, expected one of {tuple(RESPONSE_NORMS)}")
    return RESPONSE_NORMS[form]()


class AlexNet(Network):
    """Layers under Caffe's names. 227x227 -> 96@55 -> 256@27 -> 384@13 -> 384@13 -> 256@13 -> 6x6 -> 4096 -> 4096."""

    stage_paths: ClassVar = {"stage1": "relu1", "stage2": "relu2", "stage3": "relu5"}

    def __init__(
        self,
        *,
        groups: int = 2,
        pool_first: bool = False,
        norm: str = "paper",
        hidden: int = 4096,
        hidden_std: float = 0.01,
        dropout: float = 0.5,
        num_classes: int = 1000,
        in_channels: int = 3,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        if groups not in (1, 2):
            raise ArgumentError(f"AlexNet: groups={groups!r}, expected 2 (two GPUs) or 1 (every layer sees all maps)")
        self.pool_first = pool_first
        conv, linear = partial(nn.Conv2d, generator=generator), partial(nn.Linear, generator=generator)
        self.conv1, self.relu1 = conv(in_channels, 96, 11, 4), nn.ReLU()
        self.norm1, self.pool1 = response_norm(norm), nn.MaxPool2d(3, 2)
        self.conv2, self.relu2 = conv(96, 256, 5, padding=2, groups=groups), nn.ReLU()
        self.norm2, self.pool2 = response_norm(norm), nn.MaxPool2d(3, 2)
        self.conv3, self.relu3 = conv(256, 384, 3, padding=1), nn.ReLU()
        self.conv4, self.relu4 = conv(384, 384, 3, padding=1, groups=groups), nn.ReLU()
        self.conv5, self.relu5 = conv(384, 256, 3, padding=1, groups=groups), nn.ReLU()
        self.pool5, self.flatten = nn.MaxPool2d(3, 2), nn.Flatten()
        self.fc6, self.relu6 = linear(256 * 6 * 6, hidden), nn.ReLU()
        self.drop6 = nn.Dropout(dropout, generator=generator)
        self.fc7, self.relu7 = linear(hidden, hidden), nn.ReLU()
        self.drop7 = nn.Dropout(dropout, generator=generator)
        self.fc8 = linear(hidden, num_classes)
        _initialise(self, hidden_std, generator)

    def forward(self, x: Any) -> Any:
        x = self.relu1(self.conv1(x))
        x = self.norm1(self.pool1(x)) if self.pool_first else self.pool1(self.norm1(x))
        x = self.relu2(self.conv2(x))
        x = self.norm2(self.pool2(x)) if self.pool_first else self.pool2(self.norm2(x))
        x = self.relu4(self.conv4(self.relu3(self.conv3(x))))
        x = self.flatten(self.pool5(self.relu5(self.conv5(x))))
        x = self.drop6(self.relu6(self.fc6(x)))
        x = self.drop7(self.relu7(self.fc7(x)))
        return self.fc8(x)


def _initialise(model: AlexNet, hidden_std: float, generator: Generator | None) -> None:
    """Section 5: deviation 0.01 everywhere, and ReLUs that start alive: biases of 1 in conv2, conv4, conv5, fc6 and
    fc7, 0 in the others. Caffe's hidden layers have a deviation of 0.005.
    """
    for name, layer in model.named_children():
        if isinstance(layer, nn.Conv2d | nn.Linear) and layer.bias is not None:
            init.normal_(layer.weight, 0.0, hidden_std if name in ("fc6", "fc7") else 0.01, generator)
            init.constant_(layer.bias, float(name in ("conv2", "conv4", "conv5", "fc6", "fc7")))


class AlexNetOWT(Network):
    """224x224 -> 64@55 -> 192@27 -> 384@13 -> 256@13 -> 256@13 -> 6x6; dropout stands before both hidden layers.

    Means resize the last pool to 6x6, which changes nothing at 224x224. Weights start as PyTorch's layers do.
    """

    stage_paths: ClassVar = {"stage1": "features.1", "stage2": "features.4", "stage3": "features.11"}

    def __init__(
        self,
        *,
        hidden: int = 4096,
        dropout: float = 0.5,
        num_classes: int = 1000,
        in_channels: int = 3,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        conv, linear = partial(nn.Conv2d, generator=generator), partial(nn.Linear, generator=generator)
        self.features = nn.Sequential(
            *(conv(in_channels, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2)),
            *(conv(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
            *(conv(192, 384, 3, padding=1), nn.ReLU()),
            *(conv(384, 256, 3, padding=1), nn.ReLU()),
            *(conv(256, 256, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2)),
        )
        self.avgpool, self.flatten = nn.AdaptiveAvgPool2d((6, 6)), nn.Flatten()
        self.classifier = nn.Sequential(
            *(nn.Dropout(dropout, generator=generator), linear(256 * 6 * 6, hidden), nn.ReLU()),
            *(nn.Dropout(dropout, generator=generator), linear(hidden, hidden), nn.ReLU()),
            linear(hidden, num_classes),
        )

    def forward(self, x: Any) -> Any:
        return self.classifier(self.flatten(self.avgpool(self.features(x))))


RECIPE = Recipe(
    optimizer="sgd",
    lr=0.01,
    batch=128,
    epochs=90,
    momentum=0.9,
    weight_decay=5e-4,
    schedule="plateau",
    augmentation=("shorter side 256", "centre 256", "random crop 224", "flip", "PCA colour", "mean subtraction"),
    options=(("dropout", 0.5),),
    source="sections 4 and 5",
    notes="divided by 10 three times, by hand",
)
CAFFE_RECIPE = RECIPE._replace(
    batch=256,
    schedule="steps",
    milestones=(20, 40, 60, 80),
    augmentation=("random crop 227", "flip", "mean subtraction"),
    options=(("dropout", 0.5), ("bias_lr", 2.0), ("bias_weight_decay", 0.0), ("iterations", 450_000)),
    source="models/bvlc_reference_caffenet of github.com/BVLC/caffe: solver.prototxt, train_val.prototxt",
    notes="steps of 100,000 iterations, each 19.98 epochs; bias_lr multiplies the rate",
)

_alexnet = partial(spec, family="AlexNet", num_classes=1000, recipe=RECIPE)
_227 = partial(_alexnet, AlexNet, input_shape=(3, 227, 227))

TABLE = (
    _227(
        "alexnet",
        year=2012,
        paper="NIPS 2012",
        groups=2,
        published=Published(
            "60M", "", 40.7, 18.2, "1 net, validation", "abstract; errors as Table 2 of 1311.2901 quotes"
        ),
        deviations="the paper prints 224x224, from which 55x55 maps do not follow; normalisation sees both GPUs' maps",
    ),
    _227(
        "caffenet",
        year=2013,
        paper="Caffe models/bvlc_reference_caffenet",
        form="Caffe",
        groups=2,
        pool_first=True,
        norm="caffe",
        hidden_std=0.005,
        recipe=CAFFE_RECIPE,
        published=Published("", "", 42.6, 19.6, "centre crop, validation", "readme.md, as accuracies: 57.4% and 80.4%"),
    ),
    _227(
        "alexnet_cs231n",
        year=2012,
        paper="CS231n lecture 9",
        form="lecture",
        groups=1,
        pool_first=True,
        deviations="the lecture prints 60M parameters, those of the net with two groups",
    ),
    _alexnet(
        AlexNetOWT,
        "alexnet_owt",
        year=2014,
        paper="arXiv:1404.5997",
        form="torchvision",
        input_shape=(3, 224, 224),
        torchvision="alexnet",
        recipe=None,
    ),
)
