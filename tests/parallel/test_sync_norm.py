"""Batch norm over the batches of several ranks is batch norm over all of them together."""

import numpy as np
import pytest

import minicnn
from minicnn import Tensor, models, nn, ops, parallel
from minicnn.errors import ShapeError
from minicnn.ops.sync_norm import sync_batch_norm
from tests.close import assert_close
from tests.parallel.thread_ranks import on_ranks

SPLITS = [(3, 2), (4, 1), (5, 0), (2, 2, 1)]


def oracle(x, gy, weight, bias, eps):
    """In NumPy, by the definition: y, mean, variance, and the gradients of x, weight and bias."""
    axes, shape = (0, 2, 3), (1, -1, 1, 1)
    mean, var = x.mean(axes), x.var(axes)
    z = (x - mean.reshape(shape)) / np.sqrt(var.reshape(shape) + eps)
    y = z * weight.reshape(shape) + bias.reshape(shape)
    centred = gy - gy.mean(axes, keepdims=True) - z * (gy * z).mean(axes, keepdims=True)
    gx = centred * (weight / np.sqrt(var + eps)).reshape(shape)
    return y, mean, var, gx, (gy * z).sum(axes), gy.sum(axes)


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-12), (np.float32, 3e-6)])
def test_ranks_do_what_the_whole_batch_does(split, dtype, tolerance):
    rng = np.random.default_rng(0)
    x, gy = (rng.standard_normal((sum(split), 3, 4, 2)) for _ in range(2))
    x = (x + 100 * rng.standard_normal((1, 3, 1, 1))).astype(dtype).astype(float)  # a large mean costs no digits
    weight, bias = rng.standard_normal(3), rng.standard_normal(3)
    y, mean, var, gx, gw, gb = oracle(x, gy, weight, bias, 1e-5)
    ends = np.cumsum(split)

    def work(ranks):
        own = slice(ends[ranks.rank] - split[ranks.rank], ends[ranks.rank])
        tensors = [Tensor(a.astype(dtype), requires_grad=True) for a in (x[own], weight, bias)]
        running = [Tensor(a.astype(dtype)) for a in (np.zeros(3), np.ones(3))]
        result = sync_batch_norm(tensors[0], *running, *tensors[1:], 0.1, 1e-5, ranks)
        result.backward(gy[own].astype(dtype))
        return result.numpy(), *(t.grad.numpy() for t in tensors), *(r.numpy() for r in running)

    parts = on_ranks(len(split), work)
    assert_close(np.concatenate([part[0] for part in parts]), y, tolerance)
    assert_close(np.concatenate([part[1] for part in parts]), gx, 10 * tolerance)
    assert_close(sum(part[2] for part in parts), gw, 10 * tolerance)
    assert_close(sum(part[3] for part in parts), gb, 10 * tolerance)
    count = x.size // 3
    for part in parts:
        assert_close(part[4], 0.1 * mean, tolerance)
        assert_close(part[5], 0.9 + 0.1 * var * count / (count - 1), tolerance)


def test_without_weight_and_where_only_the_weight_learns():
    x = np.random.default_rng(1).standard_normal((4, 2, 3, 3))
    whole = Tensor(x, requires_grad=True)
    (ops.batch_norm(whole, None, None, training=True) ** 3).sum().backward()

    def work(ranks):
        own = Tensor(x[2 * ranks.rank : 2 * ranks.rank + 2], requires_grad=True)
        (sync_batch_norm(own, None, None, None, None, 0.1, 1e-5, ranks) ** 3).sum().backward()
        weight = Tensor(np.ones(2), requires_grad=True)
        sync_batch_norm(own.detach(), None, None, weight, None, 0.1, 1e-5, ranks).sum().backward()
        return own.grad.numpy(), weight.grad

    parts = on_ranks(2, work)
    assert_close(np.concatenate([grad for grad, _ in parts]), whole.grad.numpy(), 1e-12)
    assert all(grad is not None for _, grad in parts)


@pytest.mark.slow
def test_resnet_20_on_two_ranks_has_the_gradients_of_one():
    """In float64; in float32 a rounding turns a ReLU here or there, and one process is as far from it as two ranks."""
    rng = np.random.default_rng(2)
    images, labels = rng.standard_normal((6, 1, 32, 32)), rng.integers(0, 10, 6)
    minicnn.manual_seed(0)
    copies = [models.create("resnet20_cifar10", num_classes=10, in_channels=1).double() for _ in range(3)]
    for copy in copies[1:]:
        copy.load_state_dict(copies[0].state_dict())
    ops.cross_entropy(copies[2](Tensor(images)), Tensor(labels)).backward()

    def work(ranks):
        model, own = copies[ranks.rank], parallel.own_part(6, ranks)
        parallel.synchronise(model, ranks)
        loss = ops.cross_entropy(model(Tensor(images[own])), Tensor(labels[own]))
        parallel.GradientSums(model.parameters(), ranks).backward(loss, parallel.share_of(loss, 3, 6))

    on_ranks(2, work)
    for (name, one), two in zip(copies[2].named_parameters(), copies[0].parameters(), strict=True):
        assert_close(two.grad.numpy(), one.grad.numpy(), 1e-11, name)
    for (name, one), two in zip(copies[2].named_buffers(), copies[0].buffers(), strict=True):
        assert_close(two.numpy(), one.numpy(), 1e-12, name)


def test_layers_are_synchronised_in_training_only():
    def work(ranks):
        model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
        assert parallel.synchronise(model, ranks) == 1
        x = np.random.default_rng(ranks.rank).standard_normal((2, 1, 5, 5)).astype(np.float32)
        model(Tensor(x))
        asked = len(ranks.calls)
        model.eval()(Tensor(x))
        return asked, len(ranks.calls), model[1].num_batches_tracked.item()

    assert on_ranks(2, work) == [(1, 1, 1)] * 2


def test_one_value_on_all_ranks_is_refused():
    def work(ranks):
        x = np.ones((1 - ranks.rank, 2, 1, 1), np.float32)
        sync_batch_norm(x, None, None, None, None, 0.1, 1e-5, ranks)

    with pytest.raises(ShapeError, match="on all ranks together"):
        on_ranks(2, work)
