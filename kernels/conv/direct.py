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
    _twin(x).direct_forward(x, weight, shift, y, tuple(window), groups)


def grad_x(gy: Array, weight: Array, window: Window2d, groups: int, gx: Array) -> None:
    """Plan direct: ``gx (N, C, H, W)``.

    At stride 1 it is a convolution of gy with the filters turned by 180 degrees, which the faster kernel does.
    """
    if (window.sh, window.sw) != (1, 1):
        _twin(gy).direct_grad_x(gy, weight, gx, tuple(window), groups)
        return
    forward(gy, turned(weight, groups), None, backwards(window), groups, gx)


def grad_w(gy: Array, x: Array, window: Window2d, groups: int, gw: Array) -> None:
    """Plan direct: ``gw (K, C/g, kh, kw)``."""
    _twin(x).direct_grad_w(gy, x, gw, tuple(window), groups)


def _twin(x: Array) -> Any:
    """The module with the kernels for the kind of ``x``; on the CPU a file of their own."""
    on_cpu = type(x) is np.ndarray
    return importlib.import_module("minicnn.kernels.conv.direct_cpu") if on_cpu else twin("minicnn.kernels.conv", x)
