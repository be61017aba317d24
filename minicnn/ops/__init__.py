"""Differentiable operations under the names, argument names and argument order of ``torch.nn.functional``."""

import sys

from minicnn import operators
from minicnn.ops.activation import log_softmax, relu, softmax
from minicnn.ops.conv import conv2d
from minicnn.ops.linear import linear
from minicnn.ops.loss import cross_entropy, nll_loss
from minicnn.ops.norm import batch_norm, batch_norm_eval, batch_norm_train, group_norm, instance_norm, layer_norm
from minicnn.ops.pool import (
    adaptive_avg_pool2d,
    adaptive_max_pool2d,
    avg_pool2d,
    global_avg_pool2d,
    global_max_pool2d,
    max_pool2d,
    max_unpool2d,
    min_pool2d,
)
from minicnn.ops.random import alpha_dropout, drop_connect, dropout, dropout2d, stochastic_depth

__all__ = [
    "adaptive_avg_pool2d",
    "adaptive_max_pool2d",
    "alpha_dropout",
    "avg_pool2d",
    "batch_norm",
    "batch_norm_eval",
    "batch_norm_train",
    "conv2d",
    "cross_entropy",
    "drop_connect",
    "dropout",
    "dropout2d",
    "global_avg_pool2d",
    "global_max_pool2d",
    "group_norm",
    "instance_norm",
    "layer_norm",
    "linear",
    "log_softmax",
    "max_pool2d",
    "max_unpool2d",
    "min_pool2d",
    "nll_loss",
    "relu",
    "softmax",
    "stochastic_depth",
]

operators.ops = sys.modules[__name__]
