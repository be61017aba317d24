"""Runs that never ran, for pages: any number of classes, epochs and mistakes, from a small seed."""

from pathlib import Path

import numpy as np

from minicnn import data
from minicnn.train import Evaluation, TrainArgs
from minicnn.train.evaluate import Samples
from minicnn.train.page import Story, tell

FACTS = {"parameters": "61,706", "multiply-adds an image": "416,520", "device": "cpu", "processor": "<made> of & sand"}


def rows(epochs):
    """A loss that falls, an accuracy that rises, one line an epoch."""
    found = []
    for k in range(1, epochs + 1):
        loss, right = 2.3 / k, 1 - 0.9 / k
        row = {"epoch": k, "lr": 0.1 / k, "train_loss": loss, "train_accuracy": right, "val_loss": 1.1 * loss}
        found.append(row | {"val_accuracy": right - 0.01, "images_per_s": 1000.0 + k, "seconds": 1.5, "waited": 0.3})
    return found


def pictures(classes, count, shape):
    """Noise, the hardest to compress; the labels go round."""
    noise = np.random.default_rng(0).random((count, *shape), np.float32)
    return data.ArrayDataset(noise, np.arange(count) % len(classes), classes, "noise", mean=0.5, std=0.25)


def answers(dataset, wrong):
    """Every ``wrong``-th sample is taken for the next class, surely; the others are right, less surely."""
    labels, count = dataset.labels, len(dataset.classes)
    missed = np.arange(1, len(labels) + 1) % wrong == 0
    taken = np.where(missed, (labels + 1) % count, labels)
    confidence = np.where(missed, 0.9, 0.7)
    losses = np.where(missed, 2.5 + np.arange(len(labels)) / len(labels), -np.log(0.7))
    confusion = np.zeros((count, count), np.int64)
    np.add.at(confusion, (labels, taken), 1)
    return Evaluation(float(losses.mean()), confusion, Samples(labels, taken, confidence, losses))


def story(classes, epochs=5, count=300, shape=(3, 12, 12), wrong=7, finished=True, folder="runs/made-1") -> Story:
    """A run of ``epochs`` epochs; ``finished`` when its test part was looked at."""
    dataset = pictures(classes, count, shape)
    args = TrainArgs(model="resnet20", data="shapes", epochs=epochs if finished else 2 * epochs, augment=False)
    parts = dict.fromkeys(("train", "val", "test"), dataset)
    test = answers(dataset, wrong) if finished else None
    return tell(args, Path(folder), rows(epochs), parts, FACTS, test)
