"""Observers: told in order, closed however the run ends, and named as the options say."""

import dataclasses

import pytest

from minicnn.errors import ArgumentError
from minicnn.train import TrainArgs, new_run
from minicnn.train.observer import OBSERVERS, Observer


class Told(Observer):
    """Notes what it is told."""

    def __init__(self):
        self.heard, self.steps = [], []

    def started(self, trainer):
        self.trainer = trainer
        self.heard.append("started")

    def step(self, figures):
        self.steps.append(figures)

    def epoch(self, row, best):
        assert self.trainer.run.last.is_file() and row is self.trainer.rows[-1]
        assert all(p.grad is not None for p in self.trainer.model.parameters())
        self.heard.append(f"epoch {row['epoch']} after {len(self.steps)} steps")

    def finished(self, result):
        self.heard.append(f"finished {result.test.total}")

    def close(self):
        self.heard.append("closed")


@pytest.fixture
def watched(small, tmp_path, monkeypatch):
    monkeypatch.setitem(OBSERVERS, "told", f"{__name__}:Told")
    trainer = new_run(dataclasses.replace(small, log="csv, told"), tmp_path / "run", quiet=True)
    return trainer, trainer.observers[1]


def test_what_they_are_told(watched):
    trainer, told = watched
    rows = trainer.fit().rows
    assert told.heard == ["started", "epoch 1 after 5 steps", "epoch 2 after 10 steps", "finished 360", "closed"]
    assert [figures["step"] for figures in told.steps] == list(range(1, 11))
    for epoch, row in enumerate(rows):
        steps = told.steps[5 * epoch : 5 * epoch + 5]
        seen = sum(figures["images"] for figures in steps)
        assert row["train_loss"] == pytest.approx(sum(f["loss"] * f["images"] for f in steps) / seen)
        assert row["train_accuracy"] == pytest.approx(sum(f["accuracy"] * f["images"] for f in steps) / seen)
        assert row["lr"] == steps[-1]["lr"]
    assert trainer.run.metrics.read_text(encoding="utf-8").count("\n") == 3


def test_they_are_closed_when_one_of_them_fails(watched, monkeypatch):
    trainer, told = watched
    monkeypatch.setattr(told, "step", lambda figures: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        trainer.fit()
    assert told.heard == ["started", "closed"]


def test_names():
    assert TrainArgs(log="").log == ""
    with pytest.raises(ArgumentError, match=r"log='cvs' is unknown, expected one of csv.*did you mean 'csv'"):
        TrainArgs(log="csv,cvs")
