"""Convolution as a matrix: which input every output reads, and through which weight.

A linear layer's matrix is full. If outputs look only at what is near, most entries are absent: a band. If all look in
the same way, the entries along the band repeat: a convolution. ``Connections`` counts the three.
"""

from typing import Any, NamedTuple

import numpy as np

from minicnn.errors import ArgumentError, ShapeError
from minicnn.ops.geometry import Pair, integer, pair

LARGEST = 50_000_000  # entries of a matrix


class Connections(NamedTuple):
    """Arrows from inputs to outputs, and weights on them."""

    full: int  # arrows, each with a weight of its own, of a linear layer
    local: int  # arrows, each with a weight of its own, where outputs see only their window
    shared: int  # weights of the convolution, which every output shares


def taps(
    weight_shape: tuple[int, ...], size: Pair, stride: Pair = 1, padding: Pair = 0, dilation: Pair = 1, groups: int = 1
) -> np.ndarray:
    """Through which weight input j reaches output i: an index into the flat weights, or -1 for no arrow.

    **Shapes** weights (K, C/groups, KH, KW) and images (C, H, W) of ``size`` (H, W) give (K*OH*OW, C*H*W). One axis
    alone: weights (K, C, 1, KW) and ``size`` (1, W).
    """
    if len(weight_shape) != 4:
        raise ShapeError(f"taps: weights of shape {weight_shape}, expected (K, C/groups, KH, KW)")
    filters, depth, *kernel = weight_shape
    if filters % integer("taps", "groups", groups, 1):
        raise ArgumentError(f"taps: {groups=} does not divide the {filters} filters")
    extent, step = pair("taps", "size", size, 1), pair("taps", "stride", stride, 1)
    margin, spread = pair("taps", "padding", padding, 0), pair("taps", "dilation", dilation, 1)
    out = [(extent[a] + 2 * margin[a] - spread[a] * (kernel[a] - 1) - 1) // step[a] + 1 for a in (0, 1)]
    if min(out) < 1:
        raise ShapeError(f"taps: a kernel {kernel} does not fit images of {extent}; fix: more padding")
    shape = (filters * out[0] * out[1], depth * groups * extent[0] * extent[1])
    if shape[0] * shape[1] > LARGEST:
        raise ArgumentError(f"taps: a matrix of shape {shape} is past {LARGEST:,} entries; fix: a smaller image")
    found = np.full((filters, *out, depth * groups, *extent), -1)
    for index, (k, c, *tap) in enumerate(np.ndindex(*weight_shape)):
        for oy, ox in np.ndindex(*out):
            y, x = (o * step[a] + tap[a] * spread[a] - margin[a] for a, o in enumerate((oy, ox)))
            if 0 <= y < extent[0] and 0 <= x < extent[1]:
                found[k, oy, ox, k // (filters // groups) * depth + c, y, x] = index
    return found.reshape(shape)


def conv_matrix(weight: Any, size: Pair, **geometry: Any) -> np.ndarray:
    """The matrix M of a convolution without bias: ``conv2d(x, weight).ravel() == M @ x.ravel()`` for one image.

    ``geometry``: stride, padding, dilation, groups, as ``conv2d`` takes them. Shapes: see ``taps``.
    """
    values = np.asarray(weight)
    where = taps(values.shape, size, **geometry)
    return np.asarray(np.where(where >= 0, values.ravel()[where], values.dtype.type(0)))


def connections(where: np.ndarray) -> Connections:
    """The counts of a matrix of ``taps``."""
    present = where[where >= 0]
    return Connections(where.size, present.size, np.unique(present).size)
