"""The catalog, fused: the same answers, and no norm where a layer can do its work."""

import copy

import numpy as np
import pytest

import minicnn
from minicnn import Tensor, fuse, models, nn
from minicnn.errors import ShapeError
from minicnn.random import Generator
from tests.fused import answers, check, images, norms
from tests.models.catalog import distinct_networks

LARGE = 30_000_000  # parameters; beyond, by shapes alone
SIDES = (8, 16, 32, 64, 96, 128)
# A small network -> the side of its input, and how many of its norms stay.
SMALL = {
    "resnet20_cifar10": (8, 0),
    "mobilenet_v1_0.25_128": (32, 0),
    "wrn40_1_cifar10": (8, 19),  # 18 blocks and the end, after additions; the first convolution is a shortcut too
    "fractalnet_c1_d5_cifar100": (32, 5),  # convolution, dropout, norm
    "effnet_cifar10": (32, 12),  # convolution, LeakyReLU, norm
}
LONGER = {
    "elu_resnet20_cifar10": (8, 0),
    "seresnet20_cifar10": (8, 0),
    "wrn40_2_cifar10": (8, 18),  # where the first block widens, its shortcut begins after the norm
    "densenet40_k12_cifar10": (8, 39),  # each reads a concatenation
    "densenet_bc100_k12_cifar10": (8, 51),  # those of 48 layers, 2 transitions and the end do
    "googlenet_bn_tv_aux": (32, 2),  # of the heads that run while training only
    "mobilenet_v2_0.35_96": (32, 0),
    "shufflenet_v2_0.5x": (32, 0),
}


def smallest_side(net, info):
    channels, side = info.input_shape[:2]
    for candidate in SIDES:
        try:
            with minicnn.abstract():
                copy.deepcopy(net).eval()(Tensor(minicnn.ShapeArray((1, channels, candidate, candidate), "float32")))
        except ShapeError:
            continue
        return min(candidate, side)
    return side


def check_small(name, side, left):
    net = models.create(name, generator=Generator(0)).double()
    fused = check(net, images(models.info(name).input_shape[0], side), 1e-9)
    before, after = (dict(each.named_modules()) for each in (net, fused))
    assert list(after) == list(before) and len(norms(fused)) == left
    changed = {path for path, module in after.items() if type(module) is not type(before[path])}
    assert len(changed) == len(norms(net)) - left and all(type(after[path]) is nn.Identity for path in changed)


@pytest.mark.parametrize("name", SMALL)
def test_small_networks(name):
    check_small(name, *SMALL[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", LONGER)
def test_longer_networks(name):
    check_small(name, *LONGER[name])


def identities(net):
    return sum(type(module) is nn.Identity for module in net.modules())


def distance(result, truth):
    return abs(result - truth).max() / abs(truth).max()


@pytest.mark.slow
@pytest.mark.parametrize("name", distinct_networks())
def test_every_network(name):
    """Those of less than 30 million parameters in float64, and in float32 as near to that as they were themselves,
    or would be with other last digits of the pictures: random weights and small images make the rounding of some grow
    (EfficientNets) until not one digit is left."""
    info = models.info(name)
    if models.counts(name).params >= LARGE:
        with minicnn.abstract():
            net = models.create(name)
        fused = fuse(net)
        assert len(norms(net)) - len(norms(fused)) == identities(fused) - identities(net)
        with minicnn.abstract():
            assert fused(Tensor(minicnn.ShapeArray((2, *info.input_shape), "float32"))).shape == (2, info.num_classes)
        return
    net = models.create(name, generator=Generator(0))
    x = images(info.input_shape[0], smallest_side(net, info), "float32")
    check(net.double(), x.astype("float64"), 1e-9)
    truth = answers(net, x.astype("float64"))
    noise = 1 + 1e-6 * np.random.default_rng(1).standard_normal(x.shape)
    grown = distance(answers(net, x.astype("float64") * noise), truth)  # what errors of float32's size become
    net.float()
    assert distance(answers(fuse(net), x), truth) <= 1e-4 + 10 * max(grown, distance(answers(net, x), truth))
