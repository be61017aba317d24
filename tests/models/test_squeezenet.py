"""SqueezeNet: the fire module, where the pools are, and which modules a bypass goes round."""

import numpy as np
import pytest

import minicnn
from minicnn import models, nn
from minicnn.errors import ArgumentError
from minicnn.models.squeezenet import Fire, SqueezeNet
from minicnn.random import Generator


def fires(net):
    return [layer for layer in net.features.children() if isinstance(layer, Fire)]


def test_fifty_times_fewer_parameters_than_alexnet():
    assert models.counts("squeezenet1_0").params * 48.8 == pytest.approx(60_965_224, rel=0.01)
    ratio = models.counts("squeezenet1_0").macs / models.counts("squeezenet1_1").macs
    assert ratio == pytest.approx(2.4, abs=0.06)


@pytest.mark.parametrize(
    ("name", "sizes"), [("squeezenet1_0", (109, 54, 27, 13)), ("squeezenet1_1", (111, 55, 27, 13))]
)
def test_maps_of_every_stage(name, sizes):
    with minicnn.abstract():
        net = models.create(name).eval()
        outputs = net.stage_outputs(minicnn.Tensor(minicnn.ShapeArray((1, 3, 224, 224), "float32")))
    assert tuple(y.shape[2] for y in outputs.values()) == sizes


def test_a_bypass_goes_round_the_modules_of_the_paper():
    with minicnn.abstract():
        none, simple, complex_ = (
            fires(models.create(f"squeezenet1_0{form}")) for form in ("", "_bypass", "_complex_bypass")
        )
    kinds = [[type(fire.shortcut).__name__ for fire in net] for net in (none, simple, complex_)]
    assert kinds[0] == ["NoneType"] * 8
    assert kinds[1] == ["NoneType", "Identity"] * 4
    assert kinds[2] == ["Conv2d", "Identity"] * 4


def test_a_fire_module_with_its_bypass():
    fire = Fire(8, 2, 4, True, Generator(0))
    x = minicnn.Tensor(np.random.default_rng(0).standard_normal((1, 8, 3, 3)).astype(np.float32))
    alone = Fire(8, 2, 4, False, Generator(0))
    assert isinstance(fire.shortcut, nn.Identity)
    assert np.allclose(fire(x).numpy(), alone(x).numpy() + x.numpy())


def test_every_parameter_learns():
    net = SqueezeNet(bypass="complex", num_classes=4, generator=Generator(0)).eval()
    x = np.random.default_rng(0).standard_normal((2, 3, 48, 48)).astype(np.float32)
    minicnn.ops.cross_entropy(net(x), np.array([1, 3])).backward()
    grads = [p.grad.numpy() for p in net.parameters()]
    assert all(np.isfinite(g).all() for g in grads) and sum(np.abs(g).max() > 0 for g in grads) == len(grads)


@pytest.mark.parametrize(
    ("mistake", "match"),
    [
        (lambda: models.squeezenet1_0(version="2"), "version='2' is unknown"),
        (lambda: models.squeezenet1_0(bypass="full"), "bypass='full' is unknown"),
    ],
)
def test_mistakes(mistake, match):
    with minicnn.abstract(), pytest.raises(ArgumentError, match=match):
        mistake()
