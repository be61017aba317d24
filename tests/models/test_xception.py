"""Xception: separable convolutions as towers of one channel, blocks and pools against PyTorch, timm's weight names."""

import numpy as np
import pytest

import minicnn
from minicnn import models, nn
from minicnn.errors import ArgumentError
from minicnn.models.nas_operations import Pool3x3
from minicnn.models.resnet import Residual
from minicnn.models.xception import Block, SeparableConv2d, glorot_initialise
from minicnn.models.xception_aligned import Block as AlignedBlock
from minicnn.models.xception_aligned import SeparableConv2d as AlignedSeparable
from minicnn.random import Generator
from tests.close import assert_close

torch = pytest.importorskip("torch")
functional = torch.nn.functional

EPS = 1e-3


def image(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def lively(block):
    """The block in float64 and eval mode, with batch norms that do something."""
    for number, module in enumerate(m for m in block.modules() if isinstance(m, nn.BatchNorm2d)):
        nn.init.uniform_(module.weight, 0.5, 1.5, Generator(number))
        nn.init.uniform_(module.bias, -1, 1, Generator(number + 50))
        module.running_mean.copy_(image(module.num_features, seed=number).astype(np.float32))
        module.running_var.copy_(np.full(module.num_features, 0.5 + number, np.float32))
    return block.double().eval()


def tensors(module):
    return {name: torch.from_numpy(value) for name, value in module.state_dict().items()}


def norm(x, state, path):
    mean, var, weight, bias = (state[f"{path}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
    return functional.batch_norm(x, mean, var, weight, bias, eps=EPS)


def test_a_separable_convolution_is_a_tower_a_channel_and_a_1x1():
    conv = SeparableConv2d(3, 5, Generator(0)).double()
    x = image(2, 3, 6, 7)
    depthwise, pointwise = (p.numpy() for p in conv.parameters())
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    towers = np.zeros_like(x)
    for channel in range(3):
        for i in range(3):
            for j in range(3):
                towers[:, channel] += depthwise[channel, 0, i, j] * padded[:, channel, i : i + 6, j : j + 7]
    expected = np.einsum("kc,nchw->nkhw", pointwise[:, :, 0, 0], towers)
    assert_close(conv(x).numpy(), expected, 1e-12)
    assert [p.size for p in conv.parameters()] == [9 * 3, 3 * 5]


def test_a_separable_convolution_is_a_3x3_of_rank_one():
    """A 3x3 whose filters for a channel are all multiples of one: what separability gives up."""
    conv = SeparableConv2d(3, 5, Generator(0)).double()
    depthwise, pointwise = (torch.from_numpy(p.numpy()) for p in conv.parameters())
    x = image(2, 3, 6, 7)
    expected = functional.conv2d(torch.from_numpy(x), pointwise * depthwise[:, 0], padding=1)
    assert_close(conv(x).numpy(), expected.numpy(), 1e-12)


@pytest.mark.parametrize("size", [(7, 7), (6, 6), (7, 6), (8, 5)])
def test_pools_pad_as_tensorflow_does(size):
    x = image(1, 2, *size) - 9  # zeros of padding would win
    totals = [(-(-side // 2) - 1) * 2 + 3 - side for side in size]
    (top, bottom), (left, right) = ((total // 2, total - total // 2) for total in totals)
    padded = functional.pad(torch.from_numpy(x), (left, right, top, bottom), value=-np.inf)
    assert np.array_equal(Pool3x3("max", 2, same=True)(x).numpy(), functional.max_pool2d(padded, 3, 2).numpy())


@pytest.mark.parametrize("starts_with_relu", [True, False])
@pytest.mark.parametrize(("widths", "halves"), [((4, 6), True), ((6, 6), True), ((6, 6, 6), False)])
def test_a_block_is_that_of_figure_5(widths, halves, starts_with_relu):
    block = lively(Block(6, widths, halves=halves, starts_with_relu=starts_with_relu, generator=Generator(0)))
    state, x = tensors(block), torch.from_numpy(image(2, 6, 7, 7))
    y, layer = x, 0
    for i, width in enumerate(widths):
        if i or starts_with_relu:
            y, layer = functional.relu(y), layer + 1
        y = functional.conv2d(y, state[f"rep.{layer}.conv1.weight"], padding=1, groups=y.shape[1])
        y = functional.conv2d(y, state[f"rep.{layer}.pointwise.weight"])
        assert y.shape[1] == width
        y, layer = norm(y, state, f"rep.{layer + 1}"), layer + 2
    if halves:
        y = functional.max_pool2d(y, 3, 2, 1)
        x = norm(functional.conv2d(x, state["skip.weight"], stride=2), state, "skipbn")
    assert_close(block(image(2, 6, 7, 7)).numpy(), (x + y).numpy(), 1e-12)


def test_a_block_whose_last_norm_is_zero_is_the_identity():
    block = Block(4, (4, 4, 4), generator=Generator(0))
    nn.init.zeros_(list(block.rep)[-1].weight)
    x = image(2, 4, 5, 5).astype(np.float32)
    assert np.array_equal(block(x).numpy(), x)


def test_the_36_convolutions_of_the_net():
    """34 are separable; shortcuts stand around 12 blocks, of which eight are equal; block 12 widens at its end."""
    with minicnn.abstract():
        net = models.xception()
    separable = [module for module in net.modules() if isinstance(module, SeparableConv2d)]
    blocks = [module for module in net.modules() if isinstance(module, Residual)]
    assert len(separable) + 2 == 36 and [len(list(conv)) for conv in separable] == [2] * 34  # nothing in between
    assert [block.skip is None for block in blocks] == [False] * 3 + [True] * 8 + [False]
    assert [isinstance(block.rep[0], nn.ReLU) for block in blocks] == [False] + [True] * 11
    widths = [conv.pointwise.out_channels for conv in separable]
    assert widths[-4:] == [728, 1024, 1536, 2048] and widths[:6] == [128, 128, 256, 256, 728, 728]
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    assert {(module.eps, module.momentum) for module in norms} == {(1e-3, 0.01)}


def test_maps_of_the_net():
    with minicnn.abstract():
        net = models.xception().eval()
        outputs = net.stage_outputs(minicnn.Tensor(minicnn.ShapeArray((1, 3, 299, 299), "float32")))
    shapes = [y.shape[1:3] for y in outputs.values()]
    assert shapes == [(64, 147), (128, 74), (256, 37), (728, 19), (2048, 10)]


BN = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def named(*layers):
    """State names of convolutions and batch norms, in order; a batch norm's name ends in "bn" or a number."""
    bare = {False: ["weight"], True: list(BN)}
    return [f"{name}.{part}" for name, is_norm in layers for part in bare[is_norm]]


def test_weight_names_are_timms():
    """``legacy_xception``: layers of a block count ReLUs too, and block 1 has none in front."""
    layers = [("conv1", False), ("bn1", True), ("conv2", False), ("bn2", True)]
    for number in range(1, 13):
        middle = 4 <= number <= 11
        layers += [] if middle else [(f"block{number}.skip", False), (f"block{number}.skipbn", True)]
        for i in range(3 if middle else 2):
            at = f"block{number}.rep.{3 * i + (number > 1)}"
            after = f"block{number}.rep.{3 * i + (number > 1) + 1}"
            layers += [(f"{at}.conv1", False), (f"{at}.pointwise", False), (after, True)]
    for number in (3, 4):
        layers += [(f"conv{number}.conv1", False), (f"conv{number}.pointwise", False), (f"bn{number}", True)]
    with minicnn.abstract():
        assert list(models.xception().state_dict()) == [*named(*layers), "fc.weight", "fc.bias"]


def test_weights_start_as_in_keras():
    conv = SeparableConv2d(40, 60)
    glorot_initialise(conv, Generator(0))
    for weight, fans in ((conv.conv1.weight, 9 * 40 + 9), (conv.pointwise.weight, 40 + 60)):
        bound = np.sqrt(6 / fans)
        assert 0.95 * bound < np.abs(weight.numpy()).max() <= bound


@pytest.mark.parametrize(("stride", "last", "relu"), [(1, False, True), (2, False, True), (1, True, False)])
def test_an_aligned_block_has_no_pool_and_a_norm_after_every_filter(stride, last, relu):
    widths = (6, 4, 6)
    block = lively(AlignedBlock(6, widths, stride, last=last, generator=Generator(0)))
    state, x = tensors(block), torch.from_numpy(image(2, 6, 7, 7))
    y = x
    for i in (1, 2, 3):
        y, path = functional.relu(y) if relu else y, f"stack.conv{i}"
        step = stride if i == 3 else 1
        y = functional.conv2d(y, state[f"{path}.conv_dw.weight"], stride=step, padding=1, groups=y.shape[1])
        y = norm(y, state, f"{path}.bn_dw")
        y = functional.conv2d(y if relu else functional.relu(y), state[f"{path}.conv_pw.weight"])
        y = norm(y, state, f"{path}.bn_pw")
        y = y if relu else functional.relu(y)
    if stride == 2:
        x = norm(functional.conv2d(x, state["shortcut.conv.weight"], stride=2), state, "shortcut.bn")
    expected = y if last else x + y
    assert_close(block(image(2, 6, 7, 7)).numpy(), expected.numpy(), 1e-12)


@pytest.mark.parametrize("depth", [41, 65, 71])
def test_names_of_aligned_nets_count_convolutions(depth):
    with minicnn.abstract():
        net = models.create(f"xception{depth}")
        strides = [stage.stride for stage in net.stages]
    separable = [module for module in net.modules() if isinstance(module, AlignedSeparable)]
    assert len(separable) + 2 == depth and strides == [2, 4, 8, 16, 32]
    assert net.stages[-1].channels == 2048 and net.cam_layer is net.blocks[-1]


def test_aligned_weight_names_are_timms():
    layers = [(f"stem.{i}.{part}", part == "bn") for i in (0, 1) for part in ("conv", "bn")]
    for i in range(13):
        projects = i in (0, 1, 2, 11)
        layers += [(f"blocks.{i}.shortcut.{part}", part == "bn") for part in ("conv", "bn") if projects]
        parts = ("conv_dw", "bn_dw", "conv_pw", "bn_pw")
        layers += [(f"blocks.{i}.stack.conv{j}.{p}", p.startswith("bn")) for j in (1, 2, 3) for p in parts]
    with minicnn.abstract():
        assert list(models.xception41().state_dict()) == [*named(*layers), "head.fc.weight", "head.fc.bias"]


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"entry": ()}, r"AlignedXception: entry=\(\), expected pairs of channels and stride"),
        ({"entry": ((128, 2, 1),)}, "AlignedXception: entry="),
        ({"entry": ((128, 0),)}, "AlignedXception: entry="),
        ({"middle": 0}, "AlignedXception: middle=0 is too small"),
    ],
)
def test_mistakes(options, match):
    with minicnn.abstract(), pytest.raises(ArgumentError, match=match):
        models.xception41(**options)
