"""Pooling over windows, over adaptive bins and over whole planes.

All take (N, C, H, W) or unbatched (C, H, W). ``min_pool2d``, ``global_avg_pool2d`` and ``global_max_pool2d`` are ours.
"""

from typing import Any

import numpy as np

from minicnn.context import is_grad_enabled
from minicnn.errors import DTypeError, IndexRangeError, ShapeError
from minicnn.kernels import pool as K
from minicnn.kernels.arrays import Array, is_abstract, is_cupy
from minicnn.kernels.pool import Bins, adaptive_bins, window_bins
from minicnn.ops.geometry import Pair, batched, integer, pair, window2d
from minicnn.record import check_device, record, record_several, unwrap
from minicnn.tensor import Tensor, as_array


def max_pool2d(
    x: Any,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Pair = 0,
    dilation: Pair = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The largest pixel under each window; ``stride`` defaults to ``kernel_size``.

    **Shapes** (N, C, H, W) -> (N, C, OH, OW), ``OH = floor((H + 2*ph - dh*(kh-1) - 1) / sh) + 1`` (``ceil_mode``:
    rounded up, less a last window that would start beyond the image and its leading padding).
    **Math** ``y = max over p, q of x[i*sh + p*dh - ph, j*sw + q*dw - pw]``; padding never wins. With
    ``return_indices`` also the winners' positions ``r*W + c`` in their planes, int64.
    **Ties** the first pixel in scan order gets the gradient. NaN wins over every number. A dilated window with no tap
    inside the image gives -inf and index -1 (PyTorch: an index outside the image).
    **Saves** which tap won, a byte an output; with dilation, with ``return_indices`` and on the GPU the winner's
    position, 4 bytes. **Raises** ShapeError when padding exceeds half the kernel.
    """
    bins = _window_bins("max_pool2d", x, kernel_size, stride, padding, dilation, ceil_mode)
    return _extreme("max_pool2d", x, bins, False, return_indices)


def min_pool2d(
    x: Any,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Pair = 0,
    dilation: Pair = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The smallest pixel under each window: ``-max_pool2d(-x)`` without the copies.

    **Shapes**, **Ties**, **Saves** and **Raises** as ``max_pool2d``; NaN wins over every number, a window with no tap
    gives +inf. PyTorch has no such function.
    """
    bins = _window_bins("min_pool2d", x, kernel_size, stride, padding, dilation, ceil_mode)
    return _extreme("min_pool2d", x, bins, True, return_indices)


def avg_pool2d(
    x: Any,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Pair = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """The mean of the pixels under each window; ``stride`` defaults to ``kernel_size``.

    **Shapes** as ``max_pool2d`` with dilation 1.
    **Math** the sum of the pixels inside the image over a divisor: with ``count_include_pad`` the part of the window
    inside image and padding (what ``ceil_mode`` lets hang over beyond the padding never counts), else the part inside
    the image; ``divisor_override`` replaces both.
    **Saves** nothing. **Raises** ShapeError when padding exceeds half the kernel.
    """
    window = _window("avg_pool2d", x, kernel_size, stride, padding, 1, ceil_mode)
    if divisor_override is not None:
        divisor_override = integer("avg_pool2d", "divisor_override", divisor_override, 1)
    return _average("avg_pool2d", x, window_bins(window, bool(count_include_pad), divisor_override))


def adaptive_max_pool2d(x: Any, output_size: Any, return_indices: bool = False) -> Any:
    """The largest pixel of each of ``output_size`` bins; None in ``output_size`` keeps that side's length.

    **Shapes** (N, C, H, W) -> (N, C, OH, OW). **Math** bin i covers rows ``floor(i*H/OH)`` to ``ceil((i+1)*H/OH)``.
    **Ties**, NaN and **Saves** as ``max_pool2d``.
    """
    bins = _adaptive_bins("adaptive_max_pool2d", x, output_size)
    return _extreme("adaptive_max_pool2d", x, bins, False, return_indices)


def adaptive_avg_pool2d(x: Any, output_size: Any) -> Tensor:
    """The mean of each of ``output_size`` bins; None in ``output_size`` keeps that side's length.

    **Shapes** (N, C, H, W) -> (N, C, OH, OW). **Math** bin i covers rows ``floor(i*H/OH)`` to ``ceil((i+1)*H/OH)``.
    **Saves** nothing.
    """
    return _average("adaptive_avg_pool2d", x, _adaptive_bins("adaptive_avg_pool2d", x, output_size))


def global_max_pool2d(x: Any) -> Tensor:
    """The largest pixel of each plane. **Shapes** (N, C, H, W) -> (N, C, 1, 1). **Ties** as ``max_pool2d``."""
    y: Tensor = _extreme("global_max_pool2d", x, _adaptive_bins("global_max_pool2d", x, 1), False, False)
    return y


def global_avg_pool2d(x: Any) -> Tensor:
    """The mean of each plane. **Shapes** (N, C, H, W) -> (N, C, 1, 1). **Saves** nothing."""
    return _average("global_avg_pool2d", x, _adaptive_bins("global_avg_pool2d", x, 1))


def max_unpool2d(
    x: Any, indices: Any, kernel_size: Pair, stride: Pair | None = None, padding: Pair = 0, output_size: Any = None
) -> Tensor:
    """Put each value back where ``max_pool2d(..., return_indices=True)`` found it, 0 elsewhere.

    **Shapes** (N, C, H, W) -> (N, C, OH, OW), ``OH = (H - 1)*sh - 2*ph + kh`` unless ``output_size`` (its last two
    numbers count) says otherwise, by less than a stride.
    **Math** ``y[indices] = x`` in each plane. **Ties** of equal indices the last in scan order stays and it alone gets
    the gradient (PyTorch: some writer stays, all get it). **Saves** the indices, 4 bytes each.
    **Raises** IndexRangeError for an index outside the output. On the GPU nobody looks, because the host would have to
    wait: such an index makes the first pixel of its plane NaN, and so its own gradient.
    """
    op = "max_unpool2d"
    (xa,) = unwrap(op, x=x)
    xa, alone = batched(op, xa)
    out = _unpooled_size(op, xa.shape[2:], kernel_size, stride, padding, output_size)
    index = _unpool_indices(op, xa, as_array(indices, op=op, name="indices"), alone, out)
    y = K.unpool_forward(xa, index, out)

    def vjp(gy: Array, needs: tuple[bool, ...]) -> tuple[Array]:
        gx = K.unpool_grad_x(gy[None] if alone else gy, index)
        return (gx[0] if alone else gx,)

    return record(op, y[0] if alone else y, (x,), vjp)


def _extreme(op: str, x: Any, bins: Bins, smallest: bool, return_indices: bool) -> Any:
    (xa,) = unwrap(op, x=x)
    xa, alone = batched(op, xa)
    recorded = is_grad_enabled() and isinstance(x, Tensor) and x.edge is not None
    index_dtype = "int32" if return_indices else K.tap_dtype(xa, bins) if recorded else None
    y, index = K.extreme_forward(xa, bins, smallest, index_dtype)

    def grad_x(gy: Array) -> Array:
        gx = K.extreme_grad_x(gy[None] if alone else gy, index, bins)
        return gx[0] if alone else gx

    result = y[0] if alone else y
    if not return_indices:
        return record(op, result, (x,), lambda gy, needs: (grad_x(gy),))
    positions = index.astype(np.int64)
    return record_several(op, (result, positions[0] if alone else positions), (x,), lambda gy, needs: (grad_x(gy[0]),))


def _average(op: str, x: Any, bins: Bins) -> Tensor:
    (xa,) = unwrap(op, x=x)
    xa, alone = batched(op, xa)
    y = K.average_forward(xa, bins)

    def vjp(gy: Array, needs: tuple[bool, ...]) -> tuple[Array]:
        gx = K.average_grad_x(gy[None] if alone else gy, bins)
        return (gx[0] if alone else gx,)

    return record(op, y[0] if alone else y, (x,), vjp)


def _size(op: str, x: Any) -> tuple[int, int]:
    """Height and width of the images ``x``."""
    shape = as_array(x, op=op, name="x").shape
    if len(shape) not in (3, 4):
        raise ShapeError(f"{op}: x has shape {shape}, expected (N, C, H, W) or unbatched (C, H, W)")
    if min(shape[-2:]) < 1:
        raise ShapeError(f"{op}: x has shape {shape}, expected images of at least 1 x 1 pixel")
    return _indexable(op, shape[-2], shape[-1])


def _indexable(op: str, h: int, w: int) -> tuple[int, int]:
    if h * w >= 2**31:
        raise ShapeError(f"{op}: a plane of {h} x {w} pixels is too large, expected fewer than 2**31; fix: tile it")
    return h, w


def _window(op: str, x: Any, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool) -> Any:
    size = _size(op, x)
    kernel = pair(op, "kernel_size", kernel_size, 1)
    sides = pair(op, "padding", padding, 0)
    if any(2 * p > k for p, k in zip(sides, kernel, strict=True)):
        raise ShapeError(
            f"{op}: padding={padding!r} is more than half of kernel_size={kernel_size!r}, so some windows would lie "
            "wholly outside the image; fix: a smaller padding, or minicnn.ops.pad before the pool"
        )
    return window2d(op, size, kernel, kernel if stride is None else stride, sides, dilation, bool(ceil_mode))


def _window_bins(op: str, x: Any, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool) -> Bins:
    return window_bins(_window(op, x, kernel_size, stride, padding, dilation, ceil_mode))


def _adaptive_bins(op: str, x: Any, output_size: Any) -> Bins:
    h, w = _size(op, x)
    wanted = output_size if isinstance(output_size, (tuple, list)) else (output_size, output_size)
    if len(wanted) == 2:
        wanted = tuple(size if given is None else given for given, size in zip(wanted, (h, w), strict=True))
    oh, ow = pair(op, "output_size", wanted, 1)
    return adaptive_bins(h, w, oh, ow)


def _unpooled_size(
    op: str, size: tuple[int, int], kernel_size: Any, stride: Any, padding: Any, output_size: Any
) -> tuple[int, int]:
    kernel = pair(op, "kernel_size", kernel_size, 1)
    strides = kernel if stride is None else pair(op, "stride", stride, 1)
    sides = pair(op, "padding", padding, 0)
    usual = tuple((n - 1) * s - 2 * p + k for n, k, s, p in zip(size, kernel, strides, sides, strict=True))
    wanted = tuple(output_size[-2:]) if isinstance(output_size, (tuple, list)) else output_size
    out = usual if output_size is None else pair(op, "output_size", wanted, 1)
    if any(abs(got - n) >= s for got, n, s in zip(out, usual, strides, strict=True)):
        raise ShapeError(
            f"{op}: output_size={output_size!r} differs from {usual} by a stride {strides} or more; "
            "fix: the height and width of the image that was pooled"
        )
    if min(out) < 1:
        raise ShapeError(f"{op}: x of {size} would be unpooled to {out}; fix: a smaller padding={padding!r}")
    return _indexable(op, out[0], out[1])


def _unpool_indices(op: str, xa: Array, indices: Array, alone: bool, out: tuple[int, int]) -> Array:
    if indices.dtype.kind not in "iu":
        raise DTypeError(f"{op}: indices has dtype {indices.dtype}, expected the integers of max_pool2d")
    check_device(op, ("x", xa), ("indices", indices))
    shape = tuple(xa.shape[1:] if alone else xa.shape)
    if indices.shape != shape:
        raise ShapeError(f"{op}: indices has shape {indices.shape}, expected the shape of x, {shape}")
    pixels = out[0] * out[1]
    if is_cupy(indices):
        indices = indices.astype(np.int64, copy=False).clip(-1, pixels)  # still outside in 32 bits
    elif not is_abstract(indices):
        wrong = (indices < 0) | (indices >= pixels)
        if wrong.any():
            at = tuple(int(i) for i in np.unravel_index(int(wrong.argmax()), indices.shape))
            raise IndexRangeError(
                f"{op}: indices{list(at)} is {int(indices[at])}, outside the output of {out[0]} x {out[1]} pixels; "
                "fix: pass output_size, the size of the image that was pooled"
            )
    return indices.reshape(xa.shape).astype(np.int32)
