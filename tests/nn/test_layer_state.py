"""Layers that keep something between calls: the statistics of norms, the generators of random layers."""

import numpy as np
import pytest

import minicnn
from minicnn import Tensor, nn
from minicnn.errors import ArgumentError
from minicnn.random import Generator
from tests.close import assert_close


def batches(count=3, shape=(4, 2, 3, 3)):
    rng = np.random.default_rng(5)
    return [(rng.standard_normal(shape) * 3 + 1).astype(np.float32) for _ in range(count)]


def statistics(x):
    return x.mean((0, 2, 3)), x.var((0, 2, 3), ddof=1)


@pytest.mark.parametrize("momentum", [0.1, 0.6, None])
def test_batch_norm_keeps_running_statistics(momentum):
    layer, mean, var = nn.BatchNorm2d(2, momentum=momentum), np.zeros(2), np.ones(2)
    for count, x in enumerate(batches(), 1):
        layer(x)
        share = 1 / count if momentum is None else momentum
        mean = (1 - share) * mean + share * statistics(x)[0]
        var = (1 - share) * var + share * statistics(x)[1]
        assert layer.num_batches_tracked.item() == count
    assert layer.num_batches_tracked.dtype == np.int64 and layer.num_batches_tracked.shape == ()
    assert_close(layer.running_mean.numpy(), mean, 1e-6)
    assert_close(layer.running_var.numpy(), var, 1e-6)
    x, before = batches()[0], layer.state_dict()
    y = layer.eval()(x).numpy()
    assert_close(y, (x - mean.reshape(2, 1, 1)) / np.sqrt(var.reshape(2, 1, 1) + 1e-5), 1e-5)
    assert all(np.array_equal(value, before[name]) for name, value in layer.state_dict().items())
    layer.reset_running_stats()
    assert not layer.running_mean.numpy().any() and layer.num_batches_tracked.item() == 0


def test_batch_norm_without_statistics_uses_the_batch_in_both_modes():
    layer = nn.BatchNorm2d(2, affine=False, track_running_stats=False)
    assert not layer.state_dict() and not list(layer.parameters())
    x = batches()[0]
    assert np.array_equal(layer(x).numpy(), layer.eval()(x).numpy())
    assert abs(layer(x).numpy().mean()) < 1e-6


def test_batch_norm_does_not_learn_abstractly_or_when_recomputed():
    layer = nn.BatchNorm2d(2, momentum=None)
    before = layer.state_dict()
    with minicnn.abstract():
        layer(batches()[0])
    with minicnn.context.recomputing():
        layer(batches()[0])
    assert all(np.array_equal(value, before[name]) for name, value in layer.state_dict().items())


def test_a_checkpointed_block_leaves_the_state_of_a_plain_one():
    states = []
    for run in (lambda block, x: block(x), minicnn.checkpoint):
        block = nn.Sequential(
            nn.Conv2d(2, 4, 3, generator=Generator(0)),
            nn.BatchNorm2d(4, momentum=None),
            nn.Dropout(generator=Generator(1)),
        )
        for x in batches(2):
            y = run(block, minicnn.Tensor(x))
            y.backward(np.ones(y.shape, np.float32))
        grads = [parameter.grad.numpy() for parameter in block.parameters()]
        states.append((*grads, *block.state_dict().values(), np.int64(block[2].generator.state()["drawn"])))
    assert all(np.array_equal(a, b) for a, b in zip(*states, strict=True))


def test_instance_norm_tracks_and_takes_one_image():
    layer = nn.InstanceNorm2d(2, affine=True, track_running_stats=True)
    x = batches()[0]
    whole = layer(x).numpy()
    assert_close(layer.running_mean.numpy(), 0.1 * x.mean((0, 2, 3)), 1e-5)
    assert_close(layer(x[1]).numpy(), whole[1], 1e-6)
    assert not np.array_equal(layer.eval()(x).numpy(), whole)


def test_a_norm_converted_to_float64_takes_float64():
    layer = nn.BatchNorm2d(2).double()
    assert layer(batches()[0].astype(np.float64)).dtype == np.float64 and layer.running_var.dtype == np.float64


# ---- random layers


@pytest.mark.parametrize(
    "make",
    [
        lambda g: nn.Dropout(0.5, generator=g),
        lambda g: nn.Dropout2d(0.5, generator=g),
        lambda g: nn.AlphaDropout(0.5, generator=g),
        lambda g: nn.StochasticDepth(0.5, "row", generator=g),
    ],
)
def test_masks_come_from_the_layers_generator(make):
    x = np.random.default_rng(0).standard_normal((16, 4, 3, 3)).astype(np.float32)
    layer, again = make(Generator(3)), make(Generator(3))
    first = layer(x).numpy()
    assert np.array_equal(first, again(x).numpy()) and not np.array_equal(first, x)
    assert not np.array_equal(first, layer(x).numpy())
    state = layer.generator.state()
    layer.eval()(x)
    with minicnn.abstract():
        layer.train()(x)
    assert layer.generator.state() == state


def test_drop_connect_masks_weights_only_while_training():
    layer = nn.DropConnectLinear(6, 5, p=0.5, generator=Generator(1))
    x = np.eye(6, dtype=np.float32)
    kept = layer(x).numpy() - layer.bias.numpy()
    weight = layer.weight.numpy().T
    assert 5 < (np.abs(kept) < 1e-6).sum() < 25
    assert_close(kept, np.where(np.abs(kept) < 1e-6, 0, 2 * weight), 1e-5)


def test_the_default_generator_serves_layers_without_one():
    x = np.ones((4, 50), np.float32)
    minicnn.manual_seed(5)
    first = nn.Dropout()(x).numpy()
    minicnn.manual_seed(5)
    assert np.array_equal(first, nn.Dropout()(x).numpy())


@pytest.mark.parametrize("generator", [0, 5, np.random.default_rng(0)])
def test_only_our_generators_are_taken(generator):
    with pytest.raises(ArgumentError, match=r"expected a minicnn.Generator; fix: generator=minicnn.Generator\(seed\)"):
        nn.Linear(2, 2, generator=generator)
    with pytest.raises(ArgumentError, match=r"expected a minicnn.Generator"):
        nn.Dropout(generator=generator)(Tensor([1.0]))
    with pytest.raises(ArgumentError, match=r"expected a minicnn.Generator"):
        minicnn.randn(2, generator=generator)


def test_sizes_of_layers_are_checked():
    assert nn.LayerNorm(np.int64(3)).normalized_shape == (3,)
    with pytest.raises(ArgumentError, match="LayerNorm: normalized_shape=None is a NoneType"):
        nn.LayerNorm(None)
    with pytest.raises(ArgumentError, match="PReLU: num_parameters=-1 is too small"):
        nn.PReLU(-1)
