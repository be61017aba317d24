"""Differentiable operations under the names, argument names and argument order of ``torch.nn.functional``."""

import sys

from minicnn import operators
from minicnn.ops.activation import (
    celu,
    elu,
    gelu,
    hardsigmoid,
    hardswish,
    hardtanh,
    leaky_relu,
    log_softmax,
    logsigmoid,
    mish,
    prelu,
    relu,
    relu6,
    scaled_tanh,
    selu,
    sigmoid,
    silu,
    softmax,
    softplus,
    tanh,
)
from minicnn.ops.arithmetic import add, div, mul, neg, pow, sub
from minicnn.ops.comparison import eq, ge, gt, le, lt, maximum, minimum, ne, where
from minicnn.ops.conv import conv2d, conv_transpose2d
from minicnn.ops.conversion import astype, clone, to_device
from minicnn.ops.drop_path import drop_path
from minicnn.ops.extremes import amax, amin, argmax, argmin, max, min
from minicnn.ops.indexing import gather, getitem, index_select
from minicnn.ops.joining import cat, chunk, flip, split, stack
from minicnn.ops.linear import linear
from minicnn.ops.loss import cross_entropy, nll_loss
from minicnn.ops.loss_pairs import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    huber_loss,
    l1_loss,
    mse_loss,
    smooth_l1_loss,
)
from minicnn.ops.lrn import local_response_norm
from minicnn.ops.maths import abs, clip, cos, exp, log, log1p, reciprocal, rsqrt, sign, sin, sqrt, square
from minicnn.ops.matmul import matmul
from minicnn.ops.norm import (
    batch_norm,
    batch_norm_eval,
    batch_norm_train,
    group_norm,
    instance_norm,
    layer_norm,
    normalize,
)
from minicnn.ops.padding import pad
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
from minicnn.ops.reduction import logsumexp, mean, prod, std, sum, var
from minicnn.ops.sampling import affine_grid, grid_sample, interpolate
from minicnn.ops.shape import broadcast_to, flatten, permute, reshape, squeeze, transpose, unsqueeze
from minicnn.ops.unfold import fold, unfold

__all__ = [
    "abs",
    "adaptive_avg_pool2d",
    "adaptive_max_pool2d",
    "add",
    "affine_grid",
    "alpha_dropout",
    "amax",
    "amin",
    "argmax",
    "argmin",
    "astype",
    "avg_pool2d",
    "batch_norm",
    "batch_norm_eval",
    "batch_norm_train",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "broadcast_to",
    "cat",
    "celu",
    "channel_shuffle",
    "chunk",
    "clip",
    "clone",
    "conv2d",
    "conv_transpose2d",
    "cos",
    "cross_entropy",
    "div",
    "drop_connect",
    "drop_path",
    "dropout",
    "dropout2d",
    "elu",
    "eq",
    "exp",
    "flatten",
    "flip",
    "fold",
    "gather",
    "ge",
    "gelu",
    "getitem",
    "global_avg_pool2d",
    "global_max_pool2d",
    "grid_sample",
    "group_norm",
    "gt",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "huber_loss",
    "index_select",
    "instance_norm",
    "interpolate",
    "l1_loss",
    "layer_norm",
    "le",
    "leaky_relu",
    "linear",
    "local_response_norm",
    "log",
    "log1p",
    "log_softmax",
    "logsigmoid",
    "logsumexp",
    "lt",
    "matmul",
    "max",
    "max_pool2d",
    "max_unpool2d",
    "maximum",
    "mean",
    "min",
    "min_pool2d",
    "minimum",
    "mish",
    "mse_loss",
    "mul",
    "ne",
    "neg",
    "nll_loss",
    "normalize",
    "pad",
    "permute",
    "pixel_shuffle",
    "pixel_unshuffle",
    "pow",
    "prelu",
    "prod",
    "reciprocal",
    "relu",
    "relu6",
    "reshape",
    "rsqrt",
    "scaled_tanh",
    "selu",
    "sigmoid",
    "sign",
    "silu",
    "sin",
    "smooth_l1_loss",
    "softmax",
    "softplus",
    "split",
    "sqrt",
    "square",
    "squeeze",
    "stack",
    "std",
    "stochastic_depth",
    "sub",
    "sum",
    "tanh",
    "to_device",
    "transpose",
    "unfold",
    "unsqueeze",
    "var",
    "where",
]

# Other names of the same functions.
clamp = clip
concatenate = cat

operators.ops = sys.modules[__name__]
