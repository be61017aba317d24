"""Wide ResNets: depth as the paper counts it, the units B(M), dropout inside, torchvision's wide bottlenecks."""

import math

import numpy as np
import pytest

import minicnn
from minicnn import models, nn
from minicnn.errors import ArgumentError
from minicnn.models.wide_resnet import KERNELS
from minicnn.random import Generator
from tests.models.test_resnet import torchvision_state


def image(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def convolutions(net):
    return [module for module in net.modules() if isinstance(module, nn.Conv2d)]


@pytest.mark.parametrize(
    ("kernels", "depth", "units"),
    [((3, 3), 28, 4), ((3, 1, 3), 22, 2), ((1, 3, 1), 40, 4), ((1, 3), 40, 6), ((3, 1), 40, 6), ((3, 1, 1), 40, 4)],
)
def test_depth_counts_all_convolutions_of_the_units_compared(kernels, depth, units):
    """The nets of the paper's comparison of units; the first convolution and the projections are layers."""
    assert kernels in KERNELS
    with minicnn.abstract():
        net = models.wrn40_2_cifar10(depth=depth, kernels=kernels)
        stages = [stage.channels for stage in net.eval().stages]
    assert len(convolutions(net)) == depth and stages == [16, 32, 64, 128]
    assert [len(layer) for layer in (net.layer1, net.layer2, net.layer3)] == [units] * 3
    first = net.layer2[0]
    assert [conv.kernel_size[0] for conv in first.convs] == list(kernels)
    assert [conv.stride for conv in first.convs] == [2] + [1] * (len(kernels) - 1)
    assert {conv.out_channels for conv in first.convs} == {64}  # no bottleneck inside


def test_without_widening_the_first_stage_keeps_its_identity():
    with minicnn.abstract():
        thin, wide = models.wrn40_1_cifar10(), models.wrn40_2_cifar10()
    assert len(convolutions(thin)) == 39 and len(convolutions(wide)) == 40
    assert isinstance(thin.layer1[0].shortcut, nn.Identity) and thin.layer1[0].enters == "branch"
    assert isinstance(wide.layer1[0].shortcut, nn.Conv2d) and wide.layer1[0].enters == "shared"
    assert thin.conv1.out_channels == wide.conv1.out_channels == 16


def test_dropout_stands_between_activation_and_second_convolution():
    unit = models.wrn28_10(depth=10, widen=1, dropout=0.3, generator=Generator(0)).layer1[0]
    given, left, convolved = [], [], []

    def around(module, args, y):
        given.append(args[0].numpy())
        left.append(y.numpy())

    unit.dropout.register_forward_hook(around)
    unit.convs[1].register_forward_hook(lambda module, args, y: convolved.append(args[0].numpy()))
    unit(minicnn.Tensor(image(2, 16, 8, 8)))
    assert len(given) == 1 and given[0].min() == 0
    assert np.array_equal(left[0], convolved[0]) and not np.array_equal(given[0], left[0])
    kept = left[0] != 0
    assert np.allclose(left[0][kept], given[0][kept] / 0.7, rtol=1e-5)
    assert 0.25 < 1 - kept[given[0] > 0].mean() < 0.35


def test_dropout_leaves_weights_and_eval_alone():
    plain, dropping = (models.wrn16_8(depth=10, widen=1, dropout=p, generator=Generator(0)) for p in (0.0, 0.3))
    x = minicnn.Tensor(image(2, 3, 8, 8))
    assert np.array_equal(plain.eval()(x).numpy(), dropping.eval()(x).numpy())
    assert not np.array_equal(plain.train()(x).numpy(), dropping.train()(x).numpy())


@pytest.mark.parametrize("kernels", KERNELS)
def test_every_parameter_gets_a_gradient(kernels):
    net = models.wrn16_8(depth=4 + 3 * len(kernels), widen=2, kernels=kernels, dropout=0.3, generator=Generator(0))
    y = net(minicnn.Tensor(image(2, 3, 8, 8)))
    (y * image(2, 10)).sum().backward()
    assert y.shape == (2, 10) and np.isfinite(y.numpy()).all()
    for name, p in net.named_parameters():
        assert p.grad is not None and np.isfinite(p.grad.numpy()).all() and p.grad.numpy().any(), name


def widened(name, shape):
    """The shape in ``wide_resnet50_2`` of a weight of ``resnet50``: twice the channels inside the bottlenecks."""
    if not name.startswith("layer") or "downsample" in name or not shape:
        return name, shape
    part = name.split(".")[2]
    outputs = 2 if part in ("conv1", "bn1", "conv2", "bn2") else 1
    inputs = [2] if part in ("conv2", "conv3") else [1]
    factors = [outputs, *inputs, 1, 1][: len(shape)]
    return name, tuple(n * factor for n, factor in zip(shape, factors, strict=True))


@pytest.mark.parametrize("depth", [50, 101])
def test_wide_bottlenecks_have_torchvisions_names_and_shapes(depth):
    with minicnn.abstract():
        state = models.create(f"torchvision/wide_resnet{depth}_2").state_dict()
    expected = [widened(name, shape) for name, shape in torchvision_state(f"resnet{depth}")]
    assert [(path, value.shape) for path, value in state.items()] == expected


def test_imagenet_nets_of_basic_blocks_widen_all_but_the_stem():
    with minicnn.abstract():
        net = models.wrn18_1_5_imagenet()
        channels = [stage.channels for stage in net.stages]
    assert channels == [64, 96, 192, 384, 768]
    assert [type(layer[0].downsample).__name__ for layer in (net.layer1, net.layer2)] == ["Sequential"] * 2
    assert net.layer1[1].downsample is None


def test_a_small_imagenet_net_trains():
    net = models.wrn18_2_imagenet(depths=(1, 1, 1, 1), widen=0.25, num_classes=3, generator=Generator(0))
    y = net(minicnn.Tensor(image(2, 3, 64, 64)))
    (y * image(2, 3)).sum().backward()
    assert all(p.grad is not None and np.isfinite(p.grad.numpy()).all() for p in net.parameters())


def test_weights_start_with_variance_two_over_fan_in():
    net = models.wrn16_8(widen=2, generator=Generator(0))
    first = net.layer3[0].convs[0].weight.numpy()  # 64 channels to 128
    assert abs(first.std() / math.sqrt(2 / (9 * 64)) - 1) < 0.05 and not net.fc.bias.numpy().any()


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"depth": 29}, r"depth=29, expected 6n \+ 4 for kernels=\(3, 3\)"),
        ({"depth": 28, "kernels": (3, 1, 3)}, r"depth=28, expected 9n \+ 4"),
        ({"kernels": (5, 5)}, r"kernels=\(5, 5\), expected sizes 1 and 3"),
        ({"kernels": ()}, r"kernels=\(\), expected sizes 1 and 3"),
        ({"widen": 0}, "widen=0 is too small"),
    ],
)
def test_options_are_checked(option, message):
    with pytest.raises(ArgumentError, match=f"WideResNet: {message}"), minicnn.abstract():
        models.wrn28_10_cifar10(**option)


def test_a_dropout_that_is_no_probability_is_refused():
    with pytest.raises(ArgumentError, match="p=2"), minicnn.abstract():
        models.wrn28_10_cifar10(dropout=2)
