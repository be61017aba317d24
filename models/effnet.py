"""EffNet (Freeman, not EfficientNet): blocks split in space as well, for networks that are thin to begin with.

MobileNet and ShuffleNet leave the first layer as it is and lose much where they stride, and thin networks feel both. A
block here has a 1x1, a depthwise 1x3, a max pool that halves the height alone, a depthwise 3x1 on what is left, and a
1x2 convolution with stride 2 that halves the width while it doubles the channels: no step takes all at once, and the
first layer is such a block too.

Order and constants are those of the usual Keras code: after every convolution LeakyReLU (slope 0.3) and then batch norm
(epsilon 1e-3, momentum 0.99, which is 0.01 here); weights are Glorot's, uniform.

**Math** 1x3, pool, 3x1 cost ``3 H W C + 3 (H/2) W C``, half of a depthwise 3x3's ``9 H W C``.
**See** Freeman et al., "EffNet: An Efficient Structure for Convolutional Neural Networks", 2018.
"""

from functools import partial
from typing import Any, ClassVar

from minicnn import nn
from minicnn.errors import ArgumentError
from minicnn.models.network import Network
from minicnn.models.spec import spec
from minicnn.nn import init
from minicnn.ops.geometry import Pair, integer
from minicnn.random import Generator


def unit(in_channels: int, out_channels: int, kernel_size: Pair, **options: Any) -> list[nn.Module]:
    """A convolution, LeakyReLU, batch norm, in this order."""
    return [
        nn.Conv2d(in_channels, out_channels, kernel_size, bias=False, **options),
        nn.LeakyReLU(0.3),
        nn.BatchNorm2d(out_channels, eps=1e-3, momentum=0.01),
    ]


class EffNetBlock(nn.Sequential):
    """Half the height, half the width, ``out_channels``; between the convolutions ``middle`` channels."""

    def __init__(self, in_channels: int, middle: int, out_channels: int, *, generator: Generator | None = None) -> None:
        make = partial(unit, generator=generator)
        super().__init__(
            *make(in_channels, middle, 1),
            *make(middle, middle, (1, 3), padding=(0, 1), groups=middle),
            nn.MaxPool2d((2, 1)),
            *make(middle, middle, (3, 1), padding=(1, 0), groups=middle),
            *make(middle, out_channels, (1, 2), stride=(1, 2)),
        )


class BaselineBlock(nn.Sequential):
    """What it is measured against: a full 3x3 convolution and a 2x2 max pool."""

    def __init__(self, in_channels: int, middle: int, out_channels: int, *, generator: Generator | None = None) -> None:
        super().__init__(*unit(in_channels, out_channels, 3, padding=1, generator=generator), nn.MaxPool2d(2))


class EffNet(Network):
    """Three blocks and a linear layer on all that is left of the image; ``separable=False`` is the baseline.

    ``image_size`` is the (H, W) of the images, multiples of 8.
    """

    stage_paths: ClassVar = {f"stage{i}": f"block{i}" for i in (1, 2, 3)}

    def __init__(
        self,
        *,
        channels: tuple[int, int, int, int] = (32, 64, 128, 256),
        separable: bool = True,
        image_size: tuple[int, int] = (32, 32),
        num_classes: int = 10,
        in_channels: int = 3,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        if len(channels) != 4:
            raise ArgumentError(
                f"EffNet: channels={channels!r}, expected those inside block 1 and after blocks 1, 2, 3"
            )
        if len(image_size) != 2 or any(integer("EffNet", "image_size", size, 8) % 8 for size in image_size):
            raise ArgumentError(f"EffNet: image_size={image_size!r}, expected (height, width), multiples of 8")
        block = partial(EffNetBlock if separable else BaselineBlock, generator=generator)
        inside, first, second, third = channels
        self.block1 = block(in_channels, inside, first)
        self.block2 = block(first, first, second)
        self.block3 = block(second, second, third)
        self.flatten = nn.Flatten()
        places = image_size[0] // 8 * (image_size[1] // 8)
        self.fc = nn.Linear(third * places, num_classes, generator=generator)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                init.xavier_uniform_(module.weight, generator=generator)
        if self.fc.bias is not None:
            init.zeros_(self.fc.bias)

    def forward(self, x: Any) -> Any:
        return self.fc(self.flatten(self.block3(self.block2(self.block1(x)))))


_effnet = partial(
    spec, EffNet, family="EffNet", year=2018, paper="arXiv:1801.06434", input_shape=(3, 32, 32), num_classes=10
)

TABLE = (
    _effnet(
        "effnet_cifar10",
        form="Keras",
        deviations="arthurdouillard/keras-effnet has a last kernel of 2x1 with stride (1, 2), which never reads every "
        "other column; 1x2, as andrijdavid/EffNet has it, costs the same and reads all",
    ),
    _effnet(
        "effnet_baseline_cifar10",
        separable=False,
        deviations="order and constants of LeakyReLU and batch norm are those of the Keras code of the other network",
    ),
)
