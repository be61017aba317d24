"""A run whose loader mixes images and labels: it learns, counts hits by the larger label, and repeats to the bit."""

import numpy as np
import pytest

from minicnn import ops
from minicnn.data.augment.mix import CutMix, MixUp, OneOf, PairMix
from minicnn.train import new_run


class Mostly(PairMix):
    """Keeps three quarters of each label and every image, so that the larger label is the true one."""

    def blend(self, images, others, kept, rngs):
        return images, np.full(len(images), 0.75)


def trained(tiny, folder, mix):
    trainer = new_run(tiny, folder, quiet=True)
    trainer.loader.mix = mix
    trainer.fit()
    return trainer


def test_hits_are_counted_against_the_larger_label(tiny, tmp_path, monkeypatch):
    trainer = new_run(tiny, tmp_path / "run", quiet=True)
    trainer.loader.mix = Mostly(1.0, 1.0)
    truths = trainer.data["train"].labels[trainer.loader.order(0)]
    answers = []

    def seen(logits, target, **options):
        answers.append(logits.detach().numpy().argmax(axis=1))
        return cross_entropy(logits, target, **options)

    cross_entropy = ops.cross_entropy
    with monkeypatch.context() as patch:
        patch.setattr("minicnn.train.loop.ops.cross_entropy", seen)
        trainer.fit()
    first = np.concatenate(answers[:5])
    assert len(truths) == len(first) == 160
    assert trainer.rows[0]["train_accuracy"] == pytest.approx(np.mean(first == truths))


def test_a_mixed_run_repeats_to_the_bit(tiny, tmp_path):
    mix = OneOf(MixUp(1.0), CutMix())
    first, second = (trained(tiny, tmp_path / name, mix) for name in ("a", "b"))
    plain = trained(tiny, tmp_path / "c", None)
    for name, weight in first.model.state_dict().items():
        np.testing.assert_array_equal(weight, second.model.state_dict()[name])
    losses = [[row["train_loss"] for row in trainer.rows] for trainer in (first, second, plain)]
    assert losses[0] == losses[1] != losses[2] and np.isfinite(losses).all()
