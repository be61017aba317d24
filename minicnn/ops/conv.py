"""Convolutions."""

from typing import Any

from minicnn.errors import ArgumentError, ShapeError
from minicnn.kernels import conv as K
from minicnn.kernels.precision import float32_precision
from minicnn.kernels.reduction import channel_sum
from minicnn.kernels.window import Window2d
from minicnn.ops.geometry import Padding, Pair, batched, integer, pair, window2d
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
    how = K.current_plan(), float32_precision()  # of backward too
    y = K.conv2d_forward(images, wa, ba, window, groups, *how)

    def vjp(gy: Any, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        g = gy.reshape(len(images), len(wa), *window.out)
        return (
            K.conv2d_grad_x(g, wa, window, groups, *how).reshape(xa.shape) if needs[0] else None,
            K.conv2d_grad_w(g, images, window, groups, *how) if needs[1] else None,
            channel_sum(g) if needs[2] else None,
        )

    return record("conv2d", y[0] if unbatched else y, (x, weight, bias), vjp)


def conv_transpose2d(
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: Pair = 1,
    padding: Padding = 0,
    output_padding: Pair = 0,
    groups: int = 1,
    dilation: Pair = 1,
) -> Tensor:
    """Transposed convolution: the map that takes ``gy`` to ``gx`` in a ``conv2d`` with the same filters.

    **Shapes** x (N, C, H, W) or (C, H, W), weight (C, K/groups, kh, kw), bias (K,) -> (N, K, OH, OW);
    ``OH = (H - 1)*sh - top - bottom + dh*(kh-1) + output_padding + 1``, OW likewise. ``output_padding`` picks one of
    the sizes that ``conv2d`` with this stride maps to H; it adds no zeros to x.

    **Math** every pixel of x adds itself times the filter: ``y[n, k, i*sh + p*dh - top, j*sw + q*dw - left] +=
    W[c,k,p,q] x[n,c,i,j]`` for all c of k's group.

    **Saves** x and weight.

    **Raises** ShapeError for channels, groups or ranks that do not fit, or a padding that leaves no pixel;
    ArgumentError unless output_padding is smaller than stride or dilation.

    **See** Dumoulin, Visin 2016, section 4.
    """
    xa, wa, ba = unwrap("conv_transpose2d", x=x, weight=weight, bias=bias)
    images, unbatched = batched("conv_transpose2d", xa)
    groups = _check_filters("conv_transpose2d", wa.shape, groups)
    if images.shape[1] != wa.shape[0]:
        raise ShapeError(
            f"conv_transpose2d: x has {images.shape[1]} channels (shape {images.shape}), but weight {wa.shape} expects "
            f"{wa.shape[0]}; fix: a weight of shape {(images.shape[1], *wa.shape[1:])}"
        )
    _check_bias("conv_transpose2d", ba, wa.shape[1] * groups)
    window = transposed_window2d(images.shape[2:], wa.shape[2:], stride, padding, output_padding, dilation)
    how = K.current_plan(), float32_precision()  # of backward too
    y = K.conv_transpose2d_forward(images, wa, ba, window, groups, *how)

    def vjp(gy: Any, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        g = gy.reshape(len(images), wa.shape[1] * groups, window.h, window.w)
        return (
            K.conv2d_forward(g, wa, None, window, groups, *how).reshape(xa.shape) if needs[0] else None,
            K.conv2d_grad_w(images, g, window, groups, *how) if needs[1] else None,
            channel_sum(g) if needs[2] else None,
        )

    return record("conv_transpose2d", y[0] if unbatched else y, (x, weight, bias), vjp)


def transposed_window2d(
    size: tuple[int, int], kernel_size: Any, stride: Any, padding: Any, output_padding: Any, dilation: Any
) -> Window2d:
    """The window of the convolution whose *output* has ``size``: h, w are the transposed convolution's output."""
    op = "conv_transpose2d"
    if isinstance(padding, str):
        raise ArgumentError(f"{op}: padding={padding!r} is not defined here, expected numbers; fix: padding=0")
    strides, dilations = pair(op, "stride", stride, 1), pair(op, "dilation", dilation, 1)
    # An image exactly as large as the window: what is left to window2d is to parse the numbers.
    kernel = pair(op, "kernel_size", kernel_size, 1)
    spans = tuple(d * (k - 1) + 1 for d, k in zip(dilations, kernel, strict=True))
    window = window2d(op, (spans[0], spans[1]), kernel, strides, padding, dilations)
    extra = pair(op, "output_padding", output_padding, 0)
    for axis, e, s, d in zip(("height", "width"), extra, strides, dilations, strict=True):
        if e >= max(s, d):
            raise ArgumentError(
                f"{op}: output_padding={output_padding!r} is too large for the {axis}, "
                f"expected less than its stride {s} or its dilation {d}"
            )
    h = (size[0] - 1) * strides[0] - window.top - window.bottom + spans[0] + extra[0]
    w = (size[1] - 1) * strides[1] - window.left - window.right + spans[1] + extra[1]
    if min(*size, h, w) < 1:
        raise ShapeError(f"{op}: an image of {tuple(size)} with padding={padding!r} gives an output of {(h, w)} pixels")
    return window._replace(h=h, w=w, oh=size[0], ow=size[1])


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
