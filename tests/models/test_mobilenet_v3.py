"""MobileNetV3: h-swish and the hard gate, Tables 1 and 2, the authors' widths, the minimalistic nets."""

import numpy as np
import pytest

import minicnn
from minicnn import models, nn
from minicnn.errors import ArgumentError
from minicnn.models.mobilenet_v2 import InvertedResidual
from minicnn.models.mobilenet_v3 import GatedInvertedResidual, batch_norm
from minicnn.models.senet import SqueezeExcitation
from minicnn.random import Generator
from tests.close import assert_close
from tests.models.inverted_twin import assert_equals_the_twin, livened

torch = pytest.importorskip("torch")
F = torch.nn.functional


def abstractly(name, **options):
    with minicnn.abstract():
        return models.create(name, **options)


def blocks(net):
    return [module for module in net.modules() if isinstance(module, InvertedResidual)]


def depthwise(net):
    return [conv for block in blocks(net) for conv in block.modules() if getattr(conv, "groups", 1) > 1]


def gates(net):
    return [module for module in net.modules() if isinstance(module, SqueezeExcitation)]


def hard_sigmoid(x):
    return torch.clamp(x + 3, 0, 6) / 6


def hard_swish(x):
    return x * hard_sigmoid(x)


def block(stride=1, gate=True, activation=nn.Hardswish):
    squeeze = SqueezeExcitation(12, 8, gate=nn.Hardsigmoid, generator=Generator(1)) if gate else None
    options = {"activation": activation, "norm": batch_norm, "gate": squeeze, "generator": Generator(0)}
    return livened(GatedInvertedResidual(6, 12, 6, 5, stride, **options))


@pytest.mark.parametrize(("stride", "gate"), [(1, True), (2, True), (1, False)])
def test_the_block_is_torchs(stride, gate):
    found = (F.relu, hard_sigmoid) if gate else None
    options = {"activation": hard_swish, "gates": found, "residual": stride == 1, "eps": 1e-3}
    assert_equals_the_twin(block(stride, gate), (3, 6, 7, 5), expands=True, stride=stride, **options)


def test_another_activation_is_seen():
    options = {"activation": F.relu, "gates": (F.relu, hard_sigmoid), "residual": True, "eps": 1e-3}
    with pytest.raises(AssertionError, match="result: off by"):
        assert_equals_the_twin(block(), (3, 6, 7, 5), expands=True, stride=1, **options)


def test_gradients_of_the_block():
    x = np.random.default_rng(0).standard_normal((2, 6, 4, 3))
    assert minicnn.gradcheck(block(), minicnn.Tensor(x, requires_grad=True), tolerance=1e-5)


def test_the_nets_swish_is_x_relu6_of_x_plus_3_over_6():
    net = abstractly("mobilenet_v3_large_1.0_224")
    x = np.linspace(-8, 8, 65)
    for swish in (net.features[0][2], net.classifier[1]):
        assert_close(swish(minicnn.Tensor(x)).numpy(), x * np.minimum(np.maximum(x + 3, 0), 6) / 6, 1e-15)


def test_table_1():
    net = abstractly("mobilenet_v3_large_1.0_224")
    assert [conv.kernel_size[0] for conv in depthwise(net)] == [3, 3, 3, 5, 5, 5, *[3] * 6, 5, 5, 5]
    wide = [16, 64, 72, 72, 120, 120, 240, 200, 184, 184, 480, 672, 672, 960, 960]
    assert [conv.groups for conv in depthwise(net)] == wide
    assert [block.block[-1][1].num_features for block in blocks(net)] == [
        *(16, 24, 24, 40, 40, 40, 80, 80, 80, 80, 112, 112, 160, 160, 160),
    ]
    assert [index for index, conv in enumerate(depthwise(net)) if conv.stride == 2] == [1, 3, 6, 12]
    assert [index for index, block in enumerate(blocks(net)) if block.residual] == [0, 2, 4, 5, 7, 8, 9, 11, 13, 14]
    gated = [index for index, block in enumerate(blocks(net)) if any(gates(block))]
    assert gated == [3, 4, 5, 10, 11, 12, 13, 14]
    assert [gate.fc1.out_channels for gate in gates(net)] == [24, 32, 32, 120, 168, 168, 240, 240]
    assert {(type(gate.activation), type(gate.gate)) for gate in gates(net)} == {(nn.ReLU, nn.Hardsigmoid)}
    assert [type(block.block[0][2]) for block in blocks(net)] == [nn.ReLU] * 6 + [nn.Hardswish] * 9
    assert [(stage.stride, stage.channels) for stage in net.stages] == [
        *((2, 16), (4, 24), (8, 40), (16, 112), (32, 960)),
    ]


