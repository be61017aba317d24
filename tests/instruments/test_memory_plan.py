"""Predicted memory against what tracemalloc counts in a real training step, each array with memory of its own."""

import gc
import tracemalloc
from functools import partial

import numpy as np
import pytest

from minicnn import Tensor, models, nn, ops, optim
from minicnn.checkpoint import checkpoint
from minicnn.errors import ArgumentError, GradientError
from minicnn.instruments.memory import best_checkpoints, largest_batch, plan
from minicnn.kernels import arena
from minicnn.kernels.shape_array import ShapeArray, told_to


def measured(build, shape, batch):
    """The peak of a step, with all weights, after one that compiled what there is to compile."""
    x, labels = np.zeros((batch, *shape), np.float32), np.zeros(batch, np.int64)

    def steps(count):
        images, model = Tensor(x.copy()), build()
        optimizer = optim.SGD(model.parameters(), lr=0.0, momentum=0.9)
        for _ in range(count):
            gc.collect()
            tracemalloc.reset_peak()
            optimizer.zero_grad()
            ops.cross_entropy(model(images), labels).backward()
            optimizer.step()
        return tracemalloc.get_traced_memory()[1]

    with arena.own_memory():
        steps(1)
        tracemalloc.start()
        try:
            return steps(2)
        finally:
            tracemalloc.stop()


class Blocks(nn.Module):
    """Convolutions in blocks, each a checkpoint or not."""

    def __init__(self, wrapped):
        super().__init__()
        block = (nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU())
        self.blocks, self.wrapped = nn.Sequential(*(nn.Sequential(*block) for _ in range(8))), wrapped
        self.head = nn.Sequential(nn.GlobalAvgPool2d(), nn.Flatten(), nn.Linear(8, 4))

    def forward(self, x):
        for part in self.blocks:
            x = checkpoint(part, x) if self.wrapped else part(x)
        return self.head(x)


@pytest.mark.parametrize(
    ("name", "batch"),
    [
        ("lenet5", 256),
        pytest.param("resnet20_cifar10", 16, marks=pytest.mark.slow),
        pytest.param("densenet121", 1, marks=pytest.mark.slow),
        pytest.param("mobilenet_v1_0.25_128", 8, marks=pytest.mark.slow),
        pytest.param("efficientnet_b0", 2, marks=pytest.mark.slow),
        pytest.param("shufflenet_v1_g3_1.0x", 2, marks=pytest.mark.slow),
    ],
)
def test_the_prediction_is_within_three_per_cent(name, batch):
    shape, build = models.info(name).input_shape, partial(models.create, name)
    assert plan(build, shape, batch).peak == pytest.approx(measured(build, shape, batch), rel=0.03)


@pytest.mark.parametrize("wrapped", [False, True])
def test_checkpoints_by_a_real_step(wrapped):
    shape, batch, build = (8, 32, 32), 16, partial(Blocks, wrapped)
    found = plan(build, shape, batch)
    assert found.peak == pytest.approx(measured(build, shape, batch), rel=0.03)
    if wrapped:
        least = plan(partial(Blocks, False), shape, batch, checkpoints=2)
        assert least.peak == pytest.approx(found.peak, rel=0.01)
        assert best_checkpoints(partial(Blocks, False), shape, batch) == (2, least)


def test_the_arena_of_the_plan_is_the_arena_of_the_step(monkeypatch):
    """Where the step's arrays lie, and so how much of the regions is ever touched."""
    real, build, shape, batch = arena.Arena(), partial(Blocks, False), (8, 32, 32), 64
    ends = dict[int, int]()
    take = real.take

    def watched(size):
        place = take(size)
        begin = real.begin_of(place)
        ends[begin] = max(ends.get(begin, 0), place + size)
        return place

    monkeypatch.setattr(real, "take", watched)
    monkeypatch.setattr(arena, "arena", real)
    model, x = build(), Tensor(np.zeros((batch, *shape), np.float32))
    optimizer = optim.SGD(model.parameters(), lr=0.0, momentum=0.9)
    for _ in range(2):
        optimizer.zero_grad()
        ops.sum(model(x)).backward()
        optimizer.step()
    found = plan(build, shape, batch)
    touched = sum(end - begin for begin, end in ends.items())
    outside = found.weights + found.images + found.gradients + found.optimizer
    assert found.peak < found.resident == pytest.approx(touched + outside, rel=0.03)


def test_the_parts_by_hand():
    def build():
        return nn.Sequential(nn.Flatten(), nn.Linear(100, 50), nn.ReLU(), nn.Linear(50, 10))

    found = plan(build, (1, 10, 10), 1000, partial(optim.Adam, lr=0.1))
    weights = 4 * (100 * 50 + 50 + 50 * 10 + 10)
    assert (found.weights, found.gradients, found.optimizer) == (weights, weights, 2 * weights)
    # images once, as the batch and as what the first layer saves; the second saves the ReLU's result, as the ReLU does
    assert found.images == 400_000 and found.saved == pytest.approx(200_000, abs=8192)
    assert found.peak >= found.weights + found.optimizer + found.images + found.saved
    assert found.at == "backward of 2: relu"


def test_the_largest_batch_is_the_last_that_fits():
    build, shape = partial(models.create, "lenet5"), (1, 32, 32)
    limit = plan(build, shape, 37).resident
    assert largest_batch(build, shape, limit) == 37
    assert largest_batch(build, shape, limit, optim.Adam) < 37
    assert largest_batch(build, shape, 1000) == 0
    with pytest.raises(ArgumentError, match="batch=0"):
        plan(build, shape, 0)


def test_a_part_that_cannot_be_a_checkpoint_says_so():
    class Outside(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.outside = nn.Conv2d(3, 3, 1), Sum()

        def forward(self, x):
            self.outside.other = self.conv(x)
            return self.outside(x)

    class Sum(nn.Module):
        def forward(self, x):
            return x + self.other

    with pytest.raises(GradientError, match="outside"):
        plan(Outside, (3, 4, 4), 2, checkpoints=1)
    assert best_checkpoints(Outside, (3, 4, 4), 2)[0] == 0


def test_a_ledger_hears_of_arrays_and_not_of_views():
    class Book:
        def __init__(self):
            self.lines = []

        def born(self, array):
            self.lines.append(("born", array.nbytes))

        def died(self, array):
            self.lines.append(("died", array.nbytes))

    book = Book()
    with told_to(book):
        x = ShapeArray((2, 4), np.float32)
        view = x.T
        y = view + 1
        del y, view
        del x
    assert book.lines == [("born", 32), ("born", 32), ("died", 32), ("died", 32)]
    ShapeArray((5,), np.float32)
    assert ("born", 20) not in book.lines
