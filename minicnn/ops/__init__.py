"""Differentiable operations under the names, argument names and argument order of ``torch.nn.functional``."""

import sys

from minicnn import operators
from minicnn.ops.activation import log_softmax, relu, softmax
from minicnn.ops.conv import conv2d, conv_transpose2d
from minicnn.ops.linear import linear
from minicnn.ops.loss import cross_entropy, nll_loss
from minicnn.ops.lrn import local_response_norm
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
from minicnn.ops.rearrange import channel_shuffle, pixel_shuffle, pixel_unshuffle
from minicnn.ops.sampling import affine_grid, grid_sample, interpolate
from minicnn.ops.unfold import fold, unfold

__all__ = [
    "adaptive_avg_pool2d",
    "adaptive_max_pool2d",
    "affine_grid",
    "alpha_dropout",
    "avg_pool2d",
    "batch_norm",
    "batch_norm_eval",
    "batch_norm_train",
    "channel_shuffle",
    "conv2d",
    "conv_transpose2d",
    "cross_entropy",
    "drop_connect",
    "dropout",
    "dropout2d",
    "fold",
    "global_avg_pool2d",
    "global_max_pool2d",
    "grid_sample",
    "group_norm",
    "instance_norm",
    "interpolate",
    "layer_norm",
    "linear",
    "local_response_norm",
    "log_softmax",
    "max_pool2d",
    "max_unpool2d",
    "min_pool2d",
    "nll_loss",
    "pixel_shuffle",
    "pixel_unshuffle",
    "relu",
    "softmax",
    "stochastic_depth",
    "unfold",
]

operators.ops = sys.modules[__name__]
