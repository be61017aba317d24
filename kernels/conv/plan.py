"""Which way a convolution is computed: chosen from shapes, dtype and device, or forced by ``conv_plan``.

* ``implicit_gemm``: one GEMM on a GPU's tensor cores that gathers its columns on the way, for float16, bfloat16, and
  float32 under ``set_float32_precision("tf32")``.
* ``pointwise``: 1x1, stride 1, no padding: the image is its own column matrix, one GEMM an image.
* ``direct``: many small groups: no columns; on the CPU groups lie side by side in the lanes of vectors.
* ``im2col``: columns in bounded chunks, one GEMM a chunk.
* ``winograd``: 3x3, stride 1, on the CPU, with a quarter of the multiplications, where these outweigh its transforms.

All but winograd, where they spread over a tile, keep NaN and inf of the image local. ``pointwise``, ``direct`` and
``im2col`` also sum whole numbers exactly, so ``exact`` is ``auto`` among them. They differ in one corner: padding times
an infinite weight is skipped by direct on a GPU and ``0 * inf = NaN`` elsewhere.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import Any, NamedTuple

from minicnn.context import bound
from minicnn.errors import ArgumentError, DeviceError, DTypeError, MinicnnError
from minicnn.kernels.arrays import STORAGE_DTYPES, Array, cupy, device_of, is_cupy
from minicnn.kernels.conv import tiles
from minicnn.kernels.conv.winograd import layout
from minicnn.kernels.precision import float32_precision
from minicnn.kernels.window import Window2d

KNOBS = ("auto", "exact", "im2col", "direct", "implicit_gemm", "winograd")

# Up to this many filters a group, making the columns costs a GPU more than the direct kernel's loops.
DIRECT_FILTERS = 2
# From so many groups on, of at most so many channels and filters, the CPU has enough of them to fill its vectors and
# is faster than by columns. Larger groups (measured: with 64 channels still) have to fill the vectors better, and need
# more than a tap, so that there is enough to do with what is turned into vectors.
DIRECT_GROUPS, DIRECT_SIZE = 8, 4
DIRECT_LARGER_GROUPS, DIRECT_LARGER_SIZE = 12, 64
# Below this many pixels a GEMM an image is too small on a GPU; im2col puts several images into one.
POINTWISE_PIXELS = 256
# What an entry of the columns costs on the CPU, in multiply-adds of the product (0.4 nanoseconds; one takes 0.02).
COLUMN = 20
# What one costs in a tile of registers, which needs no columns (tiles.py): measured where Winograd is as fast.
TILE = 0.9

ASSUMED_CAPABILITY = 90  # of the GPU that ``explain`` speaks of where none is

_knob: ContextVar[str] = ContextVar("minicnn_conv_plan", default="auto")


class Choice(NamedTuple):
    """A plan and the reason it was chosen."""

    plan: str
    reason: str


@contextmanager
def conv_plan(plan: str) -> Iterator[None]:
    """Context manager: how convolutions inside the block (and their backward passes) are computed.

    ``"auto"`` chooses by shapes, dtype and device; ``"exact"`` chooses among the plans that keep NaN and inf local and
    sum whole numbers exactly; ``"im2col"``, ``"direct"``, ``"implicit_gemm"`` and ``"winograd"`` force one.
    ``implicit_gemm`` needs a GPU of compute capability 8.0 and float16, bfloat16 or, under
    ``set_float32_precision("tf32")``, float32; ``winograd`` needs the CPU, 3x3 filters, stride and dilation 1.
    Elsewhere the convolution raises.
    """
    if plan not in KNOBS:
        raise ArgumentError(f"conv_plan: plan={plan!r} does not exist, expected one of {', '.join(map(repr, KNOBS))}")
    with bound(_knob, plan):
        yield


def current_plan() -> str:
    """The argument of the innermost ``conv_plan`` block, ``"auto"`` outside."""
    return _knob.get()


class Place(NamedTuple):
    """What decides besides shapes: dtype and device of the arrays, and the precision of float32 products."""

    dtype: str = "float32"
    device: str = "cpu"
    capability: int = 0  # of the GPU: 80 for 8.0
    precision: str = "highest"


def place_of(x: Array, precision: str) -> Place:
    """Where a convolution of ``x`` runs."""
    return Place(x.dtype.name, device_of(x), int(x.device.compute_capability) if is_cupy(x) else 0, precision)


# Why a convolution cannot run on tensor cores: an error, what is wrong, and what mends it.
Trouble = tuple[type[MinicnnError], str, str]


def _tensor_core_trouble(place: Place) -> Trouble | None:
    if place.device == "cpu":
        return ArgumentError, "the arrays are on the CPU, which has no tensor cores", "x.to('gpu')"
    if place.capability < 80:
        has = f"{place.capability // 10}.{place.capability % 10}"
        return ArgumentError, f"{place.device} has compute capability {has}, expected 8.0 or more", "conv_plan('auto')"
    if place.dtype == "float32" and place.precision != "tf32":
        fix = "minicnn.set_float32_precision('tf32')"
        return (
            DTypeError,
            f"float32 is multiplied in {place.precision!r} precision, and tensor cores round to TF32",
            fix,
        )
    if place.dtype not in ("float32", *STORAGE_DTYPES):
        return DTypeError, f"tensor cores do not multiply {place.dtype} here", "x.astype('float16')"
    return None


def _winograd_trouble(window: Window2d, place: Place) -> str | None:
    if place.device != "cpu":
        return f"the arrays are on {place.device}, expected the CPU"
    actual = {
        "a kernel of": (window.kh, window.kw),
        "stride": (window.sh, window.sw),
        "dilation": (window.dh, window.dw),
    }
    expected = {"a kernel of": (3, 3), "stride": (1, 1), "dilation": (1, 1)}
    unfit = (name for name in expected if actual[name] != expected[name])
    return next((f"the convolution has {name} {actual[name]}, expected {expected[name]}" for name in unfit), None)


@lru_cache(maxsize=1024)
def choose(knob: str, n: int, c: int, k: int, window: Window2d, groups: int, place: Place) -> Choice:
    """The plan for ``n`` images of ``c`` channels and ``k`` filters under ``knob``.

    **Raises** ArgumentError or DTypeError when ``implicit_gemm`` or ``winograd`` is forced where it cannot run.
    """
    trouble = _tensor_core_trouble(place)
    if knob == "implicit_gemm" and trouble:
        error, wrong, fix = trouble
        raise error(f"conv_plan('implicit_gemm'): {wrong}; fix: {fix}")
    if knob == "winograd" and (unfit := _winograd_trouble(window, place)):
        raise ArgumentError(f"conv_plan('winograd'): {unfit}; fix: conv_plan('auto')")
    if knob not in ("auto", "exact"):
        return Choice(knob, f"conv_plan({knob!r}) forces it")
    filters = k // groups
    if reason := _direct_reason(c // groups, filters, window, groups, place):
        return Choice("direct", reason)
    if knob == "auto" and trouble is None:
        kind = "float32 as TF32" if place.dtype == "float32" else place.dtype
        return Choice("implicit_gemm", f"{kind} on {place.device}: tensor cores, columns gathered on the way")
    if knob == "auto" and _winograd_trouble(window, place) is None:
        plain, winograd = _costs(n, c // groups, filters, window)
        if winograd < plain:
            saved = f"{plain / winograd:.1f} times less work than without, by the cost model"
            return Choice("winograd", f"3x3, stride 1, {c // groups} channels and {filters} filters a group: {saved}")
    plan, reason = _by_shape(n, filters, window, place)
    return Choice(
        plan, reason if trouble is None or place.device == "cpu" else f"{reason}; no tensor cores: {trouble[1]}"
    )


def _costs(n: int, channels: int, filters: int, window: Window2d) -> tuple[float, float]:
    """What a convolution costs without and with Winograd's tiles, in multiply-adds."""
    entry = TILE * filters if tiles.fits(window) else filters + COLUMN
    return n * window.oh * window.ow * window.taps * channels * entry, layout(n, window, channels, filters).cost(
        n, channels, filters
    )


