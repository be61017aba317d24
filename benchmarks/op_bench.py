"""Everything that is no convolution, forward and backward, beside PyTorch and beside a copy of the same bytes.

    python benchmarks/op_bench.py [--quick] [--json FILE] [--picture FILE.png]

These operations are bound by memory: ``copy`` is the time of moving as many bytes as the row must read and write
(x and y; gy and gx; the arrays of an optimiser), ``of copy`` how near the row comes to it. A row is first verified
against float64 and only timed when it is right. Exit code 0: all are right; 1: one is wrong; 2: cannot run as asked.
"""

import argparse
import itertools
import json
import math
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import goals
import numpy as np
from conv_report import number, print_table
from machine import headline, machine, positive, set_threads
from op_rows import OPS, OPTIMISERS, Op, distinct_values, slope
from peaks import copier
from timing import Calls, Cpu
from torch_peer import Torch

import minicnn
from minicnn import models, ops, optim
from minicnn.errors import ArgumentError

# float32. Forward and step: max|a-b| / max|b|. Backward: the slope's error against the gradient's norm; of millions of
# numbers in float32 a few neighbours are equal, and where they tie the slope is not the gradient.
TOLERANCE = {"forward": 1e-4, "backward": 1e-3, "step": 1e-4}
BATCH, QUICK_BATCH = 8, 2
NET = "resnet18"  # whose parameters the optimisers move
COLUMNS = ("operation", "pass", "shape", "as in", "ms", "PyTorch ms", "ratio", "copy ms", "of copy", "error")


class Library(NamedTuple):
    """What a row needs of minicnn or PyTorch."""

    functions: Any
    optimisers: Any
    tensor: Callable[[np.ndarray, bool], Any]


def minicnn_library() -> Library:
    return Library(ops, optim, lambda array, grad: minicnn.Tensor(array, requires_grad=grad))


def torch_library() -> Library:
    import torch

    return Library(torch.nn.functional, torch.optim, lambda array, grad: torch.tensor(array, requires_grad=grad))


def op_calls(library: Library, op: Op, x: np.ndarray, gy: np.ndarray, others: tuple[np.ndarray, ...]) -> Calls:
    """``forward`` builds no graph to keep; ``backward`` goes through one graph again and again."""
    still = [library.tensor(array, False) for array in (x, *others)]
    leaf, upstream = library.tensor(x, True), library.tensor(gy, False)
    y = op.run(library.functions, leaf, *still[1:])

    def backward() -> Any:
        leaf.grad = None
        y.backward(upstream, retain_graph=True)
        return leaf.grad

    return {"forward": lambda: op.run(library.functions, *still), "backward": backward, "output": lambda: y.detach()}


def op_rows(op: Op, batch: int, libraries: dict[str, Library]) -> Iterator[tuple[dict[str, Any], Calls, int]]:
    """The row of each pass, its calls and the bytes it must move."""
    rng = np.random.default_rng(0)
    shape = (batch, *op.shape)
    x, others = distinct_values(rng, shape), op.others(rng, shape)
    y = np.asarray(op.run(ops, minicnn.Tensor(x), *others).numpy())
    gy, d = rng.standard_normal(y.shape, np.float32), rng.standard_normal(shape)
    calls = {name: op_calls(library, op, x, gy, others) for name, library in libraries.items()}
    output = calls["ours"]["output"]().numpy()
    expected = op.twin(x.astype(np.float64), output, *others)
    gx = calls["ours"]["backward"]().numpy().astype(np.float64)
    off = abs((gx * d).sum() - slope(op, x, output, gy, others, d)) / max(float(np.linalg.norm(gx)), 1e-30)
    errors = {"forward": float(np.abs(output - expected).max() / np.abs(expected).max()), "backward": float(off)}
    for which, error in errors.items():
        row = {"operation": op.name, "pass": which, "shape": list(shape), "where": op.where, "error": error}
        yield row, {name: these[which] for name, these in calls.items()}, x.nbytes + y.nbytes


def optimiser_rows(quick: bool, libraries: dict[str, Library]) -> Iterator[tuple[dict[str, Any], Calls, int]]:
    """A step of each optimiser over all parameters of a network."""
    with minicnn.abstract():
        shapes = [parameter.shape for parameter in models.create(NET).parameters()]
    rng = np.random.default_rng(0)
    pairs = [
        tuple(rng.standard_normal(shape, np.float32) for _ in range(2)) for shape in shapes[: 3 if quick else None]
    ]
    for name, options, twin, arrays in OPTIMISERS:
        moved = {}
        for side, library in libraries.items():
            parameters = [library.tensor(weight.copy(), True) for weight, _ in pairs]
            for parameter, (_, gradient) in zip(parameters, pairs, strict=True):
                parameter.grad = library.tensor(gradient, False)
            moved[side] = parameters, getattr(library.optimisers, name)(parameters, **options)
        ours, optimiser = moved["ours"]
        optimiser.step()
        optimiser.step()
        error = 0.0
        for parameter, (weight, gradient) in zip(ours, pairs, strict=True):
            expected = twin(weight.astype(np.float64), gradient.astype(np.float64), 2)
            error = max(error, float(np.abs(parameter.numpy() - expected).max() / np.abs(expected).max()))
        count = sum(weight.size for weight, _ in pairs)
        row = {"operation": name, "pass": "step", "shape": [count], "where": NET, "error": error}
        yield row, {side: made.step for side, (_, made) in moved.items()}, 4 * count * arrays


