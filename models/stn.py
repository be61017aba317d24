"""Spatial transformer networks: nets that first turn, shift and zoom their input so that it is easier to read.

A small localisation net looks at the image and gives six numbers; they say which parallelogram of it is read, and the
classifier sees that alone (``nn.SpatialTransformer``). Nobody tells it where to look: the loss of the classifier does,
through the sampling. Two transformers side by side can look at two things at once: in the addition of two digits each
sees both pictures, reads both at its own places, and comes to follow one of the digits.

``stn_mnist_tutorial`` is the net of PyTorch's tutorial, ``stn_mnist_addition`` that of the paper's appendix A.1, which
``benchmarks/digit_addition.py`` trains beside a plain CNN of as many parameters.

**Math** ``(x, y) = theta (x', y', 1)``, theta (2, 3); output (x', y') is the input at (x, y), read bilinearly.
**See** Jaderberg, Simonyan, Zisserman and Kavukcuoglu, "Spatial Transformer Networks", 2015.
"""

from functools import partial
from typing import Any, ClassVar

from minicnn import nn
from minicnn.models.googlenet import Branches
from minicnn.models.network import Network
from minicnn.models.spec import Published, Recipe, spec
from minicnn.ops.geometry import integer
from minicnn.random import Generator


class STN(Network):
    """28x28 -> transformer -> 10@24 -> pool -> 20@8 -> pool -> 320 -> 50 -> classes.

    The adaptive pool of the localisation net does nothing to images of 28 pixels; others it fits to the linear layer.
    """

    stage_paths: ClassVar = {"transformer": "transformer", "stage1": "pool1", "stage2": "pool2"}

    def __init__(self, *, num_classes: int = 10, in_channels: int = 1, generator: Generator | None = None) -> None:
        super().__init__()
        conv, linear = partial(nn.Conv2d, generator=generator), partial(nn.Linear, generator=generator)
        localisation = nn.Sequential(
            conv1=conv(in_channels, 8, 7),
            pool1=nn.MaxPool2d(2),
            relu1=nn.ReLU(),
            conv2=conv(8, 10, 5),
            pool2=nn.MaxPool2d(2),
            relu2=nn.ReLU(),
            fit=nn.AdaptiveAvgPool2d(3),
            flatten=nn.Flatten(),
            fc1=linear(10 * 3 * 3, 32),
            relu3=nn.ReLU(),
            fc2=linear(32, 6),
        )
        self.transformer = nn.SpatialTransformer(localisation)
        self.conv1, self.pool1 = conv(in_channels, 10, 5), nn.MaxPool2d(2)
        self.conv2, self.pool2 = conv(10, 20, 5), nn.MaxPool2d(2)
        self.conv2_drop = nn.Dropout2d(0.5, generator=generator)
        self.relu, self.flatten = nn.ReLU(), nn.Flatten()
        self.fc1 = linear(20 * 4 * 4, 50)
        self.drop = nn.Dropout(0.5, generator=generator)
        self.fc2 = linear(50, num_classes)

    def forward(self, x: Any) -> Any:
        x = self.relu(self.pool1(self.conv1(self.transformer(x))))
        x = self.relu(self.pool2(self.conv2_drop(self.conv2(x))))
        return self.fc2(self.drop(self.relu(self.fc1(self.flatten(x)))))


def localisation(in_channels: int, generator: Generator | None) -> nn.Sequential:
    """Section A.4: the image at half its size, two convolutions of 20 filters 5x5, 20 units, six numbers."""
    return nn.Sequential(
        half=nn.AvgPool2d(2),
        conv1=nn.Conv2d(in_channels, 20, 5, generator=generator),
        relu1=nn.ReLU(),
        pool=nn.MaxPool2d(2),
        conv2=nn.Conv2d(20, 20, 5, generator=generator),
        relu2=nn.ReLU(),
        fit=nn.AdaptiveAvgPool2d(4),  # nothing changes at 42 pixels
        flatten=nn.Flatten(),
        fc1=nn.Linear(20 * 4 * 4, 20, generator=generator),
        relu3=nn.ReLU(),
        fc2=nn.Linear(20, 6, generator=generator),
    )


class ParallelSTN(Network):
    """``transformers`` that read the same image side by side, and one classifier for all that they show it.

    2@42x42 -> 4@42 -> mean pool 4@21 -> 24@17 -> pool -> 48@6 -> pool -> 432 -> 128 -> classes.
    """

    stage_paths: ClassVar = {"transformers": "transformers", "half": "half", "stage1": "pool1", "stage2": "pool2"}

    def __init__(
        self,
        *,
        transformers: int = 2,
        num_classes: int = 19,
        in_channels: int = 2,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        count = integer("ParallelSTN", "transformers", transformers, 1)
        self.transformers = Branches(
            *(nn.SpatialTransformer(localisation(in_channels, generator)) for _ in range(count))
        )
        self.half, self.relu, self.flatten = nn.AvgPool2d(2), nn.ReLU(), nn.Flatten()
        self.conv1 = nn.Conv2d(count * in_channels, 24, 5, generator=generator)
        self.pool1 = nn.MaxPool2d(2)
        self.conv2 = nn.Conv2d(24, 48, 3, generator=generator)
        self.pool2 = nn.MaxPool2d(2)
        self.fc1 = nn.Linear(48 * 3 * 3, 128, generator=generator)
        self.fc2 = nn.Linear(128, num_classes, generator=generator)

    def forward(self, x: Any) -> Any:
        x = self.half(self.transformers(x))
        x = self.pool1(self.relu(self.conv1(x)))
        x = self.pool2(self.relu(self.conv2(x)))
        return self.fc2(self.relu(self.fc1(self.flatten(x))))


TUTORIAL_RECIPE = Recipe(
    optimizer="sgd",
    lr=0.01,
    batch=64,
    epochs=20,
    schedule="constant",
    augmentation=("mean and deviation",),
    options=(("dropout", 0.5),),
    source="intermediate_source/spatial_transformer_tutorial.py of pytorch/tutorials",
)
RECIPE = Recipe(
    optimizer="sgd",
    lr=0.01,
    batch=256,
    augmentation=("rotation 45", "scale 0.7 to 1.2", "translation"),
    options=(("iterations", 150_000), ("step_iterations", 50_000)),
    source="section 4.1, and A.4 as a reader's notes retell it",
    notes="divided by 10 every 50,000 steps; neither weight decay nor dropout; what benchmarks/digit_addition.py "
    "does instead takes minutes",
)

_stn = partial(spec, family="STN", year=2015)
TABLE = (
    _stn(
        STN,
        "stn_mnist_tutorial",
        paper="arXiv:1506.02025, PyTorch's tutorial",
        input_shape=(1, 28, 28),
        num_classes=10,
        form="PyTorch's tutorial",
        recipe=TUTORIAL_RECIPE,
        deviations="logits where the tutorial has their log_softmax, which cross entropy takes here",
    ),
    _stn(
        ParallelSTN,
        "stn_mnist_addition",
        paper="arXiv:1506.02025",
        input_shape=(2, 42, 42),
        num_classes=19,
        published=Published(
            top1_error=5.8,
            protocol="2xST-FCN with thin plate splines, test; one transformer 18.5, CNN 14.7, FCN 47.7",
            source="section A.1",
        ),
        recipe=RECIPE,
        deviations="the paper prints no table of these layers: localisation nets and the mean pool behind them are "
        "those of section A.4, the classifier is ours and convolutional, the transformations are affine",
    ),
)
