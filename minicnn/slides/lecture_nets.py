"""The small networks that slides draw and the catalog does not have: layers, blocks and stacks of a few."""

from collections.abc import Callable
from functools import partial
from itertools import pairwise

from minicnn import nn
from minicnn.models.googlenet import BasicConv2d, Inception, InceptionNaive
from minicnn.models.resnet import Bottleneck

Shape = tuple[int, ...]

_conv = partial(nn.Conv2d, bias=False)
_unit = partial(BasicConv2d, batch_norm=False, bias=False)


def _stack(*widths: int, kernel: int) -> nn.Module:
    """Convolutions one after the other that keep the size of the maps."""
    return nn.Sequential(*(_conv(a, b, kernel, padding=kernel // 2) for a, b in pairwise(widths)))


NETS: dict[str, tuple[Callable[[], nn.Module], Shape]] = {
    "five to five": (lambda: nn.Linear(5, 5, bias=False), (5,)),
    "width three": (lambda: _conv(1, 1, (1, 3), padding=(0, 1)), (1, 1, 5)),
    "three 3x3": (lambda: _stack(256, 256, 256, 256, kernel=3), (256, 28, 28)),
    "one 7x7": (lambda: _stack(256, 256, kernel=7), (256, 28, 28)),
    "naive inception": (lambda: InceptionNaive(256, 128, 192, 96, unit=_unit), (256, 28, 28)),
    "inception": (lambda: Inception(256, 128, 64, 192, 64, 96, 64, unit=_unit), (256, 28, 28)),
    "bottleneck": (lambda: Bottleneck(256, 64), (256, 28, 28)),
    "two 3x3 of 256": (lambda: _stack(256, 256, 256, kernel=3), (256, 28, 28)),
    "resnet block": (lambda: Bottleneck(256, 64), (256, 56, 56)),
    "resnext block": (lambda: Bottleneck(256, 64, groups=32, base_width=4), (256, 56, 56)),
    "normal 5x5": (lambda: _conv(3, 256, 5), (3, 12, 12)),
    "one 5x5": (lambda: _conv(3, 1, 5), (3, 12, 12)),
    "padded 5x5": (lambda: _conv(3, 256, 5, padding=2), (3, 12, 12)),
    "separable 5x5": (
        lambda: nn.Sequential(depthwise=_conv(3, 3, 5, groups=3), pointwise=_conv(3, 256, 1)),
        (3, 12, 12),
    ),
    "keras toy": (lambda: nn.Sequential(dense_1=nn.Linear(1, 2), dense_2=nn.Linear(2, 1)), (1,)),
    "transition": (lambda: nn.Sequential(conv=_conv(512, 256, 1), pool=nn.AvgPool2d(2)), (512, 256, 256)),
}
