"""Receptive fields, checked by gradients: the pixels that a unit sees are those with a gradient, no more, no less."""

import numpy as np
import pytest

import minicnn
from minicnn import Tensor, models, nn, ops


class Branched(nn.Module):
    """A 5x5 and a 1x1 branch, put side by side: the field is the larger one's."""

    def __init__(self):
        super().__init__()
        self.wide, self.narrow = nn.Conv2d(2, 2, 5, padding=2), nn.Conv2d(2, 1, 1)

    def forward(self, x):
        return ops.cat([self.wide(x), ops.relu(self.narrow(x))], 1)


class Moved(nn.Module):
    """Functional steps: a margin, a crop, every second pixel, a shortcut, a weight made of weights."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(np.ones((2, 1, 1), np.float32))

    def forward(self, x):
        y = ops.pad(x, (3, 1, 0, 2))[..., 1:, 2::2]
        left, right = ops.chunk(ops.avg_pool2d(y, 3, 1, 1), 2, dim=1)
        return ops.index_select(ops.cat([left, right], 1) * (self.scale * 2) + y, 1, np.array([0, 1]))


class Gated(nn.Module):
    """Multiplied by its own mean: every unit sees everything."""

    def forward(self, x):
        return x * ops.sigmoid(ops.global_avg_pool2d(x))


NETS = {
    "one by one": lambda: [nn.Conv2d(2, 2, 1)],
    "three 3x3": lambda: [nn.Conv2d(2, 2, 3, padding=1) for _ in range(3)],
    "strides and dilation": lambda: [nn.Conv2d(2, 2, (3, 5), (2, 1), padding=(1, 0)), nn.Conv2d(2, 2, 3, dilation=2)],
    "uneven padding": lambda: [nn.Conv2d(2, 2, 4, padding=((1, 2), (0, 3))), nn.Conv2d(2, 2, 3, 2)],
    "pools": lambda: [nn.AvgPool2d(3, 2, 1), nn.Conv2d(2, 2, 3), nn.AvgPool2d(2, ceil_mode=True)],
    "adaptive": lambda: [nn.Conv2d(2, 2, 3, padding=1), nn.AdaptiveAvgPool2d((8, 4))],
    "groups": lambda: [nn.Conv2d(2, 2, 3, padding=1, groups=2), nn.ChannelShuffle(2), nn.ReLU()],
    "branches": lambda: [Branched(), nn.Conv2d(3, 2, 3, 2, padding=1)],
    "norm": lambda: [nn.Conv2d(2, 2, 3, padding=1), nn.BatchNorm2d(2), nn.LocalResponseNorm(2)],
    "moved": lambda: [nn.Conv2d(2, 2, 3, padding=1), Moved(), nn.Conv2d(2, 2, 3)],
    "transposed": lambda: [nn.Conv2d(2, 2, 3), nn.ConvTranspose2d(2, 2, 2, 2), nn.Conv2d(2, 2, 3)],
}
SIDES = (32, 24)


def positive(net):
    """Weights and statistics with which no gradient cancels and no ReLU stops one."""
    for p in net.parameters():
        p.data = np.ones(p.shape)
    return net.double().eval()


def seen(net, place):
    """The first and last row and column of the image that have a gradient from the output at ``place``."""
    x = Tensor(np.random.default_rng(0).uniform(1, 2, (1, 2, *SIDES)), requires_grad=True)
    net(x)[0, :, place[0], place[1]].sum().backward()
    reached = np.abs(x.grad.numpy()).max((0, 1)) > 0
    rows, columns = np.flatnonzero(reached.any(1)), np.flatnonzero(reached.any(0))
    assert reached[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].any()
    return (rows[0], rows[-1]), (columns[0], columns[-1])


def predicted(field, place):
    """The same from size, jump and start, cut off at the border of the image."""
    spans = []
    for size, jump, start, unit, side in zip(*field, place, SIDES, strict=True):
        first = round(start - 0.5 + unit * jump - (size - 1) / 2)
        spans.append((max(first, 0), min(first + size, side) - 1))
    return tuple(spans)


@pytest.mark.parametrize("name", [name for name in NETS if name != "transposed"])
def test_fields_are_where_gradients_are(name):
    net = positive(nn.Sequential(*NETS[name]()))
    row = minicnn.summary(net, (1, 2, *SIDES)).rows[-1]
    height, width = row.output_shape[2:]
    for place in {(0, 0), (height // 2, width // 2), (height - 1, width - 1), (0, width - 1)}:
        assert predicted(row.field, place) == seen(net, place), place


@pytest.mark.parametrize("last", [nn.GlobalAvgPool2d(), Gated(), nn.GroupNorm(1, 2)], ids=["pool", "gate", "norm"])
def test_after_a_global_operation_every_unit_sees_the_same(last):
    net = positive(nn.Sequential(nn.Conv2d(2, 2, 3, 5), last, nn.Identity()))
    row = minicnn.summary(net, (1, 2, *SIDES)).rows[-1]
    rows, columns = seen(net, (0, 0))
    assert row.field.jump == (0, 0)
    assert row.field.size == (rows[1] - rows[0] + 1, columns[1] - columns[0] + 1) == (28, 23)


def test_what_no_window_describes_is_not_told():
    rows = minicnn.summary(nn.Sequential(*NETS["transposed"]()), (1, 2, *SIDES)).rows
    assert [row.field is None for row in rows] == [False, True, True]
    uneven = minicnn.summary(nn.Sequential(nn.AdaptiveAvgPool2d(5)), (1, 2, *SIDES)).rows
    assert uneven[0].field is None


@pytest.mark.parametrize(
    ("name", "path", "size"),
    [
        ("alexnet", "pool5", 195),
        ("vgg16", "avgpool", 212),
        ("mobilenet_v1_1.0_224", "blocks.4.1.act2", 315),
        ("inception_v3", "inception3b", 1311),
        ("resnet50", "layer4.2.relu", 427),
    ],
)
def test_published_sizes(name, path, size):
    """Araujo et al.'s table; ResNet-50 has its strides elsewhere here (theirs: 483)."""
    rows = minicnn.summary(getattr(models, name.replace(".", "_")), models.info(name).input_shape).rows
    sizes = {row.path: row.field.size for row in rows}
    assert sizes.get(path, max(s for s in sizes.values() if s != models.info(name).input_shape[1:])) == (size, size)
