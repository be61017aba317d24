"""ResNet: torchvision's weight names and shapes, the shortcuts, the stride, and the initialisation."""

import math

import numpy as np
import pytest

import minicnn
from minicnn import models, nn
from minicnn.errors import ArgumentError
from minicnn.models.resnet import BasicBlock, Bottleneck, PadShortcut
from minicnn.random import Generator
from tests.close import assert_close

DEPTHS = {
    "resnet18": (1, (2, 2, 2, 2)),
    "resnet34": (1, (3, 4, 6, 3)),
    "resnet50": (4, (3, 4, 6, 3)),
    "resnet101": (4, (3, 4, 23, 3)),
    "resnet152": (4, (3, 8, 36, 3)),
}


def batch_norm(name, channels):
    return [
        *((f"{name}.{part}", (channels,)) for part in ("weight", "bias", "running_mean", "running_var")),
        (f"{name}.num_batches_tracked", ()),
    ]


def torchvision_state(name):
    """The names and shapes of torchvision's file, in its order."""
    expansion, depths = DEPTHS[name]
    state = [("conv1.weight", (64, 3, 7, 7)), *batch_norm("bn1", 64)]
    before = 64
    for stage, depth in enumerate(depths):
        width = 64 * 2**stage
        for block in range(depth):
            path = f"layer{stage + 1}.{block}"
            inner = [(before, width, 3), (width, width, 3)]
            if expansion == 4:
                inner = [(before, width, 1), (width, width, 3), (width, width * 4, 1)]
            for i, (c, k, size) in enumerate(inner, 1):
                state += [(f"{path}.conv{i}.weight", (k, c, size, size)), *batch_norm(f"{path}.bn{i}", k)]
            if before != width * expansion:
                state += [(f"{path}.downsample.0.weight", (width * expansion, before, 1, 1))]
                state += batch_norm(f"{path}.downsample.1", width * expansion)
            before = width * expansion
    return [*state, ("fc.weight", (1000, before)), ("fc.bias", (1000,))]


@pytest.mark.parametrize("name", DEPTHS)
def test_weight_names_and_shapes_are_torchvisions(name):
    with minicnn.abstract():
        state = models.create(name).state_dict()
    assert [(path, value.shape) for path, value in state.items()] == torchvision_state(name)
    assert all(value.dtype == (np.int64 if path.endswith("tracked") else np.float32) for path, value in state.items())


def test_a_file_without_batch_counts_loads():
    net = models.resnet20(generator=Generator(1))
    state = {path: value for path, value in net.state_dict().items() if not path.endswith("num_batches_tracked")}
    assert models.resnet20(generator=Generator(2)).load_state_dict(state) == ([], [])


def test_shortcut_a_subsamples_and_adds_zero_channels():
    x = np.arange(2 * 3 * 5 * 5, dtype=np.float32).reshape(2, 3, 5, 5)
    y = PadShortcut(3, 7, 2)(minicnn.Tensor(x)).numpy()
    assert y.shape == (2, 7, 3, 3)
    assert np.array_equal(y[:, :3], x[:, :, [0, 2, 4]][..., [0, 2, 4]]) and not y[:, 3:].any()


@pytest.mark.parametrize(
    ("shortcut", "first", "second"),
    [("A", "PadShortcut", None), ("B", "Sequential", None), ("C", "Sequential", "Sequential")],
)
def test_where_projections_stand(shortcut, first, second):
    with minicnn.abstract():
        layer = models.resnet18(shortcut=shortcut).layer2
    kinds = [None if block.downsample is None else type(block.downsample).__name__ for block in layer]
    assert kinds == [first, second]


def zero_branch(block):
    for module in block.modules():
        if isinstance(module, nn.BatchNorm2d):
            minicnn.nn.init.zeros_(module.weight)
    return block.eval()