def _direct_reason(channels: int, filters: int, window: Window2d, groups: int, place: Place) -> str | None:
    """Why columns would not pay for so many channels and filters a group; None where they do."""
    if place.device == "cpu":
        larger = groups >= DIRECT_LARGER_GROUPS and min(channels, filters) > 1 and window.taps > 1
        most = DIRECT_LARGER_SIZE if larger else DIRECT_SIZE
        fits = groups >= DIRECT_GROUPS and max(channels, filters) <= most
        return f"groups: {groups}, channels and filters of each: at most {most}: they fill vectors" if fits else None
    fits = filters <= DIRECT_FILTERS and (groups > 1 or not window.is_pointwise)
    return f"filters a group: {filters}, at most {DIRECT_FILTERS}: columns would not pay" if fits else None


def _by_shape(n: int, filters: int, window: Window2d, place: Place) -> Choice:
    """Which GEMM for three or more filters a group."""
    pixels = window.oh * window.ow
    if window.is_pointwise and (place.device == "cpu" or pixels >= POINTWISE_PIXELS or n == 1):
        return Choice("pointwise", "1x1, stride 1, no padding: the image is its own column matrix")
    if window.is_pointwise:
        return Choice("im2col", f"1x1, but only {pixels} pixels: one GEMM over several of the {n} images")
    registers = place.device == "cpu" and tiles.fits(window)
    how = "sums in registers, the columns never made" if registers else "columns and GEMM"
    return Choice("im2col", f"filters a group: {filters}, taps: {window.taps}: {how}")


def explain(
    x_shape: tuple[int, ...],
    weight_shape: tuple[int, ...],
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    dtype: str = "float32",
    device: str = "cpu",
) -> str:
    """What ``auto`` picks for this convolution and why, in one line; ``padding`` in numbers.

    On a machine without a GPU ``device="gpu"`` tells what one of compute capability 9.0 would do.
    """
    n, c, h, w = x_shape
    (sh, sw), (dh, dw), (vertical, horizontal) = _pair(stride), _pair(dilation), _pair(padding)
    (top, bottom), (left, right) = _pair(vertical), _pair(horizontal)
    kh, kw = weight_shape[2:]
    oh, ow = (h + top + bottom - dh * (kh - 1) - 1) // sh + 1, (w + left + right - dw * (kw - 1) - 1) // sw + 1
    window = Window2d(h, w, kh, kw, sh, sw, top, bottom, left, right, dh, dw, oh, ow)
    place = Place(dtype, device, _capability(device) or ASSUMED_CAPABILITY, float32_precision())
    plan, reason = choose("auto", n, c, weight_shape[0], window, groups, place)
    return f"{plan}: {reason}"


def _capability(device: str) -> int:
    """The compute capability of the GPU ``device`` names ("gpu", "cuda", "cuda:1"); 0 where there is none."""
    if device == "cpu":
        return 0
    named = re.fullmatch(r"(?:gpu|cuda)(?::(\d+))?", device)
    if named is None:
        raise ArgumentError(f"explain: device={device!r} is unknown, expected 'cpu', 'gpu' or 'cuda:<index>'")
    try:
        devices = cupy().cuda
    except DeviceError:  # no CuPy
        return 0
    return int(devices.Device(int(named[1] or 0)).compute_capability) if devices.is_available() else 0


def _pair(value: Any) -> tuple[Any, Any]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value, value)
