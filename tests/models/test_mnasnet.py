"""MnasNet: the searched stages, its flat blocks, what is added, the authors' initial weights."""

import numpy as np
import pytest

import minicnn
from minicnn import models, nn
from minicnn.errors import ArgumentError
from minicnn.models.mnasnet import FlatInvertedResidual, MnasNet, batch_norm
from minicnn.random import Generator
from tests.models.inverted_twin import assert_equals_the_twin, livened

F = pytest.importorskip("torch").nn.functional


def abstractly(name, **options):
    with minicnn.abstract():
        return models.create(name, **options)


def blocks(net):
    return [module for module in net.modules() if isinstance(module, FlatInvertedResidual)]


@pytest.mark.parametrize(("out_channels", "stride"), [(4, 1), (4, 2), (6, 1)])
def test_the_block_is_torchs(out_channels, stride):
    options = {"activation": nn.ReLU, "norm": batch_norm, "generator": Generator(0)}
    block = livened(FlatInvertedResidual(4, 12, out_channels, 5, stride, **options))
    residual = (out_channels, stride) == (4, 1)
    options = {"expands": True, "stride": stride, "activation": F.relu, "residual": residual, "eps": 1e-5}
    assert_equals_the_twin(block, (3, 4, 7, 5), **options)


def test_the_stages_that_were_found():
    net = abstractly("mnasnet1_0")
    filters = [block.layers[3] for block in blocks(net)]
    assert [conv.kernel_size[0] for conv in filters] == [3] * 3 + [5] * 6 + [3] * 2 + [5] * 4 + [3]
    assert [index for index, conv in enumerate(filters) if conv.stride == 2] == [0, 3, 6, 11]
    widened = [conv.groups // block.layers[0].in_channels for block, conv in zip(blocks(net), filters, strict=True)]
    assert widened == [3] * 6 + [6] * 10
    assert [len(stage) for stage in net.layers[8:14]] == [3, 3, 3, 2, 4, 1]
    first_of_stage = {id(stage[0]) for stage in net.layers[8:14]}
    assert [block.residual for block in blocks(net)] == [id(block) not in first_of_stage for block in blocks(net)]
    assert [(stage.stride, stage.channels) for stage in net.stages] == [
        *((2, 16), (4, 24), (8, 40), (16, 96), (32, 1280)),
    ]


def test_ends_are_linear_and_there_are_no_gates():
    net = abstractly("mnasnet1_3")
    kinds = [nn.Conv2d, nn.BatchNorm2d, nn.ReLU]
    for block in blocks(net):
        assert [type(layer) for layer in block.layers] == [*kinds, *kinds, *kinds[:2]]
    assert [type(layer) for layer in net.layers[:8]] == [*kinds, *kinds, *kinds[:2]]
    assert not any(isinstance(module, nn.Sigmoid) for module in net.modules())


@pytest.mark.parametrize(
    ("name", "channels"),
    [
        ("mnasnet0_5", [16, 8, 16, 24, 40, 48, 96, 160]),
        ("mnasnet0_75", [24, 16, 24, 32, 64, 72, 144, 240]),
        ("mnasnet1_3", [40, 24, 32, 56, 104, 128, 248, 416]),
    ],
)
def test_all_widths_but_the_last_are_multiplied(name, channels):
    net = abstractly(name)
    ends = [stage[0].layers[6].out_channels for stage in net.layers[8:14]]
    assert [net.layers[0].out_channels, net.layers[6].out_channels, *ends] == channels
    assert net.layers[14].out_channels == net.classifier[1].in_features == 1280


def test_initial_weights_are_the_authors():
    """Variance 2 / fan_out, of a depthwise filter 2 / k^2 whatever the channels; uniform on +- 1 / sqrt(classes)."""
    net = MnasNet(width_mult=0.5, num_classes=400, generator=Generator(1))
    drawn = minicnn.random.default_generator().state()
    again = MnasNet(width_mult=0.5, num_classes=400, generator=Generator(1))
    assert minicnn.random.default_generator().state() == drawn
    assert all(np.array_equal(a.numpy(), b.numpy()) for a, b in zip(net.parameters(), again.parameters(), strict=True))
    block = net.layers[12][1]
    for layer, variance in ((0, 2 / 576), (3, 2 / 25), (6, 2 / 96)):
        assert abs(block.layers[layer].weight.numpy().var() / variance - 1) < 0.05
    linear = net.classifier[1].weight.numpy()
    assert 0.0499 < np.abs(linear).max() <= 0.05 and abs(linear.std() * 20 * 3**0.5 - 1) < 0.01
    assert not net.classifier[1].bias.numpy().any()


def test_running_statistics_hardly_move():
    net = abstractly("mnasnet0_5")
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(norms) == 3 + 3 * 16 + 1 and all(abs(norm.momentum - 3e-4) < 1e-15 for norm in norms)


@pytest.mark.parametrize(
    ("mistake", "match"),
    [
        (
            lambda: models.mnasnet1_0(width_mult=0),
            "MnasNet: width_mult=0 leaves no channels, expected a number above 0",
        ),
        (lambda: models.mnasnet1_0(width_mult=float("nan")), "MnasNet: width_mult=nan is out of range"),
    ],
)
def test_mistakes(mistake, match):
    with minicnn.abstract(), pytest.raises(ArgumentError, match=match):
        mistake()
