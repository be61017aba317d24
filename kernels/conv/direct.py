"""Convolution without columns, for many small groups: the plan ``direct``."""

import importlib
from typing import Any

import numpy as np

from minicnn.kernels.arrays import Array, twin
from minicnn.kernels.conv.turned import backwards, turned
from minicnn.kernels.window import Window2d


def forward(x: Array, weight: Array, bias: Array | None, window: Window2d, groups: int, y: Array) -> None:
    """Plan direct: ``y (N, K, OH, OW)``."""
    shift = x.reshape(-1)[:0] if bias is None else bias
    _kernels(x, weight, groups).direct_forward(x, weight, shift, y, tuple(window), groups)


def grad_x(gy: Array, weight: Array, window: Window2d, groups: int, gx: Array) -> None:
    """Plan direct: ``gx (N, C, H, W)``.

    At stride 1 it is a convolution of gy with the filters turned by 180 degrees, which the faster kernel of a GPU and
    of a depthwise convolution does.
    """
    if (window.sh, window.sw) == (1, 1) and not _is_grouped(gy, weight, groups):
        forward(gy, turned(weight, groups), None, backwards(window), groups, gx)
    else:
        _kernels(gy, weight, groups).direct_grad_x(gy, weight, gx, tuple(window), groups)


def grad_w(gy: Array, x: Array, window: Window2d, groups: int, gw: Array) -> None:
    """Plan direct: ``gw (K, C/g, kh, kw)``."""
    _kernels(x, gw, groups).direct_grad_w(gy, x, gw, tuple(window), groups)


def _is_grouped(x: Array, weight: Array, groups: int) -> bool:
    """Whether groups on the CPU have several channels and filters: products of matrices pay."""
    return type(x) is np.ndarray and min(weight.shape[1], len(weight) // groups) > 1


def _kernels(x: Array, weight: Array, groups: int) -> Any:
    """The module with the kernels for the kind of ``x``; on the CPU files of their own."""
    if _is_grouped(x, weight, groups):
        return importlib.import_module("minicnn.kernels.conv.grouped")
    on_cpu = type(x) is np.ndarray
    return importlib.import_module("minicnn.kernels.conv.direct_cpu") if on_cpu else twin("minicnn.kernels.conv", x)
