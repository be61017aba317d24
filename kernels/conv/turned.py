"""The gradient of the image as a convolution of the upstream gradient with the filters turned."""

import importlib
from functools import cache
from typing import Any

from minicnn.kernels.arrays import Array, array_module, is_cupy
from minicnn.kernels.conv.workspace import scratch
from minicnn.kernels.window import Window2d


def backwards(window: Window2d) -> Window2d:
    """The window of gx seen as a convolution of gy, at stride 1.

    Its paddings are negative where forward's exceed the kernel.
    """
    reach_h, reach_w = window.dh * (window.kh - 1), window.dw * (window.kw - 1)
    return window._replace(
        h=window.oh,
        w=window.ow,
        oh=window.h,
        ow=window.w,
        top=reach_h - window.top,
        bottom=reach_h - window.bottom,
        left=reach_w - window.left,
        right=reach_w - window.right,
    )


def turned(weight: Array, groups: int) -> Array:
    """The filters of that convolution, (C, K/groups, kh, kw): turned by 180 degrees, filters and channels exchanged."""
    k, channels, kh, kw = weight.shape
    filters = weight.reshape(groups, k // groups, channels, kh * kw)
    if is_cupy(weight):
        contiguous = array_module(weight).ascontiguousarray(filters[..., ::-1].swapaxes(1, 2))
        return contiguous.reshape(groups * channels, k // groups, kh, kw)
    exchanged = scratch(weight, "turned filters", (groups * channels, k // groups * kh * kw))
    _kernels().turn(filters, exchanged)
    return exchanged.reshape(groups * channels, k // groups, kh, kw)


@cache
def _kernels() -> Any:
    return importlib.import_module("minicnn.kernels.conv.columns_cpu")


def read_by(phase: int, kernel: int, stride: int, pad: int, dilation: int) -> dict[int, int]:
    """Shift -> tap: the taps of output i + shift that read pixel stride*i + phase; shifts ascend."""
    reached = {tap: phase + pad - tap * dilation for tap in reversed(range(kernel))}
    return {place // stride: tap for tap, place in reached.items() if place % stride == 0}
