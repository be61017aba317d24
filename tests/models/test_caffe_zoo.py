"""Caffe's CIFAR-10 nets: response normalisation within a map, the order of the layers, pools that round up."""

import numpy as np
import pytest

import minicnn
from minicnn import models, nn
from minicnn.models.caffe_zoo import WithinChannelLRN
from minicnn.random import Generator
from tests.models.test_alexnet import order


def test_normalisation_within_a_map():
    x = np.random.default_rng(0).standard_normal((2, 3, 5, 4))
    y = WithinChannelLRN(3, 0.7, 0.75)(minicnn.Tensor(x)).numpy()
    squares = np.pad(x**2, ((0, 0), (0, 0), (1, 1), (1, 1)))
    energy = sum(squares[:, :, i : i + 5, j : j + 4] for i in range(3) for j in range(3)) / 9
    assert np.allclose(y, x / (1 + 0.7 * energy) ** 0.75, rtol=0, atol=1e-12)


def test_its_gradient():
    x = np.random.default_rng(0).standard_normal((1, 2, 4, 3))
    assert minicnn.gradcheck(WithinChannelLRN(3, 0.7, 0.75), minicnn.Tensor(x, requires_grad=True))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cifar10_quick", "conv1 pool1 relu1 conv2 relu2 pool2 conv3 relu3 pool3 flatten ip1 ip2"),
        ("cifar10_full", "conv1 pool1 relu1 norm1 conv2 relu2 pool2 norm2 conv3 relu3 pool3 flatten ip1"),
    ],
)
def test_the_order_of_the_prototxt(name, expected):
    with minicnn.abstract():
        layers = order(models.create(name), 32)
    assert [layer for layer, _ in layers] == expected.split()
    shapes = dict(layers)
    assert [shapes[f"pool{i}"] for i in (1, 2, 3)] == [(32, 16, 16), (32, 8, 8), (64, 4, 4)]


@pytest.mark.parametrize("name", ["cifar10_quick", "cifar10_full"])
def test_every_parameter_learns(name):
    net = models.create(name, generator=Generator(0))
    x = np.random.default_rng(0).integers(-128, 128, (2, 3, 32, 32)).astype(np.float32)
    minicnn.ops.cross_entropy(net(x), np.array([1, 7])).backward()
    grads = [p.grad.numpy() for p in net.parameters()]
    assert all(np.isfinite(g).all() and np.abs(g).max() > 0 for g in grads)


def test_weights_start_with_the_deviations_of_the_prototxt():
    net = models.cifar10_quick(generator=Generator(0))
    stds = [m.weight.numpy().std() for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert stds == pytest.approx([1e-4, 0.01, 0.01, 0.1, 0.1], rel=0.05)
