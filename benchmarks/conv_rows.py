"""One row of ``conv_bench.py``: a convolution and a pass, verified against float64, then timed beside PyTorch."""

import math
import zlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from conv_reference import error, reference
from conv_shapes import Conv
from peaks import Peaks, copier
from timing import Calls, Cpu, Gpu
from torch_peer import Torch

from minicnn.errors import ArgumentError, DTypeError
from minicnn.kernels import conv as K
from minicnn.kernels.conv.plan import choose, place_of
from minicnn.kernels.precision import float32_precision

PASSES = ("forward", "grad_x", "grad_w")
# Largest error of a right result, max|a-b| / max|b|: float32 adds up to 10^5 products; the others are bounded by the
# bits of their significand (tf32 and float16 have 10, bfloat16 7).
TOLERANCE = {"float64": 1e-12, "float32": 1e-4, "tf32": 2e-3, "float16": 2e-3, "bfloat16": 2e-2}


class Setting(NamedTuple):
    """What all rows of a run share; ``knob`` is the argument of ``conv_plan``."""

    device: Cpu | Gpu
    precision: str
    dtype: np.dtype[Any]
    batch: int
    samples: int | None
    threads: int
    knob: str
    peer: Torch | None


def rows(setting: Setting, conv: Conv, passes: Iterable[str], roofs: Peaks) -> Iterator[dict[str, Any]]:
    """The row of each pass. One that is wrong, or that a forced plan refuses, has no times."""
    n, put = setting.batch, setting.device.put
    rng = np.random.default_rng(zlib.crc32(str(conv).encode()))
    shapes = (conv.x_shape(n), conv.weight_shape, conv.y_shape(n))
    x, weight, gy = hosts = [rng.standard_normal(shape, np.float32).astype(setting.dtype) for shape in shapes]
    placed = put(x), put(weight)
    ours = _calls(setting, conv, *placed, put(gy))
    theirs: Calls = {} if setting.peer is None else setting.peer.calls(conv, x, weight, gy)
    try:
        place = place_of(placed[0], float32_precision())
        plan, reason = choose(setting.knob, n, conv.channels, conv.filters, conv.window, conv.groups, place)
        refused = False
    except (ArgumentError, DTypeError) as refusal:
        plan, reason, refused = setting.knob, str(refusal), True
    costs = _costs(setting, conv, roofs)
    copied = None if refused or costs["bound_by"] == "product" else _copy_seconds(setting, costs["bytes"])
    for which in passes:
        # In grad_w, the sum over the images, only the images that the reference sees have a gy.
        sampled = sorted({0, n // 2, n - 1})
        found = {"state": "refused", "error": None}
        if not refused:
            checked = ours if which != "grad_w" else _calls(setting, conv, *placed, put(_only(gy, sampled)))
            found = _verify(setting, conv, which, checked, hosts, sampled)
        calls = {"ours": ours[which]} | ({"torch": theirs[which]} if theirs else {})
        yield {
            "convolution": str(conv),
            "pass": which,
            "shape": conv._asdict(),
            "plan": plan,
            "reason": reason,
            "tolerance": TOLERANCE[setting.precision],
            **found,
            **costs,
            **_figures(setting, calls if found["state"] == "right" else {}, costs, roofs, copied),
        }


def _calls(setting: Setting, conv: Conv, x: Any, weight: Any, gy: Any) -> Calls:
    window, groups, knob = conv.window, conv.groups, setting.knob
    return {
        "forward": lambda: K.conv2d_forward(x, weight, None, window, groups, knob),
        "grad_x": lambda: K.conv2d_grad_x(gy, weight, window, groups, knob),
        "grad_w": lambda: K.conv2d_grad_w(gy, x, window, groups, knob),
    }


def _only(gy: np.ndarray, images: list[int]) -> np.ndarray:
    kept = np.zeros_like(gy)
    kept[images] = gy[images]
    return kept


def _verify(
    setting: Setting, conv: Conv, which: str, calls: Calls, hosts: list[np.ndarray], images: list[int]
) -> dict[str, Any]:
    """Compute the whole batch as it will be timed, and compare some of its images with float64."""
    result = setting.device.get(calls[which]())
    x, weight, gy = hosts
    expected = reference(which, conv, x[images], weight, gy[images])
    off = error(result if which == "grad_w" else result[images], expected)
    right = off <= TOLERANCE[setting.precision]  # not, when off is not a number
    return {"state": "right" if right else "wrong", "error": off if math.isfinite(off) else None}


def _costs(setting: Setting, conv: Conv, roofs: Peaks) -> dict[str, Any]:
    """What any of the passes must do, and which roof bounds it. ``bytes`` counts x, weight and y once each."""
    flops = 2 * setting.batch * conv.macs
    shapes = (conv.x_shape(setting.batch), conv.weight_shape, conv.y_shape(setting.batch))
    moved = setting.dtype.itemsize * sum(math.prod(shape) for shape in shapes)
    bound_by = "product" if roofs.roof(flops, moved) == roofs.flops_per_second else "copy"
    return {"flops": flops, "bytes": moved, "bound_by": bound_by}


def _copy_seconds(setting: Setting, moved: int) -> float:
    """How long a copy takes that reads and writes as many bytes as a pass: what one bound by memory is held against."""
    with ThreadPoolExecutor(setting.threads) as pool:
        copy = copier(setting.device, moved, pool, setting.threads)
        return setting.device.times({"copy": copy}, setting.samples)["copy"].median


def _figures(
    setting: Setting, calls: Calls, costs: dict[str, Any], roofs: Peaks, copied: float | None
) -> dict[str, Any]:
    """Times and what follows from them; all None without calls. ``copied``: seconds, of what is bound by memory."""
    figures: dict[str, Any] = dict.fromkeys(MEASURED)
    if not calls:
        return figures
    flops, moved = costs["flops"], costs["bytes"]
    times = setting.device.times(calls, setting.samples)
    ours, torch = times["ours"], times.get("torch")
    figures |= {
        "milliseconds": 1000 * ours.median,
        "spread_milliseconds": [1000 * ours.best, 1000 * ours.worst],
        "samples": ours.samples,
        "flops_per_second": flops / ours.median,
        "bytes_per_second": moved / ours.median,
        "percent_of_product": 100 * flops / ours.median / roofs.flops_per_second,
        "percent_of_copy": 100 * moved / ours.median / roofs.bytes_per_second,
        "percent_of_roof": 100 * flops / ours.median / roofs.roof(flops, moved),
        "copy_milliseconds": None if copied is None else 1000 * copied,
        "workspace_bytes": setting.device.workspace(calls["ours"]),
    }
    if torch:
        figures |= {"torch_milliseconds": 1000 * torch.median, "ratio": torch.median / ours.median}
    return figures


MEASURED = (
    *("milliseconds", "spread_milliseconds", "samples", "torch_milliseconds", "ratio"),
    *("flops_per_second", "bytes_per_second", "percent_of_product", "percent_of_copy", "percent_of_roof"),
    *("copy_milliseconds", "workspace_bytes"),
)
