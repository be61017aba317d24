"""LeNet: two convolutions with pooling, then fully connected layers, on 28 to 32 pixel digits.

``lenet5`` is what is called LeNet-5 today: the layers of LeCun et al. 1998 with full connection in the second
convolution, a linear output, ReLU and max pooling. ``lenet_caffe`` is the net of Caffe's MNIST example.
"""

import math
from functools import partial
from typing import Any, ClassVar

from minicnn import nn
from minicnn.models.network import Network
from minicnn.models.spec import spec
from minicnn.nn import init
from minicnn.random import Generator


class LeNet5(Network):
    """32x32 -> 6@28 -> pool -> 16@10 -> pool -> 400 -> 120 -> 84 -> classes."""

    stage_paths: ClassVar = {"stage1": "pool1", "stage2": "pool2"}

    def __init__(self, *, num_classes: int = 10, in_channels: int = 1, generator: Generator | None = None) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 6, 5, generator=generator)
        self.pool1 = nn.MaxPool2d(2)
        self.conv2 = nn.Conv2d(6, 16, 5, generator=generator)
        self.pool2 = nn.MaxPool2d(2)
        self.flatten = nn.Flatten()
        self.fc1 = nn.Linear(16 * 5 * 5, 120, generator=generator)
        self.fc2 = nn.Linear(120, 84, generator=generator)
        self.fc3 = nn.Linear(84, num_classes, generator=generator)
        self.relu = nn.ReLU()

    def forward(self, x: Any) -> Any:
        x = self.pool1(self.relu(self.conv1(x)))
        x = self.pool2(self.relu(self.conv2(x)))
        x = self.relu(self.fc1(self.flatten(x)))
        return self.fc3(self.relu(self.fc2(x)))


class LeNetCaffe(Network):
    """28x28 -> 20@24 -> pool -> 50@8 -> pool -> 800 -> 500 -> classes; the only nonlinearity is after ``ip1``."""

    stage_paths: ClassVar = {"stage1": "pool1", "stage2": "pool2"}

    def __init__(self, *, num_classes: int = 10, in_channels: int = 1, generator: Generator | None = None) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 20, 5, generator=generator)
        self.pool1 = nn.MaxPool2d(2)
        self.conv2 = nn.Conv2d(20, 50, 5, generator=generator)
        self.pool2 = nn.MaxPool2d(2)
        self.flatten = nn.Flatten()
        self.ip1 = nn.Linear(50 * 4 * 4, 500, generator=generator)
        self.relu = nn.ReLU()
        self.ip2 = nn.Linear(500, num_classes, generator=generator)
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                init.zeros_(parameter)
            else:  # Caffe's "xavier" filler looks at fan_in only
                bound = math.sqrt(3 / init.fans(parameter)[0])
                init.uniform_(parameter, -bound, bound, generator)

    def forward(self, x: Any) -> Any:
        x = self.pool2(self.conv2(self.pool1(self.conv1(x))))
        return self.ip2(self.relu(self.ip1(self.flatten(x))))


_lenet = partial(spec, family="LeNet", num_classes=10)

TABLE = (
    _lenet(
        LeNet5,
        "lenet5",
        year=1998,
        paper="LeCun et al. 1998",
        form="modern",
        input_shape=(1, 32, 32),
    ),
    _lenet(
        LeNetCaffe,
        "lenet_caffe",
        year=2014,
        paper="Caffe examples/mnist",
        input_shape=(1, 28, 28),
        form="Caffe",
    ),
)
