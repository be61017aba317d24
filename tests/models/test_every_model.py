"""Every network of the catalog runs: forward, backward into every parameter, the same answer twice, and from its file.

Networks of 30 million parameters and more take too long; one of each family runs, and ``test_catalog.py`` tests the
shapes of all. A network for pictures of several sizes runs once. The options that every family has are tested by shapes
alone.
"""

from contextlib import contextmanager
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from safetensors.numpy import save_file

import minicnn
from minicnn import Tensor, models, nn, ops
from minicnn.errors import ShapeError
from minicnn.models.fractalnet import FractalNet, Join
from minicnn.models.resnet import Residual
from minicnn.random import Generator
from tests.models.catalog import distinct_networks, rows, smallest_of_each_class

LARGE = 30_000_000
SIDES = (8, 16, 32, 48, 64, 96, 128)
LEAVES_OUT = (Residual, Join, FractalNet)  # what a training step has with the probability ``survival``


def size(name):
    """Its parameters, counted where the reference gives no number."""
    return rows()[name].params or models.counts(name).params


def those_that_run():
    """All small networks, and the smallest of each family's large ones."""
    by_size = sorted(models.names(), key=size)
    large = [name for name in by_size if size(name) >= LARGE]
    first = {rows()[name].family: name for name in reversed(large)}
    return [name for name in distinct_networks() if name not in large or name in first.values()]


def smallest_side(name):
    """The smallest picture with which the network trains and whose last stage has four places or more: batch norm
    makes +-1 of two numbers, and nothing is left to differentiate."""
    channels, side = models.info(name).input_shape[:2]
    with minicnn.abstract():
        net = models.create(name).train()
        for candidate in SIDES:
            x = Tensor(minicnn.ShapeArray((2, channels, candidate, candidate), "float32"))
            try:
                if candidate < side and min(list(net.stage_outputs(x).values())[-1].shape[2:]) > 1:
                    return candidate
            except ShapeError:
                continue
    return side


def logits(outputs):
    """The logits, and those of auxiliary heads while training."""
    return list(outputs) if isinstance(outputs, tuple) else [outputs]


@contextmanager
def all_branches(net):
    """Stochastic depth, of the batch or of an image, and drop-path leave out none."""
    rates = [(module, "survival", 1.0) for module in net.modules() if isinstance(module, LEAVES_OUT)]
    rates += [(module, "p", 0.0) for module in net.modules() if isinstance(module, nn.StochasticDepth)]
    before = [getattr(module, name) for module, name, _ in rates]
    for module, name, none in rates:
        setattr(module, name, none)
    yield
    for (module, name, _), rate in zip(rates, before, strict=True):
        setattr(module, name, rate)


def train_once(net, x, labels):
    """One forward and backward; running statistics become those of ``x``, since with those of new batch norms a
    thousand residual additions overflow."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
        elif isinstance(module, nn.SpatialTransformer):  # the weights of its last layer are 0, and pass nothing back
            *_, last = module.localisation.modules()
            nn.init.normal_(last.weight, 0.0, 0.01, Generator(1))
    with all_branches(net):
        losses = [ops.cross_entropy(y, labels) for y in logits(net.train()(x))]
    sum(losses[1:], losses[0]).backward()
    assert all(np.isfinite(loss.item()) for loss in losses)


def from_its_file(name, net):
    with TemporaryDirectory() as folder:
        save_file(net.state_dict(), f"{folder}/weights.safetensors")
        return models.create(name, weights=f"{folder}/weights.safetensors", generator=Generator(2))


@pytest.mark.slow
@pytest.mark.parametrize("name", those_that_run())
def test_it_runs_learns_repeats_and_loads(name):
    info, side = models.info(name), smallest_side(name)
    net = models.create(name, generator=Generator(1))
    x = np.random.default_rng(0).standard_normal((2, info.input_shape[0], side, side)).astype(np.float32)
    train_once(net, x, np.array([1, info.num_classes - 1]))
    for path, parameter in net.named_parameters():
        assert parameter.grad is not None, path
        assert np.isfinite(parameter.grad.numpy()).all() and parameter.grad.numpy().any(), path
    net.zero_grad()
    with minicnn.no_grad():
        first, second = net.eval()(x).numpy(), net(x).numpy()
        assert first.shape == (2, info.num_classes) and np.isfinite(first).all()
        assert np.array_equal(first, second)
        loaded = from_its_file(name, net)
        assert np.array_equal(loaded.eval()(x).numpy(), first)


@pytest.mark.parametrize("family", models.INDEX)
def test_every_family_has_classes_channels_and_stages(family):
    for name in smallest_of_each_class(family):
        _, height, width = models.info(name).input_shape
        with minicnn.abstract():
            net = models.create(name, num_classes=7, in_channels=2)
            x = Tensor(minicnn.ShapeArray((3, 2, height, width), "float32"))
            assert {y.shape for y in logits(net.train()(x))} == {(3, 7)}
            answers = []
            with minicnn.no_grad(), net.register_forward_hook(lambda *call, to=answers: to.append(call[-1].shape)):
                outputs = net.eval().stage_outputs(x)
            assert answers == [(3, 7)]
        assert list(outputs) == list(net.stage_paths) and all(y.shape[0] == 3 for y in outputs.values())
        sizes = [y.shape[2] for y in outputs.values()]
        assert sizes == sorted(sizes, reverse=True) and all(y.ndim == 4 for y in outputs.values())


def test_those_that_run():
    """Every family is among them, and what is left out is large and has a relative that runs."""
    names = those_that_run()
    left_out = set(distinct_networks()) - set(names)
    assert {models.info(name).family for name in names} == {models.info(name).family for name in models.names()}
    assert all(size(name) >= LARGE for name in left_out)
    assert {rows()[name].family for name in left_out} <= {rows()[name].family for name in names}
    assert {"mobilenet_v1_1.0_192", "mobilenet_v2_1.0_96"}.isdisjoint(names) and "mobilenet_v2_1.0_224" in names
