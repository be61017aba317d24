"""The numbers of a run's page that a confusion matrix and the answers hold."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from minicnn.train.evaluate import Samples

Z95 = 1.959964  # a normal variable lies within this many standard deviations 95 times in 100


class ClassScore(NamedTuple):
    """Of what was taken for this class, and of what it was, the share that was right; NaN where there was none."""

    label: int
    images: int
    precision: float
    recall: float


class Bin(NamedTuple):
    """The answers given with a confidence of ``low`` to ``high``: how many, their mean confidence, how many right."""

    low: float
    high: float
    answers: int
    confidence: float
    accuracy: float


def interval(correct: int, total: int) -> tuple[float, float]:
    """Where the true accuracy lies, 95 times in 100, after ``correct`` of ``total`` answers were right.

    **Math** ``(p + z^2/2n +- z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n)``: stays within 0 and 1, also for few images.
    **See** Wilson, "Probable inference, the law of succession, and statistical inference", 1927.
    """
    share, z2 = correct / total, Z95**2 / total
    middle = share + z2 / 2
    half = Z95 * math.sqrt(share * (1 - share) / total + z2 / (4 * total))
    return max((middle - half) / (1 + z2), 0.0), min((middle + half) / (1 + z2), 1.0)


def class_scores(confusion: NDArray[np.int64]) -> list[ClassScore]:
    """Precision and recall of each class, the worst first (by the lower of the two); ``confusion[t, p]`` counts."""
    right, true, taken = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
    with np.errstate(invalid="ignore"):
        precision, recall = right / taken, right / true
    found = [
        ClassScore(k, int(true[k]), float(precision[k]), float(recall[k])) for k in range(len(confusion)) if true[k]
    ]
    return sorted(found, key=lambda score: (np.fmin(score.precision, score.recall), score.label))


def confused_pairs(confusion: NDArray[np.int64], most: int) -> list[tuple[int, int, int]]:
    """(true, taken for, how often) of the ``most`` frequent mistakes, the most frequent first."""
    wrong = confusion - np.diag(confusion.diagonal())
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    pairs = [(int(t), int(p), int(wrong[t, p])) for t, p in zip(*np.unravel_index(order, wrong.shape), strict=True)]
    return [pair for pair in pairs if pair[2]]


def calibration(samples: Samples, bins: int = 10) -> tuple[list[Bin], float]:
    """The answers by their confidence, and the expected calibration error.

    **Math** ``ECE = sum_b n_b / n |accuracy_b - confidence_b|`` over equal bins of confidence; empty bins are left out.
    **See** Guo et al., "On calibration of modern neural networks", 2017, section 2.
    """
    right = samples.answers == samples.labels
    place = np.minimum((samples.confidence * bins).astype(np.int64), bins - 1)
    found = []
    for b in range(bins):
        inside = place == b
        count = int(inside.sum())
        if count:
            mean = float(samples.confidence[inside].mean())
            found.append(Bin(b / bins, (b + 1) / bins, count, mean, float(right[inside].mean())))
    return found, sum(b.answers * abs(b.accuracy - b.confidence) for b in found) / len(right)


def worst_mistakes(samples: Samples, most: int) -> NDArray[np.int64]:
    """The indices of the ``most`` wrong answers of the highest loss, the worst first."""
    wrong = np.flatnonzero(samples.answers != samples.labels)
    return wrong[np.argsort(-samples.losses[wrong], kind="stable")[:most]]
