"""Parse, don't validate: window arguments become a ``Window2d`` here, or raise here and nowhere else."""

import operator
from typing import Any

from minicnn.errors import ArgumentError, ShapeError
from minicnn.kernels.window import Window2d

# int, (height, width); for padding also ((top, bottom), (left, right)), "same", "valid"
Pair = int | tuple[int, int]
Padding = int | str | tuple[Any, Any]


def pair(op: str, name: str, value: Any, minimum: int) -> tuple[int, int]:
    """``value`` or ``(value_h, value_w)`` as two ints of at least ``minimum``."""
    values = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    if len(values) != 2:
        raise ArgumentError(f"{op}: {name}={value!r} has {len(values)} numbers, expected one or two (height, width)")
    return integer(op, name, values[0], minimum), integer(op, name, values[1], minimum)


def integer(op: str, name: str, value: Any, minimum: int) -> int:
    """``value`` as an int of at least ``minimum``."""
    try:
        number = operator.index(value)
    except TypeError:
        raise ArgumentError(f"{op}: {name}={value!r} is a {type(value).__name__}, expected an integer") from None
    if isinstance(value, bool):
        raise ArgumentError(f"{op}: {name}={value!r} is a bool, expected an integer")
    if number < minimum:
        raise ArgumentError(f"{op}: {name}={value!r} is too small, expected at least {minimum}")
    return number


def window2d(
    op: str,
    size: tuple[int, int],
    kernel_size: Any,
    stride: Any = 1,
    padding: Padding = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
) -> Window2d:
    """The window of ``kernel_size`` sliding over an image of ``size`` (h, w).

    **Shapes** ``oh = floor((h + top + bottom - dh*(kh-1) - 1) / sh) + 1``; with ``ceil_mode`` rounded up, then one
    less if the last window would start beyond the image and its leading padding.

    **Raises** ShapeError when the padded image is smaller than the window; ArgumentError for numbers out of range.
    """
    kh, kw = pair(op, "kernel_size", kernel_size, 1)
    sh, sw = pair(op, "stride", stride, 1)
    dh, dw = pair(op, "dilation", dilation, 1)
    (top, bottom), (left, right) = _paddings(op, padding, (kh, kw), (sh, sw), (dh, dw))
    h, w = size
    oh = _positions(op, "height", h, top, bottom, kh, sh, dh, ceil_mode)
    ow = _positions(op, "width", w, left, right, kw, sw, dw, ceil_mode)
    return Window2d(h, w, kh, kw, sh, sw, top, bottom, left, right, dh, dw, oh, ow)


def _paddings(
    op: str, padding: Any, kernel: Any, stride: Any, dilation: Any
) -> tuple[tuple[int, int], tuple[int, int]]:
    if isinstance(padding, str):
        if padding == "valid":
            return (0, 0), (0, 0)
        if padding != "same":
            raise ArgumentError(f"{op}: padding={padding!r} is unknown, expected numbers, 'same' or 'valid'")
        if stride != (1, 1):
            raise ArgumentError(
                f"{op}: padding='same' needs stride 1, got {stride}; fix: padding=minicnn.ops.same_padding(...) "
                "for TensorFlow's rule"
            )
        totals = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        return (totals[0] // 2, totals[0] - totals[0] // 2), (totals[1] // 2, totals[1] - totals[1] // 2)
    sides = tuple(padding) if isinstance(padding, (tuple, list)) else (padding, padding)
    if len(sides) != 2:
        raise ArgumentError(
            f"{op}: padding={padding!r} is not understood, expected p, (ph, pw) or ((top, bottom), (left, right))"
        )
    return pair(op, "padding", sides[0], 0), pair(op, "padding", sides[1], 0)


def _positions(op: str, axis: str, size: int, before: int, after: int, k: int, s: int, d: int, ceil_mode: bool) -> int:
    span = d * (k - 1) + 1
    free = size + before + after - span
    if size < 1:
        raise ShapeError(f"{op}: the image has {axis} {size}, expected at least 1 pixel")
    if free <= -s if ceil_mode else free < 0:  # ceil_mode lets the only window hang over the end by less than a stride
        raise ShapeError(
            f"{op}: the window spans {span} pixels of {axis} (kernel {k}, dilation {d}) but the padded image has only "
            f"{size + before + after} ({size} + padding {before} + {after}); fix: a smaller kernel or more padding"
        )
    if not ceil_mode:
        return free // s + 1
    count = -(-free // s) + 1
    return count - 1 if (count - 1) * s >= size + before else count


def same_padding(
    size: Pair, kernel_size: Pair, stride: Pair = 1, dilation: Pair = 1
) -> tuple[tuple[int, int], tuple[int, int]]:
    """TensorFlow's SAME as explicit padding ``((top, bottom), (left, right))``: output size ``ceil(size / stride)``.

    **Math** ``total = max((ceil(size/s) - 1)*s + d*(k-1) + 1 - size, 0)``; the odd pixel goes to the bottom/right.
    Differs from ``padding="same"`` (PyTorch's, stride 1 only) as soon as the stride is not 1.
    """
    sides = []
    for length, k, s, d in zip(
        pair("same_padding", "size", size, 1),
        pair("same_padding", "kernel_size", kernel_size, 1),
        pair("same_padding", "stride", stride, 1),
        pair("same_padding", "dilation", dilation, 1),
        strict=True,
    ):
        total = max((-(-length // s) - 1) * s + d * (k - 1) + 1 - length, 0)
        sides.append((total // 2, total - total // 2))
    return sides[0], sides[1]


def batched(op: str, x: Any) -> tuple[Any, bool]:
    """``x`` as (N, C, H, W), and whether it came unbatched as (C, H, W)."""
    if x.ndim == 4:
        return x, False
    if x.ndim == 3:
        return x.reshape(1, *x.shape), True
    raise ShapeError(f"{op}: x has shape {tuple(x.shape)}, expected (N, C, H, W) or unbatched (C, H, W)")
