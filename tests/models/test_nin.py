"""NiN: perceptrons that slide, pools that round up, and classes that are means of maps."""

import numpy as np
import pytest

import minicnn
from minicnn import models, nn
from minicnn.errors import ArgumentError
from minicnn.models.nin import CIFAR, Mlpconv
from minicnn.random import Generator
from tests.models.test_alexnet import order


@pytest.mark.parametrize(
    ("name", "side", "sizes"), [("nin_cifar10", 32, [32, 16, 8]), ("nin_imagenet", 224, [54, 27, 13, 6])]
)
def test_pools_round_up(name, side, sizes):
    with minicnn.abstract():
        maps = dict(order(models.create(name), side))
    assert [shape[1] for path, shape in maps.items() if path.endswith(".conv")] == sizes


def test_pools_and_dropout_of_the_authors_files():
    kinds = {}
    with minicnn.abstract():
        for name in ("nin_cifar10", "nin_cifar100", "nin_imagenet"):
            kinds[name] = [type(m).__name__ for m in models.create(name).features]
    assert kinds["nin_cifar10"] == ["Mlpconv", "MaxPool2d", "Dropout", "Mlpconv", "AvgPool2d", "Dropout", "Mlpconv"]
    assert kinds["nin_cifar100"] == ["Mlpconv", "MaxPool2d", "Dropout", "Mlpconv", "MaxPool2d", "Dropout", "Mlpconv"]
    assert kinds["nin_imagenet"] == ["Mlpconv", "MaxPool2d"] * 3 + ["Dropout", "Mlpconv"]


def test_a_mlpconv_is_a_perceptron_on_every_patch():
    row = CIFAR[0]._replace(kernel=3, padding=0, widths=(5, 4, 2), stds=(0.5, 0.5, 0.5))
    layer = Mlpconv(2, row, Generator(0)).double()
    x = np.random.default_rng(0).standard_normal((1, 2, 6, 6))
    y = layer(minicnn.Tensor(x)).numpy()
    units = x[0, :, 1:4, 2:5].ravel()
    for linear in (layer.conv, layer.cccp1, layer.cccp2):
        units = np.maximum(linear.weight.numpy().reshape(linear.out_channels, -1) @ units + linear.bias.numpy(), 0)
    assert np.allclose(y[0, :, 1, 2], units, rtol=0, atol=1e-12)


def test_logits_are_means_of_maps_that_are_not_negative():
    net = models.nin_cifar10(generator=Generator(0)).eval()
    x = np.random.default_rng(0).standard_normal((1, 3, 16, 16)).astype(np.float32)
    maps = net.stage_outputs(x)["stage3"].numpy()
    assert maps.shape == (1, 10, 4, 4) and maps.min() == 0 and maps.max() > 0
    assert np.allclose(net(x).numpy(), maps.mean((2, 3)))


def test_a_hundred_classes_are_ninety_maps_more():
    difference = models.counts("nin_cifar100").params - models.counts("nin_cifar10").params
    assert difference == 90 * (192 + 1)


def test_every_parameter_learns():
    net = models.nin_cifar10(generator=Generator(0)).eval()
    x = np.random.default_rng(0).standard_normal((2, 3, 16, 16)).astype(np.float32) * 3
    minicnn.ops.cross_entropy(net(x), np.array([1, 7])).backward()
    grads = [p.grad.numpy() for p in net.parameters()]
    assert all(np.isfinite(g).all() and np.abs(g).max() > 0 for g in grads)


def test_weights_start_with_the_authors_deviations():
    net = models.nin_cifar100(generator=Generator(0))
    stds = [m.weight.numpy().std() for m in net.modules() if isinstance(m, nn.Conv2d)]
    assert stds == pytest.approx([0.001, 0.01, 0.01, *[0.05] * 6], rel=0.02)


@pytest.mark.parametrize(
    ("rows", "match"),
    [
        ((), r"rows=\(\), expected rows"),
        (CIFAR[:2], "last width is 0"),
        ((CIFAR[0]._replace(pool="min"), *CIFAR[1:]), "pool='min' is unknown, expected one of"),
    ],
)
def test_mistakes(rows, match):
    with minicnn.abstract(), pytest.raises(ArgumentError, match=match):
        models.nin_cifar10(rows=rows)
