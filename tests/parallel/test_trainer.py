"""What ranks tell each other of a step and of an evaluation."""

from types import SimpleNamespace

import numpy as np
import pytest

from minicnn.errors import ArgumentError
from minicnn.parallel.trainer import RankTrainer, joined
from minicnn.train import TrainArgs
from minicnn.train.evaluate import Evaluation, Samples
from minicnn.train.interrupt import StopRequest
from minicnn.train.loop import Figures, Trainer
from tests.close import assert_close
from tests.parallel.thread_ranks import on_ranks


def test_figures_are_those_of_the_whole_batch_and_ctrl_c_is_agreed_upon(monkeypatch):
    losses, corrects, images = (0.5, 2.0, float("nan")), (2, 1, 0), (3, 1, 0)  # the last rank has no image
    monkeypatch.setattr(
        Trainer,
        "_read_back",
        lambda self, pieces: [(p, losses[self.ranks.rank], corrects[self.ranks.rank]) for p in pieces],
    )

    def work(ranks):
        trainer = object.__new__(RankTrainer)
        trainer.ranks, trainer.heard, trainer.agreed = ranks, StopRequest(lambda: None), StopRequest(lambda: None)
        told = []
        for step in (1, 2):
            if step == 2 and ranks.rank == 1:
                trainer.heard.asked = True
            [(figures, loss, correct)] = trainer._read_back([Figures(step, None, None, images[ranks.rank], True, 0.1)])
            told.append((figures.images, loss, correct, trainer.agreed.asked))
        return told

    assert on_ranks(3, work) == [[(4, 0.875, 3, False), (4, 0.875, 3, True)]] * 3


def test_evaluations_of_parts_are_joined_in_their_order():
    def part(labels, answers):
        confusion = np.zeros((3, 3), np.int64)
        np.add.at(confusion, (labels, answers), 1)
        losses = np.asarray(labels) / 2 + 1
        return Evaluation(losses.mean(), confusion, Samples(np.array(labels), np.array(answers), losses, losses))

    whole, parts = part([0, 1, 2, 2, 0], [0, 2, 2, 1, 0]), [part([0, 1, 2], [0, 2, 2]), part([2, 0], [1, 0])]
    found = joined(parts)
    assert_close(found.loss, whole.loss, 1e-12)
    assert np.array_equal(found.confusion, whole.confusion)
    assert found.accuracy == whole.accuracy == 0.6
    for one, other in zip(found.samples, whole.samples, strict=True):
        assert np.array_equal(one, other)


def test_ranks_compute_in_float32():
    with pytest.raises(ArgumentError, match=r"precision='float16' with 2 ranks, .* fix: --precision float32"):
        RankTrainer(SimpleNamespace(size=2, rank=0), TrainArgs(precision="float16"), None)


@pytest.mark.parametrize("sync_bn", [False, True])
def test_ranks_introduce_themselves_last(monkeypatch, sync_bn):
    monkeypatch.setattr("minicnn.train.loop.introduction", lambda trainer: iter(["model   lenet5"]))
    trainer = object.__new__(RankTrainer)
    trainer.ranks, trainer.args = SimpleNamespace(size=3), TrainArgs(sync_bn=sync_bn)
    first, last = trainer._introduction()
    assert first == "model   lenet5" and last.startswith("ranks   3, threads each: ")
    assert last.endswith(", batch norm over all") == sync_bn
