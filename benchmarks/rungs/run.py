"""One convolution, every way a course climbs: from loops of Python to the engine's own plan and PyTorch's.

    python benchmarks/rungs/run.py [--size small|medium|large] [--json FILE] [--picture FILE.png]

Every rung is first compared with float64, and only timed when it is right. GFLOP/s counts the operations of the
definition for all of them, so that one with fewer multiplications can pass the roof of the product. Exit code 0: all
are right; 1: one is wrong; 2: cannot run as asked.
"""

import argparse
import json
import math
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the other benchmarks

import numpy as np
import peaks
from conv_reference import error, reference
from conv_report import number, print_table
from conv_shapes import Conv
from machine import headline, machine, positive, set_threads
from timing import Call, Cpu, Times

from minicnn.errors import ArgumentError
from rungs.ladder import Rung, ladder

SIZES = {"small": Conv(8, 16, 8, 3, 1, 1), "medium": Conv(32, 28, 32, 3, 1, 1), "large": Conv(64, 56, 64, 3, 1, 1)}
TOLERANCE = 1e-4  # float32
SLOW_SECONDS = 1.0  # a rung slower than this is timed by one call, its second: the first may compile
PATIENCE_SECONDS = 20.0  # a rung slower than this is not run again to see its workspace
COLUMNS = ("rung", "ms", "× first", "× before", "GFLOP/s", "% of product", "workspace MiB", "error", "lines")
MEASURED = ("milliseconds", "times_first", "times_before", "flops_per_second", "percent_of_product", "workspace_bytes")


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--size", choices=tuple(SIZES), default="medium")
    made.add_argument("--batch", type=positive, default=1, help="images (1)")
    made.add_argument("--threads", type=positive, help="of Numba, BLAS and PyTorch (all cores)")
    made.add_argument("--samples", type=positive, help=f"times a rung ({Cpu.samples})")
    made.add_argument("--no-torch", action="store_true", help="without the last rung")
    made.add_argument("--json", type=Path, help="write the figures to this file")
    made.add_argument("--picture", type=Path, help="draw the speeds to this PNG")
    return made


def climb(conv: Conv, batch: int, rungs: list[Rung], samples: int | None, product: float) -> list[dict[str, Any]]:
    """A row for each rung; ``product`` is the measured FLOP/s of a large matrix product."""
    rng = np.random.default_rng(0)
    x, weight = (rng.standard_normal(shape, np.float32) for shape in (conv.x_shape(batch), conv.weight_shape))
    expected = reference("forward", conv, x, weight, np.zeros(conv.y_shape(batch), np.float32))
    rows, calls, once = [], {}, {}
    for rung in rungs:
        row = {"rung": rung.name, "state": "refused", "reason": rung.trouble(conv), "error": None, "lines": rung.lines}
        rows.append(row | dict.fromkeys(MEASURED))
        if not row["reason"]:

            def call(rung: Rung = rung) -> np.ndarray:
                return rung.convolve(x, weight, conv.padding)

            once[rung.name], result = _seconds(call)
            off = error(result, expected)
            right = off <= TOLERANCE  # not, when off is not a number
            rows[-1] |= {"state": "right" if right else "wrong", "error": off if math.isfinite(off) else None}
            if right:
                calls[rung.name] = call
                if once[rung.name] > SLOW_SECONDS:
                    once[rung.name], _ = _seconds(call)
    times = {name: Times.of([once[name]]) for name in calls if once[name] > SLOW_SECONDS}
    times |= Cpu().times({name: call for name, call in calls.items() if name not in times}, samples)
    for row in rows:
        if row["rung"] in times:
            call = calls[row["rung"]]
            seen = row["rung"] != "PyTorch" and times[row["rung"]].median < PATIENCE_SECONDS
            row["workspace_bytes"] = Cpu().workspace(call) if seen else None
    _speeds(rows, times, 2 * batch * conv.macs, product)
    return rows


