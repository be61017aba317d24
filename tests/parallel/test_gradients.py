"""Sums of gradients over ranks: as one rank with the whole batch has them, in buckets that begin early."""

import numpy as np
import pytest

import minicnn
from minicnn import Tensor, models, nn, ops
from minicnn.errors import ArgumentError
from minicnn.parallel.communicator import ALONE, Done
from minicnn.parallel.gradients import GradientSums, share_of
from minicnn.parallel.sharding import own_part
from tests.close import assert_close
from tests.parallel.thread_ranks import on_ranks


def network():
    minicnn.manual_seed(3)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 10))


def batch(count, shape=(1, 8, 8)):
    rng = np.random.default_rng(5)
    return rng.standard_normal((count, *shape)).astype(np.float32), rng.integers(0, 10, count)


def gradients_alone(model, images, labels):
    ops.cross_entropy(model(Tensor(images)), Tensor(labels)).backward()
    return {name: p.grad.numpy().copy() for name, p in model.named_parameters()}


def gradients_of_rank(ranks, model, images, labels, bucket_bytes=4 << 20):
    own = own_part(len(images), ranks)
    sums = GradientSums(model.parameters(), ranks, bucket_bytes)
    loss = ops.cross_entropy(model(Tensor(images[own])), Tensor(labels[own]))
    sums.backward(loss, share_of(loss, own.stop - own.start, len(images)))
    return {name: p.grad.numpy().copy() for name, p in model.named_parameters()}, ranks


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("count", [12, 7, 2, 1])
def test_sums_are_the_gradients_of_the_whole_batch_also_of_a_short_one(size, count):
    images, labels = batch(count)
    expected = gradients_alone(network(), images, labels)
    copies = [network() for _ in range(size)]
    found = on_ranks(size, lambda ranks: gradients_of_rank(ranks, copies[ranks.rank], images, labels)[0])
    for grads in found:
        for name in expected:
            assert_close(grads[name], expected[name], 1e-6)
            assert np.array_equal(grads[name], found[0][name]), "the ranks differ"


def test_every_bucket_is_summed_once_and_in_the_same_order_on_all_ranks():
    images, labels = batch(6)
    copies = [network() for _ in range(2)]
    found = on_ranks(2, lambda ranks: gradients_of_rank(ranks, copies[ranks.rank], images, labels, bucket_bytes=1))
    calls = [ranks.calls for _, ranks in found]
    assert calls[0] == calls[1]
    # a bucket a parameter, the last one first, each with its flag behind
    assert calls[0] == [("sum", (p.size + 1,)) for p in reversed(list(copies[0].parameters()))]


def test_a_bucket_begins_before_backward_is_done():
    seen = []

    class Listening(type(ALONE)):
        def start_sum(self, array):
            seen.append("sum")
            return Done()

    first, last = (Tensor(np.ones(3, np.float32), requires_grad=True) for _ in range(2))
    hidden = first * 2
    hidden.register_hook(lambda grad: seen.append("walk"))
    GradientSums([first, last], Listening(), bucket_bytes=1).backward((hidden * last).sum())
    assert seen == ["sum", "walk", "sum"]


def test_parameters_that_some_ranks_or_none_use():
    def work(ranks):
        used, some, none = (Tensor(np.full(2, 3, np.float32), requires_grad=True) for _ in range(3))
        y = (used * used).sum()
        if ranks.rank == 1:
            y = y + (some * 5).sum()
        GradientSums([used, some, none], ranks).backward(y)
        return used.grad.tolist(), some.grad.tolist(), none.grad

    assert on_ranks(2, work) == [([12, 12], [5, 5], None)] * 2


def test_a_rank_adds_up_the_pieces_of_its_batch_before_the_sum():
    def work(ranks):
        both, first_only = (Tensor(np.ones(2, np.float32), requires_grad=True) for _ in range(2))
        (both * 2 + first_only * 3).sum().backward()
        GradientSums([both, first_only], ranks).backward((both * 5).sum())
        return both.grad.tolist(), first_only.grad.tolist()

    assert on_ranks(2, work) == [([14, 14], [6, 6])] * 2


def test_sums_left_over_are_refused():
    p = Tensor(np.ones(2, np.float32), requires_grad=True)
    sums = GradientSums([p], ALONE)
    sums.backward((p * 2).sum())
    with pytest.raises(ArgumentError, match="zero_grad"):
        sums.backward((p * 2).sum())
    p.grad = None
    sums.backward((p * 3).sum())
    assert p.grad.tolist() == [3, 3]


def test_lenet_takes_an_empty_share():
    images, labels = batch(1, (1, 32, 32))
    copies = [models.create("lenet5", num_classes=10, in_channels=1) for _ in range(2)]
    copies[1].load_state_dict(copies[0].state_dict())
    found = on_ranks(2, lambda ranks: gradients_of_rank(ranks, copies[ranks.rank], images, labels)[0])
    copies[0].zero_grad()
    expected = gradients_alone(copies[0], images, labels)
    for name in expected:
        assert_close(found[0][name], expected[name], 1e-6)
