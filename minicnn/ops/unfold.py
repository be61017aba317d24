"""Columns of an image (im2col) and back, as operations of their own: convolution is ``W @ unfold(x)``."""

from typing import Any

from minicnn.errors import ShapeError
from minicnn.kernels import conv as K
from minicnn.ops.geometry import Padding, Pair, batched, pair, window2d
from minicnn.record import record, unwrap
from minicnn.tensor import Tensor


def unfold(x: Any, kernel_size: Pair, dilation: Pair = 1, padding: Padding = 0, stride: Pair = 1) -> Tensor:
    """The pixels under a sliding window, one column a position.

    **Shapes** x (N, C, H, W) -> (N, C*kh*kw, OH*OW), without N for (C, H, W); OH, OW as in ``conv2d``.

    **Math** ``y[n, (c*kh + p)*kw + q, i*OW + j] = x[n, c, i*sh + p*dh - top, j*sw + q*dw - left]``, 0 outside.

    **Saves** nothing. **Raises** ShapeError when the window is larger than the padded image.
    """
    (xa,) = unwrap("unfold", x=x)
    images, unbatched = batched("unfold", xa)
    window = window2d("unfold", images.shape[2:], kernel_size, stride, padding, dilation)
    y = K.unfold_forward(images, window)
    shape, columns = xa.shape, y.shape
    return record(
        "unfold",
        y[0] if unbatched else y,
        (x,),
        lambda gy, needs: (K.fold_forward(gy.reshape(columns), window).reshape(shape),),
    )


def fold(
    x: Any, output_size: Pair, kernel_size: Pair, dilation: Pair = 1, padding: Padding = 0, stride: Pair = 1
) -> Tensor:
    """Add columns up into an image: the transpose of ``unfold``, not its inverse (overlaps are summed).

    **Shapes** x (N, C*kh*kw, OH*OW) -> (N, C, H, W) with ``output_size = (H, W)``, also without N.

    **Math** ``y[n, c, i*sh + p*dh - top, j*sw + q*dw - left] += x[n, (c*kh + p)*kw + q, i*OW + j]``.

    **Saves** nothing. **Raises** ShapeError when the rows are not C*kh*kw or the columns not OH*OW.
    """
    (xa,) = unwrap("fold", x=x)
    if xa.ndim not in (2, 3):
        raise ShapeError(f"fold: x has shape {xa.shape}, expected (N, C*kh*kw, OH*OW) or without N")
    h, w = pair("fold", "output_size", output_size, 1)
    window = window2d("fold", (h, w), kernel_size, stride, padding, dilation)
    shape, positions = xa.shape, window.oh * window.ow
    if shape[-2] % window.taps:
        raise ShapeError(
            f"fold: x has {shape[-2]} rows (shape {shape}), expected a multiple of the {window.taps} taps of the window"
        )
    if shape[-1] != positions:
        raise ShapeError(
            f"fold: x has {shape[-1]} columns (shape {shape}), but an image of {(h, w)} has "
            f"{window.oh} x {window.ow} = {positions} window positions"
        )
    y = K.fold_forward(xa[None] if xa.ndim == 2 else xa, window)
    images = y.shape
    return record(
        "fold",
        y[0] if len(shape) == 2 else y,
        (x,),
        lambda gy, needs: (K.unfold_forward(gy.reshape(images), window).reshape(shape),),
    )
