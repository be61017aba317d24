"""Convolution: the contract, and the choice among its plans (``plan.py``).

``x (N, C, H, W)``, ``weight (K, C/groups, kh, kw)``, ``bias (K,)`` or None, ``y`` and ``gy (N, K, OH, OW)``; all
contiguous and of one float dtype. ``knob`` is the argument of ``conv_plan`` and ``precision`` that of
``set_float32_precision`` (None: of now); backward is given forward's.

**Math** ``y[n,k,i,j] = b[k] + sum_{c,p,q} W[k,c,p,q] x[n, g(k)*C/g + c, i*sh + p*dh - top, j*sw + q*dw - left]``, 0
outside the image, ``g(k) = k // (K/groups)``. Results have the same bits at any number of Numba threads.

**See** Chellapilla, Puri, Simard 2006 (convolution as a matrix product).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from minicnn.kernels.arrays import Array, allocate, is_abstract, twin
from minicnn.kernels.conv import columns, direct, implicit_gemm, winograd
from minicnn.kernels.conv.plan import choose, conv_plan, current_plan, explain, place_of
from minicnn.kernels.counting import count_macs
from minicnn.kernels.precision import float32_precision, products_in
from minicnn.kernels.window import Window2d

__all__ = [
    "conv2d_forward",
    "conv2d_grad_w",
    "conv2d_grad_x",
    "conv_plan",
    "conv_transpose2d_forward",
    "current_plan",
    "explain",
    "fold_forward",
    "unfold_forward",
]


class Passes(NamedTuple):
    """The three passes of a plan; each writes its last argument, and grad_w adds to one that comes zeroed."""

    forward: Callable[..., None]
    grad_x: Callable[..., None]
    grad_w: Callable[..., None]


PLANS: dict[str, Passes] = {
    "im2col": Passes(columns.forward, columns.grad_x, columns.grad_w),
    "pointwise": Passes(columns.pointwise_forward, columns.pointwise_grad_x, columns.grad_w),
    "direct": Passes(direct.forward, direct.grad_x, direct.grad_w),
    "implicit_gemm": Passes(implicit_gemm.forward, implicit_gemm.grad_x, implicit_gemm.grad_w),
    "winograd": Passes(winograd.forward, winograd.grad_x, winograd.grad_w),
}


def _run(
    name: str,
    sizes: tuple[int, int, int],
    how: tuple[str, str | None],
    arrays: tuple[Any, ...],
    window: Window2d,
    groups: int,
    out: Array,
) -> None:
    """Call pass ``name`` of the plan for ``sizes``, images, channels and filters; ``how`` is knob and precision."""
    if is_abstract(out):
        return
    knob, precision = how[0], how[1] or float32_precision()
    plan = choose(knob, *sizes, window, groups, place_of(out, precision)).plan
    if not (arrays[0].size and arrays[1].size):  # no images, channels or filters: a sum of nothing, and the bias
        bias = arrays[2] if name == "forward" else None
        out[...] = 0 if bias is None else bias[:, None, None]
        return
    with products_in("highest" if knob == "exact" else precision, out):
        getattr(PLANS[plan], name)(*arrays, window, groups, out)


def _macs(n: int, weight_size: int, window: Window2d) -> int:
    """``N*K*OH*OW * C/groups*kh*kw``, the same for the three passes."""
    return n * window.oh * window.ow * weight_size


def conv2d_forward(
    x: Array,
    weight: Array,
    bias: Array | None,
    window: Window2d,
    groups: int,
    knob: str = "auto",
    precision: str | None = None,
) -> Array:
    """``y``, a new array."""
    n, c = x.shape[:2]
    count_macs("conv2d", _macs(n, weight.size, window))
    y = allocate(x, (n, weight.shape[0], window.oh, window.ow))
    _run("forward", (n, c, len(weight)), (knob, precision), (x, weight, bias), window, groups, y)
    return y


def conv2d_grad_x(
    gy: Array,
    weight: Array,
    window: Window2d,
    groups: int,
    knob: str = "auto",
    precision: str | None = None,
    op: str = "conv2d_grad_x",
) -> Array:
    """``gx[n,c,y,x] = sum over k and the taps that read the pixel of W[k,c,p,q] gy[n,k,i,j]``, a new array.

    ``op`` is the name under which the multiply-adds are reported (a transposed convolution is this pass).
    """
    n, c = len(gy), weight.shape[1] * groups
    count_macs(op, _macs(n, weight.size, window))
    gx = allocate(gy, (n, c, window.h, window.w))
    _run("grad_x", (n, c, len(weight)), (knob, precision), (gy, weight), window, groups, gx)
    return gx


def conv2d_grad_w(
    gy: Array, x: Array, window: Window2d, groups: int, knob: str = "auto", precision: str | None = None
) -> Array:
    """``gW[k,c,p,q] = sum_{n,i,j} gy[n,k,i,j] * (the pixel that the tap reads)``, a new array."""
    (n, c), k = x.shape[:2], gy.shape[1]
    gw = allocate(x, (k, c // groups, window.kh, window.kw), fill=0)
    count_macs("conv2d_grad_w", _macs(n, gw.size, window))
    _run("grad_w", (n, c, k), (knob, precision), (gy, x), window, groups, gw)
    return gw


def conv_transpose2d_forward(
    x: Array,
    weight: Array,
    bias: Array | None,
    window: Window2d,
    groups: int,
    knob: str = "auto",
    precision: str | None = None,
) -> Array:
    """``y (N, K, h, w)``: the grad_x of the convolution ``window`` describes, whose output is ``x``; plus the bias."""
    y = conv2d_grad_x(x, weight, window, groups, knob, precision, op="conv_transpose2d")
    if bias is not None:
        y += bias[:, None, None]
    return y


def unfold_forward(x: Array, window: Window2d) -> Array:
    """The columns ``(N, C*kh*kw, OH*OW)``: row ``(c*kh + p)*kw + q`` holds the pixel tap (p, q) of channel c reads."""
    n, c = x.shape[:2]
    col = allocate(x, (n, c * window.taps, window.oh * window.ow))
    twin(__name__, x).unfold(x, col, tuple(window))
    return col


def fold_forward(col: Array, window: Window2d) -> Array:
    """The images ``(N, C, H, W)``: each pixel is the sum of the entries of ``col`` that unfold would fill with it."""
    n, rows, _ = col.shape
    x = allocate(col, (n, rows // window.taps, window.h, window.w), fill=0)
    twin(__name__, col).fold(col, x, tuple(window))
    return x
