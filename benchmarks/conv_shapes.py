"""The convolutions of nine networks, each distinct one with how often every network has it.

The tables are those of the papers; a rule writes the rows. Images are square. What follows a convolution (batch norm,
activation) does not change a shape and is left out; fully connected layers are no convolutions, except the two 1x1
ones that squeeze and excite has on images of one pixel.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from minicnn.kernels.window import Window2d


class Conv(NamedTuple):
    """A convolution of ``channels`` planes of ``size`` x ``size`` pixels with ``filters`` square filters."""

    channels: int
    size: int
    filters: int
    kernel: int = 1
    stride: int = 1
    padding: int = 0
    groups: int = 1

    @property
    def out(self) -> int:
        return _outputs(self.size, self.kernel, self.stride, self.padding)

    @property
    def macs(self) -> int:
        """Multiply-adds for one image, in each of the three passes."""
        return self.filters * self.out**2 * self.channels // self.groups * self.kernel**2

    @property
    def window(self) -> Window2d:
        pads, strides = (self.padding,) * 4, (self.stride,) * 2
        return Window2d(*(self.size,) * 2, *(self.kernel,) * 2, *strides, *pads, 1, 1, *(self.out,) * 2)

    @property
    def weight_shape(self) -> tuple[int, int, int, int]:
        return self.filters, self.channels // self.groups, self.kernel, self.kernel

    def x_shape(self, batch: int) -> tuple[int, int, int, int]:
        return batch, self.channels, self.size, self.size

    def y_shape(self, batch: int) -> tuple[int, int, int, int]:
        return batch, self.filters, self.out, self.out

    @property
    def kind(self) -> str:
        """What decides how a convolution behaves; ``--quick`` takes one of each."""
        if self.groups > 1:
            return "depthwise" if self.groups == self.channels else "grouped"
        named = {(1, 1): "pointwise", (3, 1): "3x3"}
        return named.get((self.kernel, self.stride), "strided or large")

    def __str__(self) -> str:
        groups = f" g{self.groups}" if self.groups > 1 else ""
        stride = f"/{self.stride}" if self.stride > 1 else ""
        size, kernel = f"{self.size}x{self.size}", f"{self.kernel}x{self.kernel}"
        return f"{self.channels}x{size} -> {self.filters}, {kernel}{stride} p{self.padding}{groups}"


def _outputs(size: int, kernel: int, stride: int, padding: int) -> int:
    return (size + 2 * padding - kernel) // stride + 1


class Trace:
    """One image on its way through a network, and the convolutions it met."""

    def __init__(self, size: int = 224, channels: int = 3) -> None:
        self.size, self.channels = size, channels
        self.convs: list[Conv] = []

    def beside(self, filters: int, kernel: int = 1, stride: int = 1) -> None:
        """Note a convolution of the image here whose result goes another way (a shortcut)."""
        self.convs.append(Conv(self.channels, self.size, filters, kernel, stride, kernel // 2))

    def conv(self, filters: int, kernel: int = 1, stride: int = 1, groups: int = 1, padding: int | None = None) -> None:
        """Padded by half the kernel unless told otherwise."""
        padding = kernel // 2 if padding is None else padding
        self.convs.append(Conv(self.channels, self.size, filters, kernel, stride, padding, groups))
        self.channels, self.size = filters, self.convs[-1].out

    def depthwise(self, kernel: int, stride: int) -> None:
        self.conv(self.channels, kernel, stride, groups=self.channels)

    def squeeze_and_excite(self, squeezed: int) -> None:
        self.convs += [Conv(self.channels, 1, squeezed), Conv(squeezed, 1, self.channels)]

    def pool(self, kernel: int, stride: int, padding: int = 0) -> None:
        self.size = _outputs(self.size, kernel, stride, padding)


def alexnet() -> Trace:
    """Krizhevsky, Sutskever, Hinton 2012: the two halves are groups; images of 227 pixels."""
    image = Trace(227)
    image.conv(96, 11, 4, padding=0)
    image.pool(3, 2)
    image.conv(256, 5, groups=2)
    image.pool(3, 2)
    for filters, groups in ((384, 1), (384, 2), (256, 2)):
        image.conv(filters, 3, groups=groups)
    return image


def vgg16() -> Trace:
    """Simonyan, Zisserman 2014, configuration D."""
    image = Trace()
    for filters, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(count):
            image.conv(filters, 3)
        image.pool(2, 2)
    return image


def _resnet_stages(depths: Iterable[int], expansion: int, block: Callable[[Trace, int, int], None]) -> Trace:
    image = Trace()
    image.conv(64, 7, 2)
    image.pool(3, 2, 1)
    for stage, depth in enumerate(depths):
        for index in range(depth):
            stride = 2 if stage and not index else 1
            planes = 64 << stage
            if stride > 1 or image.channels != planes * expansion:
                image.beside(planes * expansion, 1, stride)
            block(image, planes, stride)
    return image


def _bottleneck(groups: int, width: int) -> Callable[[Trace, int, int], None]:
    """1x1, 3x3 with the stride, 1x1; of 64 planes ``width`` a group are left inside."""

    def block(image: Trace, planes: int, stride: int) -> None:
        inside = planes * width // 64 * groups
        image.conv(inside)
        image.conv(inside, 3, stride, groups)
        image.conv(4 * planes)

    return block


def resnet34() -> Trace:
    """He et al. 2015, shortcuts B."""

    def basic(image: Trace, planes: int, stride: int) -> None:
        image.conv(planes, 3, stride)
        image.conv(planes, 3)

    return _resnet_stages((3, 4, 6, 3), 1, basic)


def resnet50() -> Trace:
    """He et al. 2015, the stride in the 3x3 convolution."""
    return _resnet_stages((3, 4, 6, 3), 4, _bottleneck(1, 64))


def resnext50() -> Trace:
    """Xie et al. 2016, 32x4d."""
    return _resnet_stages((3, 4, 6, 3), 4, _bottleneck(32, 4))


def mobilenet_v1() -> Trace:
    """Howard et al. 2017, table 1."""
    image = Trace()
    image.conv(32, 3, 2)
    for filters, stride in (
        (64, 1),
        (128, 2),
        (128, 1),
        (256, 2),
        (256, 1),
        (512, 2),
        *[(512, 1)] * 5,
        (1024, 2),
        (1024, 1),
    ):
        image.depthwise(3, stride)
        image.conv(filters)
    return image


def _inverted_residual(image: Trace, expand: int, filters: int, kernel: int, stride: int, squeeze: bool) -> None:
    channels = image.channels
    if expand > 1:
        image.conv(expand * channels)
    image.depthwise(kernel, stride)
    if squeeze:
        image.squeeze_and_excite(channels // 4)
    image.conv(filters)


# Rows: expansion, filters, blocks, stride of the first, kernel.
MOBILENET_V2 = (
    *((1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 32, 3, 2, 3), (6, 64, 4, 2, 3)),
    *((6, 96, 3, 1, 3), (6, 160, 3, 2, 3), (6, 320, 1, 1, 3)),
)
EFFICIENTNET_B0 = (
    *((1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 40, 2, 2, 5), (6, 80, 3, 2, 3)),
    *((6, 112, 3, 1, 5), (6, 192, 4, 2, 5), (6, 320, 1, 1, 3)),
)


def _inverted_residuals(table: tuple[tuple[int, ...], ...], squeeze: bool) -> Trace:
    image = Trace()
    image.conv(32, 3, 2)
    for expand, filters, blocks, stride, kernel in table:
        for index in range(blocks):
            _inverted_residual(image, expand, filters, kernel, 1 if index else stride, squeeze)
    image.conv(1280)
    return image


def mobilenet_v2() -> Trace:
    """Sandler et al. 2018, table 2."""
    return _inverted_residuals(MOBILENET_V2, squeeze=False)


def efficientnet_b0() -> Trace:
    """Tan, Le 2019, table 1; padded evenly, as PyTorch does."""
    return _inverted_residuals(EFFICIENTNET_B0, squeeze=True)


def densenet121() -> Trace:
    """Huang et al. 2016: growth 32, every layer sees all before it."""
    image, growth = Trace(), 32
    image.conv(64, 7, 2)
    image.pool(3, 2, 1)
    for layers in (6, 12, 24, 16):
        if image.channels > 64:  # between two blocks
            image.conv(image.channels // 2)
            image.pool(2, 2)
        for _ in range(layers):
            seen = image.channels
            image.conv(4 * growth)
            image.conv(growth, 3)
            image.channels = seen + growth
    return image


NETWORKS: dict[str, Callable[[], Trace]] = {
    build.__name__: build
    for build in (
        *(alexnet, vgg16, resnet34, resnet50, resnext50),
        *(mobilenet_v1, mobilenet_v2, efficientnet_b0, densenet121),
    )
}


def distinct(names: Iterable[str]) -> dict[Conv, dict[str, int]]:
    """Each distinct convolution of these networks, and how often each of them has it."""
    found: dict[Conv, dict[str, int]] = {}
    for name in names:
        for conv in NETWORKS[name]().convs:
            times = found.setdefault(conv, {})
            times[name] = times.get(name, 0) + 1
    return found