def test_table_2():
    net = abstractly("mobilenet_v3_small_1.0_224")
    assert [conv.kernel_size[0] for conv in depthwise(net)] == [3, 3, 3, *[5] * 8]
    assert [conv.groups for conv in depthwise(net)] == [16, 72, 88, 96, 240, 240, 120, 144, 288, 576, 576]
    assert [block.block[-1][1].num_features for block in blocks(net)] == [16, 24, 24, 40, 40, 40, 48, 48, 96, 96, 96]
    assert [index for index, conv in enumerate(depthwise(net)) if conv.stride == 2] == [0, 1, 3, 8]
    assert [gate.fc1.out_channels for gate in gates(net)] == [8, 24, 64, 64, 32, 40, 72, 144, 144]
    assert [index for index, block in enumerate(blocks(net)) if not any(gates(block))] == [1, 2]
    assert [type(block.block[0][2]) for block in blocks(net)] == [nn.ReLU] * 3 + [nn.Hardswish] * 8
    assert [(stage.stride, stage.channels) for stage in net.stages] == [
        *((2, 16), (4, 16), (8, 24), (16, 48), (32, 576)),
    ]


@pytest.mark.parametrize(("size", "wide", "last"), [("large", 960, 1280), ("small", 576, 1024)])
def test_the_widest_layer_comes_after_the_mean(size, wide, last):
    """1x1 places, biases, no batch norm."""
    net = abstractly(f"mobilenet_v3_{size}_1.0_224")
    assert [type(layer) for layer in net.classifier] == [nn.Linear, nn.Hardswish, nn.Dropout, nn.Linear]
    assert net.classifier[0].weight.shape == (last, wide) and net.classifier[0].bias.shape == (last,)
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    assert {(norm.eps, norm.momentum) for norm in norms} == {(1e-3, 0.01)}


def test_another_width_widens_what_a_block_gets():
    """64 / 16 of 16 channels, which 12 are rounded to, where torchvision has 3/4 of 64; the last layer is as wide."""
    net = abstractly("mobilenet_v3_large_0.75_224")
    assert [conv.groups for conv in depthwise(net)] == [
        *(16, 64, 72, 72, 96, 96, 192, 160, 144, 144, 384, 528, 528, 720, 720),
    ]
    assert [net.classifier[0].in_features, net.classifier[0].out_features] == [720, 1280]


@pytest.mark.parametrize("size", ["large", "small"])
def test_the_minimal_net_has_no_gates_no_swish_and_no_5x5(size):
    full, minimal = (abstractly(f"mobilenet_v3_{size}_{kind}") for kind in ("1.0_224", "minimal"))
    forbidden = (SqueezeExcitation, nn.Hardswish, nn.Hardsigmoid)
    assert not any(isinstance(module, forbidden) for module in minimal.modules())
    assert {conv.kernel_size for conv in depthwise(minimal)} == {(3, 3)}
    removed = sum(parameter.size for gate in gates(full) for parameter in gate.parameters())
    removed += sum(conv.groups * (5 * 5 - 3 * 3) for conv in depthwise(full) if conv.kernel_size == (5, 5))
    sizes = [sum(parameter.size for parameter in net.parameters()) for net in (full, minimal)]
    assert sizes[0] - sizes[1] == removed


@pytest.mark.parametrize(
    ("mistake", "match"),
    [
        (
            lambda: models.mobilenet_v3_small_1_0_224(width_mult=0.0),
            "MobileNetV3Small: width_mult=0.0 leaves no channels",
        ),
        (lambda: models.mobilenet_v3_large_1_0_224(width_mult=None), "MobileNetV3Large: width_mult=None is a NoneType"),
    ],
)
def test_mistakes(mistake, match):
    with minicnn.abstract(), pytest.raises(ArgumentError, match=match):
        mistake()
