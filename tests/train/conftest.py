"""A small model that holds every kind of state a checkpoint must carry."""

import dataclasses
from functools import cache

import pytest

from minicnn import data, nn
from minicnn.train import TrainArgs, new_run

SMALL = TrainArgs(size=8, epochs=2, batch_size=256, warmup_epochs=0, ema=0.9, workers=0)


def small_model(args, dataset):
    """Running statistics, masks drawn at random, weights: 8x8 images in, classes out."""
    return nn.Sequential(
        nn.Conv2d(dataset.shape[0], 4, 3, stride=2, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(64, len(dataset.classes)),
    )


@pytest.fixture
def small(monkeypatch):
    """Options of a run of two epochs of five steps with the small model; pictures are not drawn."""
    monkeypatch.setattr("minicnn.train.loop.build_model", small_model)
    monkeypatch.setattr("minicnn.train.run.draw_curves", lambda *args: None)
    monkeypatch.setattr("minicnn.train.run.draw_confusion", lambda *args: None)
    return SMALL


@cache
def few_digits():
    """The first digits of each part, small: five batches of 32 to train with."""
    parts = {}
    for part, count in (("train", 160), ("val", 60), ("test", 60)):
        whole = data.load("digits", part, size=8)
        raw, labels = whole.denormalise(whole.images[:count]), whole.labels[:count]
        parts[part] = data.ArrayDataset(raw, labels, whole.classes, whole.name, whole.mean, whole.std)
    return parts


@pytest.fixture
def tiny(small, monkeypatch):
    """As ``small``, five steps an epoch, in a tenth of the time; nothing is written but checkpoints and metrics."""
    monkeypatch.setattr("minicnn.train.loop.build_data", lambda args: few_digits())
    monkeypatch.setattr("minicnn.files.os.fsync", lambda handle: None)  # nobody pulls the plug of a test
    return dataclasses.replace(small, batch_size=32, log="csv")


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A run of the small model that nobody stopped, and its result; to be read only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("minicnn.train.loop.build_model", small_model)
        trainer = new_run(SMALL, tmp_path_factory.mktemp("runs") / "whole", quiet=True)
        return trainer, trainer.fit()
