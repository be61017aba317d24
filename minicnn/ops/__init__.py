"""Differentiable operations under the names, argument names and argument order of ``torch.nn.functional``."""

import sys

from minicnn import operators
from minicnn.ops.activation import log_softmax, relu, softmax
from minicnn.ops.arithmetic import add, div, mul, neg, pow, sub
from minicnn.ops.conv import conv2d, conv_transpose2d
from minicnn.ops.indexing import getitem
from minicnn.ops.linear import linear
from minicnn.ops.loss import cross_entropy, nll_loss
from minicnn.ops.lrn import local_response_norm
from minicnn.ops.matmul import matmul
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
from minicnn.ops.reduction import mean, sum
from minicnn.ops.sampling import affine_grid, grid_sample, interpolate
from minicnn.ops.shape import broadcast_to, flatten, permute, reshape, squeeze, transpose, unsqueeze
from minicnn.ops.unfold import fold, unfold

__all__ = [
    "adaptive_avg_pool2d",
    "adaptive_max_pool2d",
    "add",
    "affine_grid",
    "alpha_dropout",
    "avg_pool2d",
    "batch_norm",
    "batch_norm_eval",
    "batch_norm_train",
    "broadcast_to",
    "channel_shuffle",
    "conv2d",
    "conv_transpose2d",
    "cross_entropy",
    "div",
    "drop_connect",
    "dropout",
    "dropout2d",
    "flatten",
    "fold",
    "getitem",
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
    "matmul",
    "max_pool2d",
    "max_unpool2d",
    "mean",
    "min_pool2d",
    "mul",
    "neg",
    "nll_loss",
    "permute",
    "pixel_shuffle",
    "pixel_unshuffle",
    "pow",
    "relu",
    "reshape",
    "softmax",
    "squeeze",
    "stochastic_depth",
    "sub",
    "sum",
    "transpose",
    "unfold",
    "unsqueeze",
]

operators.ops = sys.modules[__name__]
