"""Moving channels and pixels without arithmetic: shuffles are a reshape, a transpose and a reshape."""

import math
from typing import Any

from minicnn.errors import ShapeError
from minicnn.kernels.arrays import Array, contiguous
from minicnn.ops.geometry import integer
from minicnn.record import record, unwrap
from minicnn.tensor import Tensor

Shape = tuple[int, ...]


def channel_shuffle(x: Any, groups: int) -> Tensor:
    """Channels dealt out across groups: output channel ``i*groups + g`` is input channel ``g*(C/groups) + i``.

    **Shapes** (N, C, *) -> same. **Saves** nothing. **See** ShuffleNet, section 3.1.
    """
    (xa,) = unwrap("channel_shuffle", x=x)
    groups = integer("channel_shuffle", "groups", groups, 1)
    if xa.ndim < 3:
        raise ShapeError(f"channel_shuffle: x has shape {xa.shape}, expected (N, C, *) of at least 3 dimensions")
    n, c, *rest = xa.shape
    if c % groups:
        raise ShapeError(f"channel_shuffle: groups={groups} does not divide the {c} channels of x {xa.shape}")
    split = (n, groups, c // groups, math.prod(rest))
    return _moved("channel_shuffle", x, xa, split, (0, 2, 1, 3), xa.shape)


def pixel_shuffle(x: Any, upscale_factor: int) -> Tensor:
    """Channels become pixels: each r x r block of the output holds r*r channels of one input pixel.

    **Shapes** (*, C*r*r, H, W) -> (*, C, H*r, W*r).
    **Math** ``y[c, i*r + p, j*r + q] = x[c*r*r + p*r + q, i, j]``. **Saves** nothing.
    **See** Shi et al. 2016, section 3.2.
    """
    (xa,) = unwrap("pixel_shuffle", x=x)
    r = integer("pixel_shuffle", "upscale_factor", upscale_factor, 1)
    *lead, channels, h, w = _image_shape("pixel_shuffle", xa)
    if channels % (r * r):
        raise ShapeError(
            f"pixel_shuffle: x {xa.shape} has {channels} channels, expected a multiple of upscale_factor**2 = {r * r}"
        )
    c = channels // (r * r)
    split = (math.prod(lead), c, r, r, h, w)
    return _moved("pixel_shuffle", x, xa, split, (0, 1, 4, 2, 5, 3), (*lead, c, h * r, w * r))


def pixel_unshuffle(x: Any, downscale_factor: int) -> Tensor:
    """Pixels become channels: the inverse of ``pixel_shuffle``.

    **Shapes** (*, C, H*r, W*r) -> (*, C*r*r, H, W). **Saves** nothing.
    """
    (xa,) = unwrap("pixel_unshuffle", x=x)
    r = integer("pixel_unshuffle", "downscale_factor", downscale_factor, 1)
    *lead, c, tall, wide = _image_shape("pixel_unshuffle", xa)
    if tall % r or wide % r:
        raise ShapeError(
            f"pixel_unshuffle: downscale_factor={r} does not divide the {tall} x {wide} pixels of x {xa.shape}"
        )
    h, w = tall // r, wide // r
    split = (math.prod(lead), c, h, r, w, r)
    return _moved("pixel_unshuffle", x, xa, split, (0, 1, 3, 5, 2, 4), (*lead, c * r * r, h, w))


def _image_shape(op: str, xa: Array) -> Shape:
    if xa.ndim < 3:
        raise ShapeError(f"{op}: x has shape {xa.shape}, expected (*, C, H, W) of at least 3 dimensions")
    shape: Shape = xa.shape
    return shape


def _moved(op: str, x: Any, xa: Array, split: Shape, order: Shape, out: Shape) -> Tensor:
    """``xa`` reshaped to ``split``, its axes put in ``order``, reshaped to ``out``; the way back undoes each step."""
    shape = xa.shape
    turned = tuple(split[axis] for axis in order)
    back = tuple(order.index(axis) for axis in range(len(order)))
    y = contiguous(xa.reshape(split).transpose(order)).reshape(out)

    def vjp(gy: Array, needs: tuple[bool, ...]) -> tuple[Array]:
        return (contiguous(gy.reshape(turned).transpose(back)).reshape(shape),)

    return record(op, y, (x,), vjp)
