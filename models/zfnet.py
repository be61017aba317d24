"""ZFNet: AlexNet after its authors had looked at the features: a finer first layer, and every layer sees all maps.

``zfnet`` is Figure 3. ``zfnet_512_1024_512`` has more maps in layers 3, 4 and 5: the best row of Table 3, and what
lectures call ZFNet.

**See** Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", 2013.
"""

from functools import partial
from typing import Any, ClassVar

from minicnn import nn
from minicnn.errors import ArgumentError
from minicnn.models.alexnet import response_norm
from minicnn.models.network import Network
from minicnn.models.spec import Published, Recipe, spec
from minicnn.nn import init
from minicnn.random import Generator


class ZFNet(Network):
    """Figure 3: 224x224 -> 96@110, 55 -> 256@26, 13 -> 384@13 -> 384@13 -> 256@13, 6x6 -> 4096 -> 4096.

    ``maps`` are those of layers 3, 4 and 5, ``hidden`` the units of 6 and 7. The first two layers are pooled, then
    normalised. Pools round up, or 110 would give 54.
    """

    stage_paths: ClassVar = {"stage1": "relu1", "stage2": "relu2", "stage3": "relu5"}

    def __init__(
        self,
        *,
        maps: tuple[int, int, int] = (384, 384, 256),
        hidden: int = 4096,
        dropout: float = 0.5,
        num_classes: int = 1000,
        in_channels: int = 3,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        if len(maps) != 3 or min(maps) < 1:
            raise ArgumentError(f"ZFNet: maps={maps!r}, expected the channels of layers 3, 4 and 5")
        conv, linear = partial(nn.Conv2d, generator=generator), partial(nn.Linear, generator=generator)
        pool = partial(nn.MaxPool2d, 3, 2, ceil_mode=True)
        self.conv1, self.relu1 = conv(in_channels, 96, 7, 2, 1), nn.ReLU()
        self.pool1, self.norm1 = pool(), response_norm("paper")
        self.conv2, self.relu2 = conv(96, 256, 5, 2), nn.ReLU()
        self.pool2, self.norm2 = pool(), response_norm("paper")
        self.conv3, self.relu3 = conv(256, maps[0], 3, padding=1), nn.ReLU()
        self.conv4, self.relu4 = conv(maps[0], maps[1], 3, padding=1), nn.ReLU()
        self.conv5, self.relu5 = conv(maps[1], maps[2], 3, padding=1), nn.ReLU()
        self.pool5, self.flatten = pool(), nn.Flatten()
        self.fc6, self.relu6 = linear(maps[2] * 6 * 6, hidden), nn.ReLU()
        self.drop6 = nn.Dropout(dropout, generator=generator)
        self.fc7, self.relu7 = linear(hidden, hidden), nn.ReLU()
        self.drop7 = nn.Dropout(dropout, generator=generator)
        self.fc8 = linear(hidden, num_classes)
        _initialise(self, generator)

    def forward(self, x: Any) -> Any:
        x = self.norm1(self.pool1(self.relu1(self.conv1(x))))
        x = self.norm2(self.pool2(self.relu2(self.conv2(x))))
        x = self.relu4(self.conv4(self.relu3(self.conv3(x))))
        x = self.flatten(self.pool5(self.relu5(self.conv5(x))))
        x = self.drop6(self.relu6(self.fc6(x)))
        x = self.drop7(self.relu7(self.fc7(x)))
        return self.fc8(x)


def _initialise(model: ZFNet, generator: Generator | None) -> None:
    """Deviation 0.01, biases 0. (Section 3.1 sets all weights "to 10^-2"; equal ones would stay equal.)"""
    for layer in model.children():
        if isinstance(layer, nn.Conv2d | nn.Linear) and layer.bias is not None:
            init.normal_(layer.weight, 0.0, 0.01, generator)
            init.zeros_(layer.bias)


RECIPE = Recipe(
    optimizer="sgd",
    lr=0.01,
    batch=128,
    epochs=70,
    momentum=0.9,
    schedule="plateau",
    augmentation=("shorter side 256", "centre 256", "10 crops 224 with flips", "mean subtraction"),
    options=(("dropout", 0.5), ("max_filter_rms", 0.1)),
    source="section 3.1",
    notes="annealed by hand; a filter whose root mean square exceeds 0.1 is scaled back to 0.1",
)

_zfnet = partial(
    spec,
    ZFNet,
    family="ZFNet",
    year=2013,
    paper="arXiv:1311.2901",
    input_shape=(3, 224, 224),
    num_classes=1000,
    recipe=RECIPE,
)


def _published(top1: float, top5: float) -> Published:
    return Published("", "", top1, top5, "1 net, validation", "Table 3")


TABLE = (
    _zfnet("zfnet", maps=(384, 384, 256), published=_published(38.4, 16.5)),
    _zfnet(
        "zfnet_512_1024_512",
        maps=(512, 1024, 512),
        published=_published(37.5, 16.0),
        deviations="lectures leave out that conv2 has stride 2, and quote 11.7%, the winning entry of ILSVRC 2013",
    ),
)