def measure(
    chosen: argparse.Namespace, libraries: dict[str, Library], batch: int, threads: int
) -> Iterator[dict[str, Any]]:
    """The rows, verified and, where right, timed in turns with PyTorch and the copy."""
    every = itertools.chain(
        itertools.chain.from_iterable(op_rows(op, batch, libraries) for op in OPS),
        optimiser_rows(chosen.quick, libraries),
    )
    with ThreadPoolExecutor(threads) as pool:
        for row, calls, moved in every:
            right = row["error"] <= TOLERANCE[row["pass"]]  # not, when it is not a number
            row |= {"state": "right" if right else "wrong", "bytes": moved}
            row |= dict.fromkeys(("milliseconds", "torch_milliseconds", "ratio", "copy_milliseconds", "of_copy"))
            if not math.isfinite(row["error"]):
                row["error"] = None
            if right:
                timed = {**calls, "copy": copier(Cpu(), moved, pool, threads)}
                times = Cpu().times(timed, chosen.samples)
                ours, copy = times["ours"].median, times["copy"].median
                row |= {"milliseconds": 1000 * ours, "copy_milliseconds": 1000 * copy, "of_copy": copy / ours}
                if "torch" in times:
                    theirs = times["torch"].median
                    row |= {"torch_milliseconds": 1000 * theirs, "ratio": theirs / ours}
            yield row


def show(rows: list[dict[str, Any]]) -> None:
    cells = [
        (
            row["operation"],
            row["pass"],
            "x".join(map(str, row["shape"])),
            row["where"],
            number(row["milliseconds"], "{:.3f}") or "WRONG",
            number(row["torch_milliseconds"], "{:.3f}"),
            number(row["ratio"], "{:.2f}"),
            number(row["copy_milliseconds"], "{:.3f}"),
            number(row["of_copy"], "{:.2f}"),
            number(row["error"], "{:.0e}"),
        )
        for row in rows
    ]
    left = dict.fromkeys(COLUMNS[:4], "left")
    print_table("", dict.fromkeys(COLUMNS, "right") | left, cells)


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Times of a copy's time: 1 is as fast as memory allows; ours and PyTorch's side by side."""
    from matplotlib.figure import Figure

    timed = [row for row in rows if row["milliseconds"] is not None][::-1]
    places = np.arange(len(timed))
    figure = Figure(figsize=(9, 0.32 * len(timed) + 1.4), dpi=130, layout="constrained")
    axes = figure.add_subplot(xscale="log")
    for name, key, shift in (("minicnn", "milliseconds", 0.2), ("PyTorch", "torch_milliseconds", -0.2)):
        if all(row[key] for row in timed):
            axes.barh(places + shift, [row[key] / row["copy_milliseconds"] for row in timed], 0.4, label=name)
    axes.set_yticks(places, [f"{row['operation']} {row['pass']}, {row['where']}" for row in timed], fontsize=8)
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xlabel("time, in times of a copy of the same bytes")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(path)


def main(arguments: list[str] | None = None) -> int:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--batch", type=positive, help=f"images ({BATCH})")
    made.add_argument("--threads", type=positive, help="of Numba, BLAS and PyTorch (all cores)")
    made.add_argument("--samples", type=positive, help=f"times a row ({Cpu.samples})")
    made.add_argument("--quick", action="store_true", help="a small batch, three parameters, few samples")
    made.add_argument("--no-torch", action="store_true", help="do not compare with PyTorch")
    made.add_argument("--json", type=Path, help="write the figures to this file")
    made.add_argument("--picture", type=Path, help="draw the times to this PNG")
    chosen = made.parse_args(arguments)
    chosen.samples = chosen.samples or (3 if chosen.quick else None)
    trouble = "" if chosen.no_torch else Torch.trouble("cpu")
    if trouble:
        print(trouble)
    compared = not (chosen.no_torch or trouble)
    libraries = {"ours": minicnn_library()} | ({"torch": torch_library()} if compared else {})
    try:
        threads = set_threads(chosen.threads, compared)
    except ArgumentError as error:
        print(f"op_bench: {error}", file=sys.stderr)
        return 2
    print(headline())
    print("threads: " + ", ".join(f"{name} {count}" for name, count in threads.items()))
    batch = chosen.batch or (QUICK_BATCH if chosen.quick else BATCH)
    rows = []
    for row in measure(chosen, libraries, batch, threads["numba"]):
        rows.append(row)
        print(f"{row['operation']} {row['pass']}: {row['state']}", file=sys.stderr, flush=True)
    show(rows)
    asked = goals.of_operations(rows)
    goals.show(asked)
    if chosen.json:
        figures = {"machine": machine(), "threads": threads, "batch": batch, "rows": rows, "summary": {"goals": asked}}
        chosen.json.write_text(json.dumps(figures, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    if chosen.picture:
        draw(rows, chosen.picture)
    wrong = sum(row["state"] == "wrong" for row in rows)
    if wrong:
        print(f"op_bench: {wrong} of {len(rows)} rows are wrong", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
