"""Which way a convolution is computed: chosen from shapes alone, or forced by ``conv_plan``.

* ``pointwise``: 1x1, stride 1, no padding: the image is its own column matrix, one GEMM an image.
* ``direct``: one or two filters a group (depthwise): loops over taps, no columns.
* ``im2col``: columns in bounded chunks, one GEMM a chunk.

All three keep NaN and inf of the image local and sum whole numbers exactly, so ``exact`` is ``auto`` among them.
They differ in one corner: padding times an infinite weight is ``0 * inf = NaN`` in im2col and skipped in direct.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

from minicnn.errors import ArgumentError
from minicnn.kernels.window import Window2d

KNOBS = ("auto", "exact", "im2col", "direct")

# Up to this many filters a group, making the columns costs more than the direct kernel's loops (measured; at 4 they
# are even on 56x56 images and columns win on smaller ones).
DIRECT_FILTERS = 2
# Below this many pixels a GEMM an image is too small; im2col puts several images into one.
POINTWISE_PIXELS = 256

_knob: ContextVar[str] = ContextVar("minicnn_conv_plan", default="auto")


class Choice(NamedTuple):
    """A plan and the reason it was chosen."""

    plan: str
    reason: str


@contextmanager
def conv_plan(plan: str) -> Iterator[None]:
    """Context manager: how convolutions inside the block (and their backward passes) are computed.

    ``"auto"`` chooses by shapes; ``"exact"`` chooses among the plans that keep NaN and inf local and sum whole
    numbers exactly; ``"im2col"`` and ``"direct"`` force one.
    """
    if plan not in KNOBS:
        raise ArgumentError(f"conv_plan: plan={plan!r} does not exist, expected one of {', '.join(map(repr, KNOBS))}")
    token = _knob.set(plan)
    try:
        yield
    finally:
        _knob.reset(token)


def current_plan() -> str:
    """The argument of the innermost ``conv_plan`` block, ``"auto"`` outside."""
    return _knob.get()


def choose(knob: str, n: int, c: int, k: int, window: Window2d, groups: int) -> Choice:
    """The plan for ``n`` images of ``c`` channels and ``k`` filters under ``knob``."""
    if knob in ("im2col", "direct"):
        return Choice(knob, f"conv_plan({knob!r}) forces it")
    filters, pixels = k // groups, window.oh * window.ow
    if filters <= DIRECT_FILTERS and (groups > 1 or not window.is_pointwise):
        return Choice("direct", f"filters a group: {filters}, at most {DIRECT_FILTERS}: columns would not pay")
    if window.is_pointwise and (pixels >= POINTWISE_PIXELS or n == 1):
        return Choice("pointwise", "1x1, stride 1, no padding: the image is its own column matrix")
    if window.is_pointwise:
        return Choice("im2col", f"1x1, but only {pixels} pixels: one GEMM over several of the {n} images")
    return Choice("im2col", f"filters a group: {filters}, taps: {window.taps}: columns and GEMM")


def explain(
    x_shape: tuple[int, ...],
    weight_shape: tuple[int, ...],
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> str:
    """What ``auto`` picks for this convolution and why, in one line; ``padding`` in numbers."""
    n, c, h, w = x_shape
    (sh, sw), (dh, dw), (vertical, horizontal) = _pair(stride), _pair(dilation), _pair(padding)
    (top, bottom), (left, right) = _pair(vertical), _pair(horizontal)
    kh, kw = weight_shape[2:]
    oh, ow = (h + top + bottom - dh * (kh - 1) - 1) // sh + 1, (w + left + right - dw * (kw - 1) - 1) // sw + 1
    window = Window2d(h, w, kh, kw, sh, sw, top, bottom, left, right, dh, dw, oh, ow)
    plan, reason = choose("auto", n, c, weight_shape[0], window, groups)
    return f"{plan}: {reason}"


def _pair(value: Any) -> tuple[Any, Any]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value, value)
