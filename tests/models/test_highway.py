"""Highway networks: gates that copy and gates that transform, gradients through a hundred layers, the released net."""

import numpy as np
import pytest

import minicnn
from minicnn import Tensor, models, nn, ops
from minicnn.errors import ArgumentError
from minicnn.gradcheck import gradcheck
from minicnn.models.highway import Highway, HighwayCNN, HighwayMLP, initialised
from minicnn.random import Generator
from tests.close import assert_close

CLOSED, OPEN = -1e4, 1e4
GATED = {depth: f"highway_fc{depth}_mnist" for depth in (10, 20, 50, 100)}


def noise(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def layer(kind, bias, channels=4):
    """A highway layer in float64, fully connected or convolutional, and an input for it."""
    generator = Generator(0)

    def make():
        linear = kind == "linear"
        made = nn.Linear(channels, channels) if linear else nn.Conv2d(channels, channels, 3, padding=1)
        return initialised(made, generator)

    return Highway(make, bias).double(), noise(2, channels, *(() if kind == "linear" else (5, 5)))


@pytest.mark.parametrize("kind", ["linear", "conv"])
def test_a_closed_gate_copies_and_an_open_one_transforms(kind):
    closed, x = layer(kind, CLOSED)
    assert np.array_equal(closed(x).numpy(), x)
    opened, x = layer(kind, OPEN)
    assert np.array_equal(opened(x).numpy(), np.maximum(opened.transform(x).numpy(), 0))
    assert not np.array_equal(opened(x).numpy(), x)


def test_the_layer_is_a_mean_weighted_by_the_gate():
    highway, x = layer("linear", -0.5)
    (wh, bh), (wt, bt) = ((part.weight.numpy(), part.bias.numpy()) for part in (highway.transform, highway.gate))
    t = 1 / (1 + np.exp(-(x @ wt.T + bt)))
    assert (t > 0.05).all() and (t < 0.95).all() and np.array_equal(bt, np.full(4, -0.5)) and not bh.any()
    assert_close(highway(x).numpy(), t * np.maximum(x @ wh.T + bh, 0) + (1 - t) * x, 1e-14)


@pytest.mark.parametrize("kind", ["linear", "conv"])
def test_the_gradient_through_a_closed_gate_is_the_one_that_comes(kind):
    highway, values = layer(kind, CLOSED)
    x, upstream = Tensor(values, requires_grad=True), noise(*values.shape, seed=1)
    (highway(x) * upstream).sum().backward()
    assert np.array_equal(x.grad.numpy(), upstream)
    assert not any(p.grad.numpy().any() for p in highway.parameters())


@pytest.mark.parametrize("kind", ["linear", "conv"])
def test_the_gradient_of_an_open_and_of_a_half_open_gate(kind):
    for bias in (0.0, OPEN):
        highway, values = layer(kind, bias)
        assert gradcheck(highway, Tensor(values, requires_grad=True))


def test_gates_have_weights_of_their_own():
    highway, _ = layer("linear", -2.0)
    assert not np.array_equal(highway.transform.weight.numpy(), highway.gate.weight.numpy())
    assert len(list(highway.parameters())) == 4


def test_the_first_bias_is_negative_and_lets_a_third_of_the_image_through():
    for depth, name in GATED.items():
        net = models.create(name, generator=Generator(0))
        biases = np.stack([gated.gate.bias.numpy() for gated in net.layers])
        assert biases.shape == (depth - 1, 50) and np.ptp(biases) == 0 and -10 <= biases[0, 0] <= -1
        carried = (1 - 1 / (1 + np.exp(-biases[0, 0]))) ** (depth - 1)
        assert 0.3 < carried < 0.55, name


def weight_gradients(name, scale):
    """The norms of the gradients of all weights between the first and the last layer; weights times ``scale``."""
    net = models.create(name, generator=Generator(0))
    for parameter in net.parameters():
        if parameter.ndim == 2:
            parameter.copy_(parameter.numpy() * np.float32(scale))
    x = np.random.default_rng(0).random((8, 1, 28, 28), np.float32)
    ops.cross_entropy(net(x), np.arange(8)).backward()
    return [
        np.linalg.norm(p.grad.numpy())
        for path, p in net.named_parameters()
        if path.startswith("layers") and p.ndim == 2 and "gate" not in path
    ]


@pytest.mark.parametrize("scale", [1.0, 0.5**0.5])
def test_a_hundred_highway_layers_all_get_a_gradient_of_about_one_size(scale):
    norms = weight_gradients("highway_fc100_mnist", scale)
    assert len(norms) == 99 and max(norms) < 6 * min(norms) and min(norms) > 1e-3


def test_a_hundred_plain_layers_depend_on_the_size_of_the_weights():
    """Half the variance, and half of the signal is lost in each of them: 2^-50 is left."""
    assert min(weight_gradients("plain_fc100_mnist", 1.0)) > 1e-3
    norms = weight_gradients("plain_fc100_mnist", 0.5**0.5)
    assert len(norms) == 99 and max(norms) < 1e-10


def test_open_gates_at_depth_lose_what_closed_ones_keep():
    """Why the bias is negative: the gradient of the first layer, with a bias of -1 and of -5."""

    def first(bias):
        net = models.highway_fc100_mnist(transform_bias=bias, generator=Generator(0))
        x = np.random.default_rng(0).random((8, 1, 28, 28), np.float32)
        ops.cross_entropy(net(x), np.arange(8)).backward()
        return np.linalg.norm(net.fc1.weight.grad.numpy())

    assert first(-5.0) > 1e3 * first(-1.0)


def test_layers_of_the_twins_are_of_about_one_size():
    for depth in GATED:
        with minicnn.abstract():
            nets = [models.create(f"{kind}_fc{depth}_mnist") for kind in ("highway", "plain")]
        assert [len(net.layers) for net in nets] == [depth - 1] * 2
        sizes = [sum(p.size for p in net.layers[0].parameters()) for net in nets]
        assert sizes == [2 * (50 * 50 + 50), 71 * 71 + 71] == [5100, 5112]


def test_the_image_is_the_only_stage_of_a_net_without_places():
    with minicnn.abstract():
        net = models.highway_fc10_mnist()
        stage = net.stages[0]
    assert len(net.stages) == 1 and (stage.name, stage.stride, stage.channels) == ("image", 1, 1)
    assert net.cam_layer is net.image


def test_the_released_net_has_19_layers():
    """Its parameters and multiply-adds by hand; a highway layer counts as one and costs two."""
    with minicnn.abstract():
        net = models.highway_conv_cifar10()
    gates = [module for module in net.modules() if isinstance(module, Highway)]
    layers = [module for module in net.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    assert len(gates) == 14 and len(layers) - len(gates) == 19
    params = macs = 0
    before = 3
    for width, count, side in ((32, 4, 32), (80, 5, 16), (128, 5, 8)):
        for inputs, times in ((before, 1), (width, 2 * count)):
            params += times * (9 * inputs * width + width)
            macs += times * 9 * inputs * width * side**2
        before = width
    params, macs = params + 128 * 100 + 100 + 100 * 10 + 10, macs + 128 * 100 * 64 + 1000
    assert models.counts("highway_conv_cifar10") == (params, macs) == (2_256_838, 330_826_728)
    assert [(stage.stride, stage.channels) for stage in net.stages] == [(1, 32), (2, 80), (4, 128)]
    assert [net.get_submodule(f"drop{i}").p for i in (1, 2, 3, 4)] == [0.2] * 4


def test_the_initial_weights_are_those_of_the_authors_files():
    net = models.highway_conv_cifar10(generator=Generator(0))
    for path, parameter in net.named_parameters():
        values = parameter.numpy()
        if "gate.bias" in path:
            assert np.array_equal(values, np.full(values.shape, -2.0)), path
        elif values.ndim == 1:
            assert not values.any(), path
        else:
            fan_in = values[0].size
            std = 0.05 if path in ("stage1.0.weight", "fc.weight") else np.sqrt(2 / fan_in)
            assert abs(values.std() / std - 1) < 4 / np.sqrt(2 * values.size), path


def test_every_parameter_of_a_small_one_learns():
    net = HighwayCNN(widths=(4, 6, 8), highways=(1, 2, 1), units=5, num_classes=3, generator=Generator(0))
    x = noise(4, 3, 16, 16).astype(np.float32)
    ops.cross_entropy(net(x), np.array([0, 1, 2, 0])).backward()
    assert not [path for path, p in net.named_parameters() if not np.abs(p.grad.numpy()).max() > 0]


@pytest.mark.parametrize(
    ("mistake", "match"),
    [
        (lambda: HighwayMLP(depth=0), "HighwayMLP: depth=0"),
        (lambda: HighwayMLP(size=0), "HighwayMLP: size=0"),
        (lambda: HighwayMLP(transform_bias="low"), "HighwayMLP: transform_bias='low' is a str"),
        (lambda: HighwayCNN(widths=(8, 8)), r"HighwayCNN: widths=\(8, 8\) and highways=.*, expected a number for each"),
        (lambda: HighwayCNN(transform_bias=None), "HighwayCNN: transform_bias=None"),
        (lambda: HighwayCNN(dropout=2), "Dropout: p=2"),
        (lambda: models.highway_fc10_mnist(gates=3), "highway_fc10_mnist has no option 'gates'"),
    ],
)
def test_mistakes(mistake, match):
    with minicnn.abstract(), pytest.raises(ArgumentError, match=match):
        mistake()
