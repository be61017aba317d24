"""The CIFAR-10 nets of Caffe's examples: three 5x5 convolutions, small enough to try things out.

**See** github.com/BVLC/caffe, examples/cifar10, after the nets of Krizhevsky's cuda-convnet.
"""

from functools import partial
from typing import Any, ClassVar

from minicnn import nn, ops
from minicnn.models.network import Network
from minicnn.models.spec import Published, Recipe, spec
from minicnn.nn import init
from minicnn.random import Generator


class WithinChannelLRN(nn.Module):
    """Response normalisation over the neighbouring pixels of the same map.

    **Shapes** (N, C, H, W) -> same. **Math** ``y = x / (1 + alpha m)^beta``, m the mean of ``x^2`` over ``size`` x
    ``size`` pixels, where those outside the image count as 0. Caffe's ``WITHIN_CHANNEL``, which has no other ``k``.
    """

    printed = ("size", "alpha", "beta")

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75) -> None:
        super().__init__()
        self.size, self.alpha, self.beta = size, alpha, beta

    def forward(self, x: Any) -> Any:
        energy = ops.avg_pool2d(ops.square(x), self.size, stride=1, padding=self.size // 2)
        return x * (1 + self.alpha * energy) ** -self.beta


class _Cifar10(Network):
    """What both share: 32@32 -> 16 -> 32@16 -> 8 -> 64@8 -> 4, a maximum first and then means; pools round up."""

    cam_path: ClassVar[str] = "relu3"

    def __init__(self, in_channels: int, generator: Generator | None) -> None:
        super().__init__()
        conv = partial(nn.Conv2d, kernel_size=5, padding=2, generator=generator)
        self.conv1, self.relu1 = conv(in_channels, 32), nn.ReLU()
        self.conv2, self.relu2 = conv(32, 32), nn.ReLU()
        self.conv3, self.relu3 = conv(32, 64), nn.ReLU()
        self.pool1 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.pool2, self.pool3 = nn.AvgPool2d(3, 2, ceil_mode=True), nn.AvgPool2d(3, 2, ceil_mode=True)
        self.flatten = nn.Flatten()

    def _initialise(self, deviations: dict[str, float], generator: Generator | None) -> None:
        """Normal with the deviations of the prototxt; biases 0."""
        for name, std in deviations.items():
            layer = getattr(self, name)
            init.normal_(layer.weight, 0.0, std, generator)
            init.zeros_(layer.bias)


class Cifar10Quick(_Cifar10):
    """No normalisation, and 64 linear units before the classes."""

    stage_paths: ClassVar = {"stage1": "relu1", "stage2": "pool2", "stage3": "pool3"}

    def __init__(self, *, num_classes: int = 10, in_channels: int = 3, generator: Generator | None = None) -> None:
        super().__init__(in_channels, generator)
        self.ip1 = nn.Linear(64 * 4 * 4, 64, generator=generator)
        self.ip2 = nn.Linear(64, num_classes, generator=generator)
        self._initialise({"conv1": 1e-4, "conv2": 0.01, "conv3": 0.01, "ip1": 0.1, "ip2": 0.1}, generator)

    def forward(self, x: Any) -> Any:
        x = self.relu1(self.pool1(self.conv1(x)))
        x = self.pool2(self.relu2(self.conv2(x)))
        x = self.pool3(self.relu3(self.conv3(x)))
        return self.ip2(self.ip1(self.flatten(x)))


class Cifar10Full(_Cifar10):
    """Response normalisation within the maps after the first two pools, and one linear layer."""

    stage_paths: ClassVar = {"stage1": "norm1", "stage2": "norm2", "stage3": "pool3"}

    def __init__(self, *, num_classes: int = 10, in_channels: int = 3, generator: Generator | None = None) -> None:
        super().__init__(in_channels, generator)
        self.norm1, self.norm2 = WithinChannelLRN(3, 5e-5, 0.75), WithinChannelLRN(3, 5e-5, 0.75)
        self.ip1 = nn.Linear(64 * 4 * 4, num_classes, generator=generator)
        self._initialise({"conv1": 1e-4, "conv2": 0.01, "conv3": 0.01, "ip1": 0.01}, generator)

    def forward(self, x: Any) -> Any:
        x = self.norm1(self.relu1(self.pool1(self.conv1(x))))
        x = self.norm2(self.pool2(self.relu2(self.conv2(x))))
        x = self.pool3(self.relu3(self.conv3(x)))
        return self.ip1(self.flatten(x))


_QUICK = Recipe(
    optimizer="sgd",
    lr=0.001,
    batch=100,
    epochs=10,
    momentum=0.9,
    weight_decay=0.004,
    milestones=(8,),
    augmentation=("mean subtraction",),
    options=(("bias_lr", 2.0),),
    source="cifar10_quick_solver.prototxt, cifar10_quick_solver_lr1.prototxt, cifar10_quick_train_test.prototxt",
    notes="images are 0 to 255; bias_lr multiplies the rate",
)
_FULL = _QUICK._replace(
    epochs=140,
    milestones=(120, 130),
    options=(("bias_lr", 2.0), ("ip1_weight_decay", 1.0)),
    source="cifar10_full_solver.prototxt and its _lr1 and _lr2, cifar10_full_train_test.prototxt",
    notes="images are 0 to 255; bias_lr multiplies the rate, except in conv3; ip1's decay is 250 times the others'",
)

_cifar10 = partial(
    spec, family="caffe-zoo", year=2014, paper="Caffe examples/cifar10", input_shape=(3, 32, 32), num_classes=10
)

TABLE = (
    _cifar10(
        Cifar10Quick,
        "cifar10_quick",
        form="Caffe",
        recipe=_QUICK,
        published=Published("", "", 24.67, None, "test", "readme.md of the example, as accuracy: 0.7533"),
    ),
    _cifar10(Cifar10Full, "cifar10_full", form="Caffe", recipe=_FULL),
)
