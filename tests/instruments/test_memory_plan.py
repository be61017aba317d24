"""Predicted memory against what tracemalloc counts in a real training step, each array with memory of its own."""

import gc
import tracemalloc

import numpy as np
import pytest

from minicnn import Tensor, checkpoint, models, nn, ops, optim
from minicnn.errors import ArgumentError
from minicnn.instruments.memory import checkpointed, largest_batch, plan
from minicnn.kernels.arena import own_memory


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

    with own_memory():
        steps(1)
        tracemalloc.start()
        try:
            return steps(2)
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize(
    ("name", "batch"),
    [
        ("lenet5", 256),
        ("resnet20_cifar10", 16),
        pytest.param("densenet121", 1, marks=pytest.mark.slow),
        pytest.param("mobilenet_v1_0.25_128", 8, marks=pytest.mark.slow),
        pytest.param("efficientnet_b0", 2, marks=pytest.mark.slow),
    ],
)
def test_the_prediction_is_within_ten_per_cent(name, batch):
    shape = models.info(name).input_shape
    found = plan(lambda: models.create(name), shape, batch)
    assert found.peak == pytest.approx(measured(lambda: models.create(name), shape, batch), rel=0.1)


def test_the_parts_by_hand():
    def build():
        return nn.Sequential(nn.Flatten(), nn.Linear(100, 50), nn.ReLU(), nn.Linear(50, 10))

    found = plan(build, (1, 10, 10), 1000, states=2)
    weights = 4 * (100 * 50 + 50 + 50 * 10 + 10)
    assert (found.weights, found.gradients, found.momentum) == (weights, weights, 2 * weights)
    # images once, as the batch and as what the first layer saves; the second saves the ReLU's result, as the ReLU does
    assert (found.images, found.saved) == (400_000, 200_000)
    assert found.peak >= found.weights + found.momentum + found.images + found.saved


def test_the_largest_batch_is_the_last_that_fits():
    def build():
        return models.create("lenet5")

    limit = plan(build, (1, 32, 32), 37).peak
    assert largest_batch(build, (1, 32, 32), limit) == 37
    assert largest_batch(build, (1, 32, 32), 1000) == 0
    with pytest.raises(ArgumentError, match="batch=0"):
        plan(build, (1, 32, 32), 0)


def test_checkpoints_by_a_real_step():
    def block():
        return nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU())

    class Net(nn.Module):
        def __init__(self, kept):
            super().__init__()
            self.blocks, self.kept = nn.Sequential(*(block() for _ in range(8))), kept
            self.head = nn.Sequential(nn.GlobalAvgPool2d(), nn.Flatten(), nn.Linear(8, 4))

        def forward(self, x):
            for part in self.blocks:
                x = part(x) if self.kept else checkpoint(part, x)
            return self.head(x)

    shape, batch = (8, 32, 32), 16
    expected = measured(lambda: Net(False), shape, batch)
    assert checkpointed(lambda: Net(True), shape, batch) == pytest.approx(expected, rel=0.25)
    assert checkpointed(lambda: Net(True), shape, batch) < 0.8 * plan(lambda: Net(True), shape, batch).peak
