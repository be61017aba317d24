"""Evaluation: loss, accuracy and confusion matrix of a model on a dataset."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from minicnn import ops
from minicnn.context import no_grad
from minicnn.data import DataLoader, Dataset
from minicnn.tensor import Tensor


class Samples(NamedTuple):
    """What a model said of each sample, in the dataset's order, (N,) each."""

    labels: NDArray[np.int64]
    answers: NDArray[np.int64]  # the class it took each for
    confidence: NDArray[np.float64]  # the probability it gave that class
    losses: NDArray[np.float64]  # cross-entropy: exp(-loss) is the probability it gave the true class


class Evaluation(NamedTuple):
    """``confusion[t, p]`` counts the samples of class t that were taken for class p; ``loss`` is the mean."""

    loss: float
    confusion: NDArray[np.int64]
    samples: Samples

    @property
    def correct(self) -> int:
        return int(self.confusion.trace())

    @property
    def total(self) -> int:
        return int(self.confusion.sum())

    @property
    def accuracy(self) -> float:
        return self.correct / self.total


def evaluate(model: Any, dataset: Dataset, batch_size: int = 256, device: str = "cpu") -> Evaluation:
    """Run ``model``, which is on ``device``, in eval mode over the whole dataset; its mode is restored afterwards."""
    classes = len(dataset.classes)
    confusion = np.zeros((classes, classes), np.int64)
    truths: list[NDArray[Any]] = []
    answers: list[Tensor] = []  # this and what follows is read back at the end: until then a GPU need not wait
    losses: list[Tensor] = []
    sure: list[Tensor] = []  # what the loss were if the answer were true
    was_training = model.training
    model.eval()
    try:
        with no_grad():
            for images, labels in DataLoader(dataset, batch_size):
                logits = model(Tensor(images, device=device))
                answers.append(ops.argmax(logits, 1))
                losses.append(ops.cross_entropy(logits, Tensor(labels, device=device), reduction="none"))
                sure.append(ops.cross_entropy(logits, answers[-1], reduction="none"))
                truths.append(labels)
            loss, unsure = ops.stack([ops.cat(losses), ops.cat(sure)]).numpy().astype(np.float64)
            samples = Samples(np.concatenate(truths), ops.cat(answers).numpy(), np.exp(-unsure), loss)
            np.add.at(confusion, (samples.labels, samples.answers), 1)
    finally:
        model.train(was_training)
    return Evaluation(float(loss.mean()), confusion, samples)


def probabilities(model: Any, images: NDArray[np.float32], device: str = "cpu") -> NDArray[np.float32]:
    """Class probabilities (N, classes) of normalised images (N, C, H, W), in eval mode."""
    model.eval()
    with no_grad():
        result: NDArray[np.float32] = ops.softmax(model(Tensor(images, device=device)), dim=1).numpy()
    return result