def _seconds(call: Call) -> tuple[float, np.ndarray]:
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def _speeds(rows: list[dict[str, Any]], times: dict[str, Times], flops: int, product: float) -> None:
    """Fill in the figures that follow from the times; "before" is the nearest rung below that has a time."""
    timed = [row for row in rows if row["rung"] in times]
    for row, before in zip(timed, [timed[0], *timed] if timed else [], strict=False):
        seconds = times[row["rung"]].median
        row |= {
            "milliseconds": 1000 * seconds,
            "samples": times[row["rung"]].samples,
            "times_first": times[timed[0]["rung"]].median / seconds,
            "times_before": times[before["rung"]].median / seconds,
            "flops_per_second": flops / seconds,
            "percent_of_product": 100 * flops / seconds / product,
        }


def show(rows: list[dict[str, Any]]) -> None:
    cells = []
    for row in rows:
        space = row["workspace_bytes"]
        timed = (
            number(row["milliseconds"], "{:.3f}") or ("WRONG" if row["state"] == "wrong" else row["reason"]),
            number(row["times_first"], "{:,.1f}"),
            number(row["times_before"], "{:.2f}"),
            number(row["flops_per_second"] and row["flops_per_second"] / 1e9, "{:.3g}"),
            number(row["percent_of_product"], "{:.3g}"),
            number(None if space is None else space / 2**20, "{:.2f}"),
        )
        cells.append((row["rung"], *timed, number(row["error"], "{:.0e}"), number(row["lines"], "{}")))
    print_table("", dict.fromkeys(COLUMNS, "right") | {"rung": "left"}, cells)


def draw(figures: dict[str, Any], path: Path) -> None:
    """A bar for each rung, its GFLOP/s on a logarithmic axis; the line is the measured product."""
    from matplotlib.figure import Figure

    rows = [row for row in figures["rows"] if row["milliseconds"] is not None][::-1]
    times = [row["milliseconds"] for row in rows]
    picture = Figure(figsize=(9, 0.45 * len(rows) + 1.4), dpi=130, layout="constrained")
    axes = picture.add_subplot(xscale="log")
    bars = axes.barh([row["rung"] for row in rows], [row["flops_per_second"] / 1e9 for row in rows], color="C0")
    labels = [f"{time:,.0f} ms" if time >= 100 else f"{time:.3g} ms" for time in times]
    axes.bar_label(bars, labels, padding=3, fontsize=9)
    axes.axvline(figures["product_flops_per_second"] / 1e9, color="black", linewidth=1, label="large product")
    axes.set_xlabel("GFLOP/s of the definition")
    axes.set_title(f"{figures['convolution']}, batch {figures['batch']}", loc="left", fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.15)
    axes.legend(frameon=False, fontsize=9)
    picture.savefig(path)


def main(arguments: list[str] | None = None) -> int:
    chosen = parser().parse_args(arguments)
    rungs = ladder(not chosen.no_torch)
    try:
        threads = set_threads(chosen.threads, rungs[-1].name == "PyTorch")
    except ArgumentError as trouble:
        print(f"rungs: {trouble}", file=sys.stderr)
        return 2
    conv = SIZES[chosen.size]
    print(headline())
    print("threads: " + ", ".join(f"{name} {count}" for name, count in threads.items()))
    product = peaks.measure(Cpu(), np.dtype(np.float32), threads["numba"], chosen.samples).flops_per_second
    print(f"{conv}, batch {chosen.batch}; large product {product / 1e9:,.0f} GFLOP/s", flush=True)
    rows = climb(conv, chosen.batch, rungs, chosen.samples, product)
    show(rows)
    figures = {
        "machine": machine(),
        "threads": threads,
        "convolution": str(conv),
        "batch": chosen.batch,
        "product_flops_per_second": product,
        "rows": rows,
    }
    if chosen.json:
        chosen.json.write_text(json.dumps(figures, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    if chosen.picture and any(row["milliseconds"] for row in rows):
        draw(figures, chosen.picture)
    wrong = sum(row["state"] == "wrong" for row in rows)
    if wrong:
        print(f"rungs: {wrong} of {len(rows)} rungs are wrong", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
