"""Convolutions."""

from typing import Any

from minicnn.errors import ShapeError
from minicnn.kernels import conv as K
from minicnn.ops.geometry import Padding, Pair, batched, integer, window2d
from minicnn.record import record, unwrap
from minicnn.tensor import Tensor


def conv2d(
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: int = 1,
) -> Tensor:
    """Cross-correlation of images with filters (what deep learning calls convolution: the filter is not flipped).

    **Shapes** x (N, C, H, W) or (C, H, W), weight (K, C/groups, kh, kw), bias (K,) -> (N, K, OH, OW) or (K, OH, OW);
    ``OH = floor((H + top + bottom - dh*(kh-1) - 1) / sh) + 1``, OW likewise. ``padding`` is p, (ph, pw),
    ((top, bottom), (left, right)), ``"valid"`` or ``"same"`` (stride 1; an odd pixel of padding goes to the end).

    **Math** ``y[n,k,i,j] = b[k] + sum_{c,p,q} W[k,c,p,q] x[n, c, i*sh + p*dh - top, j*sw + q*dw - left]``, 0 outside
    the image; with groups, filter k sees the channels of group ``k // (K/groups)`` only.

    **Saves** x and weight. ``minicnn.conv_plan`` forces how it is computed.

    **Raises** ShapeError for channels, groups or ranks that do not fit, or a window larger than the padded image.
    """
    xa, wa, ba = unwrap("conv2d", x=x, weight=weight, bias=bias)
    images, unbatched = batched("conv2d", xa)
    groups = _check_filters("conv2d", wa.shape, groups)
    _check_channels(images.shape, wa.shape, groups)
    _check_bias("conv2d", ba, wa.shape[0])
    window = window2d("conv2d", images.shape[2:], wa.shape[2:], stride, padding, dilation)
    knob = K.current_plan()
    y = K.conv2d_forward(images, wa, ba, window, groups, knob)

    def vjp(gy: Any, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        g = gy.reshape(len(images), len(wa), *window.out)
        return (
            K.conv2d_grad_x(g, wa, window, groups, knob).reshape(xa.shape) if needs[0] else None,
            K.conv2d_grad_w(g, images, window, groups, knob) if needs[1] else None,
            g.sum((0, 2, 3)) if needs[2] else None,
        )

    return record("conv2d", y[0] if unbatched else y, (x, weight, bias), vjp)


def _check_filters(op: str, weight: tuple[int, ...], groups: Any) -> int:
    if len(weight) != 4:
        layout = "(K, C/groups, kh, kw)" if op == "conv2d" else "(C, K/groups, kh, kw)"
        raise ShapeError(f"{op}: weight has shape {weight}, expected {layout}")
    count = integer(op, "groups", groups, 1)
    if weight[0] % count:
        raise ShapeError(f"{op}: groups={count} does not divide the {weight[0]} filters of weight {weight}")
    return count


def _check_channels(x: tuple[int, ...], weight: tuple[int, ...], groups: int) -> None:
    if x[1] % groups:
        raise ShapeError(f"conv2d: groups={groups} does not divide the {x[1]} channels of x {x}")
    if x[1] != weight[1] * groups:
        raise ShapeError(
            f"conv2d: x has {x[1]} channels (shape {x}), but weight {weight} with groups={groups} expects "
            f"{weight[1] * groups}; fix: a weight of shape {(weight[0], x[1] // groups, *weight[2:])}"
        )


def _check_bias(op: str, bias: Any, k: int) -> None:
    if bias is not None and bias.shape != (k,):
        raise ShapeError(f"{op}: bias has shape {bias.shape}, expected {(k,)}: one number a filter")
