"""Evaluation against counts made by hand."""

import numpy as np
import pytest

from minicnn import Tensor, data
from minicnn.train.evaluate import evaluate, probabilities


class Lookup:
    """A model whose logits are the pixels themselves; it notes the mode it was run in."""

    training = True

    def __init__(self):
        self.modes = set()

    def train(self, mode=True):
        self.training = mode

    def eval(self):
        self.training = False

    def __call__(self, images):
        self.modes.add(self.training)
        return Tensor(images.numpy().reshape(-1, 3))


LOGITS = np.array([[3, 0, 0], [0, 2, 0], [0, 2, 1], [0, 0, 5], [1, 0, 0]], np.float32)
LABELS = [0, 1, 2, 2, 2]


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_counts_and_mean_loss(batch_size):
    dataset = data.ArrayDataset(LOGITS.reshape(5, 1, 1, 3), LABELS, ("a", "b", "c"))
    model = Lookup()
    found = evaluate(model, dataset, batch_size)
    assert found.confusion.tolist() == [[1, 0, 0], [0, 1, 0], [1, 1, 1]]  # rows are the truth
    assert (found.correct, found.total, found.accuracy) == (3, 5, 0.6)
    shares = np.exp(LOGITS) / np.exp(LOGITS).sum(axis=1, keepdims=True)
    assert found.loss == pytest.approx(-np.log(shares[range(5), LABELS]).mean(), rel=1e-6)
    assert found.samples.labels.tolist() == LABELS and found.samples.answers.tolist() == [0, 1, 1, 2, 0]
    assert np.allclose(found.samples.confidence, shares.max(axis=1), rtol=1e-6)
    assert np.allclose(found.samples.losses, -np.log(shares[range(5), LABELS]), rtol=1e-6)
    assert model.modes == {False} and model.training
    assert np.allclose(probabilities(model, LOGITS.reshape(5, 1, 1, 3)), shares, atol=1e-6)


def test_the_mode_comes_back_after_an_error():
    model = Lookup()
    model.__class__ = type("Broken", (Lookup,), {"__call__": lambda self, images: 1 / 0})
    dataset = data.ArrayDataset(LOGITS.reshape(5, 1, 1, 3), LABELS, ("a", "b", "c"))
    with pytest.raises(ZeroDivisionError):
        evaluate(model, dataset)
    assert model.training
