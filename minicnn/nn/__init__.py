"""Layers: modules that own the parameters and buffers of the operations in ``minicnn.ops``, with PyTorch's names."""

from minicnn.nn import init
from minicnn.nn.activation import (
    CELU,
    ELU,
    GELU,
    SELU,
    Hardsigmoid,
    Hardswish,
    Hardtanh,
    LeakyReLU,
    LogSoftmax,
    Mish,
    PReLU,
    ReLU,
    ReLU6,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from minicnn.nn.containers import Flatten, Identity, ModuleDict, ModuleList, Sequential
from minicnn.nn.conv import Conv2d, ConvTranspose2d
from minicnn.nn.linear import Linear
from minicnn.nn.loss import BCELoss, BCEWithLogitsLoss, CrossEntropyLoss, L1Loss, MSELoss, NLLLoss, SmoothL1Loss
from minicnn.nn.lrn import LocalResponseNorm
from minicnn.nn.module import HookHandle, Module
from minicnn.nn.norm import BatchNorm1d, BatchNorm2d, GroupNorm, InstanceNorm2d, LayerNorm
from minicnn.nn.parameter import Parameter
from minicnn.nn.pool import (
    AdaptiveAvgPool2d,
    AdaptiveMaxPool2d,
    AvgPool2d,
    GlobalAvgPool2d,
    GlobalMaxPool2d,
    MaxPool2d,
    MaxUnpool2d,
    MinPool2d,
)
from minicnn.nn.random import AlphaDropout, DropConnectLinear, Dropout, Dropout2d, StochasticDepth
from minicnn.nn.rearrange import ChannelShuffle, Fold, PixelShuffle, PixelUnshuffle, Unfold, ZeroPad2d
from minicnn.nn.sampling import Upsample
from minicnn.nn.spatial_transformer import SpatialTransformer

__all__ = [
    "CELU",
    "ELU",
    "GELU",
    "SELU",
    "AdaptiveAvgPool2d",
    "AdaptiveMaxPool2d",
    "AlphaDropout",
    "AvgPool2d",
    "BCELoss",
    "BCEWithLogitsLoss",
    "BatchNorm1d",
    "BatchNorm2d",
    "ChannelShuffle",
    "Conv2d",
    "ConvTranspose2d",
    "CrossEntropyLoss",
    "DropConnectLinear",
    "Dropout",
    "Dropout2d",
    "Flatten",
    "Fold",
    "GlobalAvgPool2d",
    "GlobalMaxPool2d",
    "GroupNorm",
    "Hardsigmoid",
    "Hardswish",
    "Hardtanh",
    "HookHandle",
    "Identity",
    "InstanceNorm2d",
    "L1Loss",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "LocalResponseNorm",
    "LogSoftmax",
    "MSELoss",
    "MaxPool2d",
    "MaxUnpool2d",
    "MinPool2d",
    "Mish",
    "Module",
    "ModuleDict",
    "ModuleList",
    "NLLLoss",
    "PReLU",
    "Parameter",
    "PixelShuffle",
    "PixelUnshuffle",
    "ReLU",
    "ReLU6",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "SmoothL1Loss",
    "Softmax",
    "Softplus",
    "SpatialTransformer",
    "StochasticDepth",
    "Tanh",
    "Unfold",
    "Upsample",
    "ZeroPad2d",
    "init",
]
