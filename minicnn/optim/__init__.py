"""Optimisers, learning-rate schedules, gradient clipping and averages of weights, under PyTorch's names."""

from minicnn.optim.adam import Adam, AdamW
from minicnn.optim.adaptive import Adadelta, Adagrad, RMSprop
from minicnn.optim.optimizer import Optimizer
from minicnn.optim.sgd import SGD

__all__ = ["SGD", "Adadelta", "Adagrad", "Adam", "AdamW", "Optimizer", "RMSprop"]
