"""NAS v1: the graph as data, skips that are concatenations, one resolution."""

import numpy as np
import pytest

import minicnn
from minicnn import models
from minicnn.errors import ArgumentError
from minicnn.models.nas_v1 import LAYERS, Layer
from minicnn.random import Generator
from tests.close import assert_close

torch = pytest.importorskip("torch")
F = torch.nn.functional


def test_the_graph_is_acyclic_and_ends_in_its_last_layer():
    assert len(LAYERS) == 15 and LAYERS[0].inputs == (0,)
    read = set()
    for number, layer in enumerate(LAYERS, 1):
        assert set(layer.inputs) < set(range(number)) or number == 1
        read |= set(layer.inputs)
    assert read == set(range(15))  # all but the 15th
    assert {layer.filters for layer in LAYERS} == {36, 48}
    assert sum(layer.height != layer.width for layer in LAYERS) == 7


def test_skips_are_concatenations():
    with minicnn.abstract():
        net = models.nas_v1_cifar10()
    widths = [3, *(layer.filters for layer in LAYERS)]
    for unit, layer in zip(net.layers, LAYERS, strict=True):
        assert unit.conv.in_channels == sum(widths[i] for i in layer.inputs)
        assert unit.conv.kernel_size == (layer.height, layer.width) and unit.conv.bias is None
    assert net.layers[12].conv.in_channels == 360 and net.fc.in_features == 48


def test_a_small_net_is_this_function():
    layers = (Layer(3, 1, 2, (0,)), Layer(1, 3, 3, (1,)), Layer(3, 5, 2, (0, 1, 2)), Layer(1, 1, 4, (3, 1)))
    net = models.nas_v1_cifar10(layers=layers, num_classes=3, generator=Generator(0)).double().eval()
    state = {name: torch.from_numpy(np.array(value)) for name, value in net.state_dict().items()}
    x = np.random.default_rng(0).standard_normal((2, 3, 6, 5))

    def unit(number, y):
        weight = state[f"layers.{number}.conv.weight"]
        padding = weight.shape[2] // 2, weight.shape[3] // 2
        return F.relu(F.conv2d(y, weight, padding=padding) / np.sqrt(1 + 1e-5))

    image = torch.from_numpy(x)
    one = unit(0, image)
    two = unit(1, one)
    three = unit(2, torch.cat([image, one, two], 1))
    four = unit(3, torch.cat([three, one], 1))
    assert four.shape == (2, 4, 6, 5)  # no stride, no pool
    expected = four.mean((2, 3)) @ state["fc.weight"].T + state["fc.bias"]
    assert_close(net(x).numpy(), expected.numpy(), 1e-12)


def test_every_parameter_learns():
    net = models.nas_v1_cifar10(generator=Generator(0))
    x = np.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype(np.float32)
    minicnn.ops.cross_entropy(net(x), np.array([0, 1])).backward()
    assert all(np.isfinite(p.grad.numpy()).all() and p.grad.numpy().any() for p in net.parameters())


@pytest.mark.parametrize(
    ("layers", "match"),
    [
        ((), r"NASv1: layers=\(\) is empty"),
        ((Layer(3, 3, 4, (1,)),), r"NASv1: layer 1 reads \(1,\), expected some of 0 to 0"),
        ((Layer(3, 3, 4, ()),), r"NASv1: layer 1 reads \(\)"),
        ((Layer(3, 2, 4, (0,)),), "NASv1: layer 1 is 3x2, expected odd sizes"),
    ],
)
def test_mistakes(layers, match):
    with minicnn.abstract(), pytest.raises(ArgumentError, match=match):
        models.nas_v1_cifar10(layers=layers)
