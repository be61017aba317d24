"""Training on the GPU takes the CPU's steps, and ends as well."""

import numpy as np
import pytest

import minicnn
from minicnn import Tensor, data, models, ops, optim
from minicnn.train import TrainArgs, train
from tests.gpu.either import DEVICES, EMULATED

pytestmark = pytest.mark.gpu
STEPS, BATCH, SIZE = (3, 4, 8) if EMULATED else (20, 64, 32)


def losses(device):
    """Of the first steps of a ResNet-20 on the digits."""
    minicnn.manual_seed(0)
    model = models.resnet20(num_classes=10, in_channels=1).to(device)
    optimizer = optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
    digits = data.load("digits", "train", size=SIZE)
    found = []
    with minicnn.conv_plan("exact"):
        for step in range(STEPS):
            images, labels = digits.batch(np.arange(step * BATCH, (step + 1) * BATCH) % len(digits))
            loss = ops.cross_entropy(model(Tensor(images, device=device)), Tensor(labels, device=device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            found.append(loss.item())
    return np.array(found)


def test_the_first_losses_are_the_cpus():
    on_cpu, on_gpu = (losses(device) for device in DEVICES)
    assert np.abs(on_gpu - on_cpu).max() < 1e-4, (on_cpu, on_gpu)
    assert np.ptp(on_cpu) > 1e-2, "the steps changed nothing"


def test_the_same_seed_gives_the_same_losses():
    assert np.array_equal(losses("gpu"), losses("gpu"))


def test_the_digits_are_learnt_as_well_as_on_the_cpu(tmp_path):
    options = {"epochs": 1, "batch_size": 256, "augment": False} if EMULATED else {}
    accuracy = {
        device: train(TrainArgs(device=device, **options), tmp_path / device, quiet=True).test.accuracy
        for device in DEVICES
    }
    assert abs(accuracy["gpu"] - accuracy["cpu"]) <= 0.01, accuracy
