"""Optimisers, learning-rate schedules, gradient clipping and averages of weights, under PyTorch's names."""

from minicnn.optim.adam import Adam, AdamW
from minicnn.optim.adaptive import Adadelta, Adagrad, RMSprop
from minicnn.optim.average import WeightAverage
from minicnn.optim.clip import clip_grad_norm_, clip_grad_value_
from minicnn.optim.optimizer import Optimizer
from minicnn.optim.plateau import ReduceLROnPlateau
from minicnn.optim.schedules import (
    ConstantLR,
    CosineAnnealingLR,
    CosineAnnealingWarmRestarts,
    ExponentialLR,
    LambdaLR,
    LinearWarmup,
    MultiStepLR,
    OneCycleLR,
    PolynomialLR,
    Schedule,
    StepLR,
)
from minicnn.optim.sgd import SGD

__all__ = [
    "SGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "ConstantLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "ExponentialLR",
    "LambdaLR",
    "LinearWarmup",
    "MultiStepLR",
    "OneCycleLR",
    "Optimizer",
    "PolynomialLR",
    "RMSprop",
    "ReduceLROnPlateau",
    "Schedule",
    "StepLR",
    "WeightAverage",
    "clip_grad_norm_",
    "clip_grad_value_",
]
