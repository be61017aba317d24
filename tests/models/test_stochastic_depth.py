"""Stochastic depth: the survival probabilities, what a dropped block does, and the expectation."""

import numpy as np
import pytest

import minicnn
from minicnn import models
from minicnn.errors import ArgumentError
from minicnn.models.resnet import BasicBlock, Residual
from minicnn.models.stochastic_depth import linear_decay
from minicnn.random import Generator
from tests.close import assert_close


def residual_blocks(net):
    return [module for module in net.modules() if isinstance(module, Residual)]


def test_survival_falls_linearly_and_a_quarter_of_the_blocks_is_left_out():
    """Section 3 of the paper: 54 blocks, of which (3 * 54 - 1) / 4 = 40.25 are expected in a training step."""
    with minicnn.abstract():
        survivals = [block.survival for block in residual_blocks(models.resnet110_sd_cifar10())]
    assert len(survivals) == 54 and survivals[0] == pytest.approx(1 - 0.5 / 54) and survivals[-1] == 0.5
    assert np.allclose(np.diff(survivals), -0.5 / 54) and sum(survivals) == pytest.approx(40.25)


def test_the_blocks_of_training_steps_are_as_many_as_expected():
    blocks = [BasicBlock(1, 1, generator=Generator(0)).train() for _ in range(54)]
    linear_decay(minicnn.nn.ModuleList(blocks), 0.5, Generator(3))
    alive = [sum(block.add(lambda x: 1, None, 0) for block in blocks) for _ in range(200)]
    deviation = np.sqrt(sum(block.survival * (1 - block.survival) for block in blocks))
    assert abs(np.mean(alive) - 40.25) < 4 * deviation / np.sqrt(200)
    assert 0.8 * deviation < np.std(alive) < 1.2 * deviation


def outcomes(block, x):
    """What a block gives without and with its branch; batch norms keep their running statistics."""
    for name in ("bn1", "bn2"):
        getattr(block, name).eval()
    found = {}
    for seed in range(50):
        block.generator = Generator(seed)
        y = block(minicnn.Tensor(x)).numpy()
        found[bool(np.array_equal(y, x))] = y
    return found[True], found[False]


def test_eval_is_the_expectation_of_training():
    x = np.random.default_rng(0).uniform(20, 21, (2, 3, 5, 5)).astype(np.float32)  # so that no ReLU cuts the sum
    block = linear_decay(BasicBlock(3, 3, generator=Generator(1)), 0.7)
    assert block.survival == 0.7
    block.train()
    dropped, kept = outcomes(block, x)
    expected = 0.7 * kept.astype(np.float64) + 0.3 * dropped
    block.eval()
    assert_close(block(minicnn.Tensor(x)).numpy(), expected, 1e-6)
    assert np.abs(kept - dropped).max() > 0.5


def test_a_dropped_block_is_its_shortcut_and_is_not_computed():
    block = linear_decay(BasicBlock(4, 8, 2, shortcut="A", generator=Generator(0)), 0.0)
    x = np.random.default_rng(0).uniform(0, 1, (2, 4, 6, 6)).astype(np.float32)
    y = block(minicnn.Tensor(x)).numpy()
    assert np.array_equal(y[:, :4], x[:, :, ::2, ::2]) and not y[:, 4:].any()
    assert int(block.bn1.num_batches_tracked.numpy()) == 0 and not block.bn1.running_mean.numpy().any()


def test_a_training_step_repeats_with_its_generator():
    x = np.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype(np.float32)

    def loss_of(seed):
        net = models.resnet110_sd_cifar10(depth=32, generator=Generator(seed))
        loss = net(minicnn.Tensor(x)).sum()
        loss.backward()
        graded = [b.conv1.weight.grad is not None for b in residual_blocks(net)]
        return float(loss.numpy()), graded

    first = loss_of(5)
    assert first == loss_of(5) and first != loss_of(6)
    assert np.isfinite(first[0]) and 0 < sum(first[1]) < len(first[1])


def test_weights_are_those_of_the_network_without():
    with minicnn.abstract():
        thinned, whole = models.resnet152_sd().state_dict(), models.resnet152().state_dict()
    assert [(k, v.shape) for k, v in thinned.items()] == [(k, v.shape) for k, v in whole.items()]


def test_any_residual_network_can_be_thinned():
    with minicnn.abstract():
        net = linear_decay(models.preresnet18(), 0.8)
    assert [round(block.survival, 3) for block in residual_blocks(net)][-2:] == [0.825, 0.8]


def test_what_cannot_be_thinned_is_refused():
    with minicnn.abstract():
        for net in (models.plain20(), models.lenet5()):
            with pytest.raises(ArgumentError, match="is no residual network"):
                linear_decay(net, 0.5)
        with pytest.raises(ArgumentError, match=r"last_survival=1\.5 is out of range"):
            models.resnet110_sd_cifar10(last_survival=1.5)