@pytest.mark.parametrize("shortcut", ["A", "B", "C"])
def test_a_block_with_a_dead_branch_is_its_shortcut(shortcut):
    x = np.random.default_rng(0).standard_normal((2, 4, 6, 6)).astype(np.float32)
    block = BasicBlock(4, 4, shortcut=shortcut, generator=Generator(0))
    shortcut_of = block.downsample
    zero_branch(block)
    if shortcut == "C":
        minicnn.nn.init.ones_(shortcut_of[1].weight)
        expected = shortcut_of(minicnn.Tensor(x)).numpy()
    else:
        expected = x
    assert_close(block(minicnn.Tensor(x)).numpy(), np.maximum(expected, 0), 1e-6)


def test_a_plain_block_has_no_shortcut():
    block = zero_branch(BasicBlock(4, 4, shortcut="none", generator=Generator(0)))
    assert block.downsample is None and not block(np.ones((1, 4, 5, 5), np.float32)).numpy().any()


def test_the_stride_is_in_the_3x3_and_in_the_first_1x1_of_v1():
    with minicnn.abstract():
        block, original = models.resnet50().layer2[0], models.resnet50_v1().layer2[0]
    assert [block.conv1.stride, block.conv2.stride] == [1, 2]
    assert [original.conv1.stride, original.conv2.stride] == [2, 1]
    assert isinstance(block, Bottleneck) and block.downsample[0].stride == original.downsample[0].stride == 2


def test_convolutions_start_with_variance_two_over_fan_out():
    net = models.resnet20(generator=Generator(0))
    for name in ("conv1", "layer1.2.conv1", "layer3.0.conv1", "layer3.2.conv2"):
        weight = net.get_submodule(name).weight.numpy()
        expected = math.sqrt(2 / (9 * weight.shape[0]))
        assert abs(weight.std() / expected - 1) < 0.07, name
    assert np.abs(net.fc.weight.numpy()).max() <= 1 / 8
    assert (net.bn1.weight.numpy() == 1).all() and not net.bn1.bias.numpy().any()


@pytest.mark.parametrize("depths", [(1, 1), (1, 1, 1, 1, 1), (0, 1, 1, 1)])
def test_depths_are_checked(depths):
    with pytest.raises(ArgumentError, match=r"ResNet: depths=.* four stages"):
        models.resnet18(depths=depths)


def test_a_depth_that_is_no_number_is_refused():
    with pytest.raises(ArgumentError, match="ResNetCifar: depth='20' is a str"):
        models.resnet20(depth="20")


def test_groups_and_base_width_shape_the_3x3():
    with minicnn.abstract():
        block = Bottleneck(256, 64, groups=32, base_width=4)
        wide = Bottleneck(256, 64, base_width=128)
        next_stage = Bottleneck(256, 128, 2, groups=32, base_width=4)
    assert [block.conv1.weight.shape[0], block.conv2.weight.shape] == [128, (128, 4, 3, 3)]
    assert [wide.conv1.weight.shape[0], wide.conv2.weight.shape] == [128, (128, 128, 3, 3)]
    assert [next_stage.conv2.weight.shape, next_stage.conv2.stride] == [(256, 8, 3, 3), 2]
    assert block.conv3.weight.shape[0] == wide.conv3.weight.shape[0] == 256


@pytest.mark.parametrize("option", [{"stride_in_1x1": True}, {"groups": 32}, {"base_width": 128}])
def test_options_of_the_bottleneck_are_refused_for_basic_blocks(option):
    (name,) = option
    with pytest.raises(ArgumentError, match=rf"ResNet: {name}=.* needs block='bottleneck'"):
        models.resnet18(**option)


def test_a_width_below_one_is_refused():
    with pytest.raises(ArgumentError, match="ResNet: base_width=0 is too small"):
        models.resnet50(base_width=0)


def test_bottlenecks_for_cifar():
    with minicnn.abstract():
        net = models.resnet164()
        assert [len(layer) for layer in (net.layer1, net.layer2, net.layer3)] == [18, 18, 18]
        assert net.layer2[0].conv2.stride == 2 and net.fc.in_features == 256
        with pytest.raises(ArgumentError, match=r"ResNetCifar: depth=100, expected 9n \+ 2 such as 29, 164"):
            models.resnet164(depth=100)
        with pytest.raises(ArgumentError, match="ResNetCifar: stride_in_1x1=True needs block='bottleneck'"):
            models.resnet20(stride_in_1x1=True)
