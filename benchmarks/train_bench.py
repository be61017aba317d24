"""Whole networks: images a second in training and inference, and peak memory, beside PyTorch.

    python benchmarks/train_bench.py [--quick] [--networks NAME ...] [--json FILE] [--picture FILE.png]

Each library runs in a fresh process of its own (``train_worker.py``); the two are asked in turns, and neither is asked
before the idle threads of the other sleep. Memory is VmHWM less VmRSS after import and a small warm-up step, so that
it holds weights, gradients, momentum and activations, not code. The two must have equally many parameters and give
finite numbers; that the networks compute what the papers say is what the test suite shows. Exit code 0: all rows are
right; 1: one is not; 2: cannot run as asked.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from conv_report import number, print_table
from machine import headline, machine, positive, set_threads
from torch_peer import Torch

from minicnn.errors import ArgumentError

BATCH = {
    "lenet5": 64,
    "resnet34": 8,
    "vgg16": 4,
    "resnext50_32x4d": 8,
    "mobilenet_v1_1.0_224": 8,
    "efficientnet_b0": 8,
    "densenet121": 8,
}
SIDE, QUICK_SIDE, QUICK_BATCH = 224, 64, 2
SAMPLES, QUICK_SAMPLES = 5, 1
PASSES = ("infer", "train")
COLUMNS = ("network", "pass", "batch", "images/s", "PyTorch", "ratio", "peak MiB", "PyTorch MiB", "ratio of peaks")
WORKER = Path(__file__).resolve().with_name("train_worker.py")


class Worker:
    """A process that holds one network in one library; ``ready`` is the first line it said."""

    def __init__(self, library: str, network: str, batch: int, side: int, threads: int) -> None:
        command = [sys.executable, str(WORKER), library, network, *map(str, (batch, side, threads))]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, encoding="utf-8", bufsize=1)
        self.ready = self._answer()

    def ask(self, what: str) -> dict[str, Any]:
        assert self.process.stdin
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            return {"trouble": f"its process ended with exit code {self.process.wait()}"}
        said: dict[str, Any] = json.loads(line)
        return said

    def close(self) -> None:
        self.process.communicate()  # the end of its input ends it


def measure(network: str, batch: int, side: int, chosen: argparse.Namespace, libraries: list[str]) -> dict[str, Any]:
    """The figures of one network: for each library and pass seconds and peak memory."""
    row: dict[str, Any] = {"network": network, "batch": batch, "side": side, "state": "right", "trouble": {}}
    workers: dict[str, Worker] = {}
    try:
        for library in libraries:
            workers[library] = worker = Worker(library, network, batch, side, chosen.threads or 0)
            row[library] = {"parameters": worker.ready.get("parameters"), "threads": worker.ready.get("threads")}
        _converse(row, {name: worker for name, worker in workers.items() if _fine(row, name, worker.ready)}, chosen)
    finally:
        for worker in workers.values():
            worker.close()
    counts = {row[name]["parameters"] for name in libraries if name not in row["trouble"]}
    if "minicnn" in row["trouble"] or len(counts) > 1:
        row["state"] = "wrong"
    return row


def _converse(row: dict[str, Any], workers: dict[str, Worker], chosen: argparse.Namespace) -> None:
    for which in PASSES:
        seconds: dict[str, list[float]] = {name: [] for name in workers}
        for turn in range(chosen.samples + 1):  # the first is not counted
            for name, worker in workers.items():
                said = worker.ask(which) if name not in row["trouble"] else {}
                if said and _fine(row, name, said) and turn:
                    seconds[name].append(said["seconds"])
        for name, worker in workers.items():
            if name not in row["trouble"]:
                peak = worker.ask("memory").get("peak")
                row[name][which] = {"seconds": statistics.median(seconds[name]), "peak_bytes": peak}


def _fine(row: dict[str, Any], name: str, said: dict[str, Any]) -> bool:
    trouble = said.get("trouble") or ("" if said.get("finite", True) else "a result is not finite")
    if trouble:
        row["trouble"][name] = trouble
    return not trouble


def show(rows: list[dict[str, Any]]) -> None:
    cells = []
    for row in rows:
        for which in PASSES:
            ours, theirs = (row.get(name, {}).get(which) for name in ("minicnn", "torch"))
            speeds = [found and row["batch"] / found["seconds"] for found in (ours, theirs)]
            peaks = [found and found["peak_bytes"] and found["peak_bytes"] / 2**20 for found in (ours, theirs)]
            cells.append(
                (
                    *(row["network"], which, str(row["batch"])),
                    "WRONG" if row["state"] == "wrong" else number(speeds[0], "{:,.1f}"),
                    number(speeds[1], "{:,.1f}"),
                    number(speeds[0] / speeds[1] if all(speeds) else None, "{:.2f}"),
                    *(number(peak, "{:,.0f}") for peak in peaks),
                    number(peaks[0] / peaks[1] if all(peaks) else None, "{:.2f}"),
                )
            )
    print_table("", dict.fromkeys(COLUMNS, "right") | dict.fromkeys(COLUMNS[:2], "left"), cells)
    for row in rows:
        for name, trouble in row["trouble"].items():
            print(f"{row['network']}: {name}: {trouble}")


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Left training, in the middle inference, as parts of PyTorch's speed; right the peaks of training."""
    from matplotlib.figure import Figure

    both = [row for row in rows if all("train" in row.get(name, {}) for name in ("minicnn", "torch"))][::-1]
    names = [row["network"] for row in both]
    panels = [
        ("training speed", [row["torch"]["train"]["seconds"] / row["minicnn"]["train"]["seconds"] for row in both]),
        ("inference speed", [row["torch"]["infer"]["seconds"] / row["minicnn"]["infer"]["seconds"] for row in both]),
    ]
    if all(row[name]["train"]["peak_bytes"] for row in both for name in ("minicnn", "torch")):
        parts = [row["minicnn"]["train"]["peak_bytes"] / row["torch"]["train"]["peak_bytes"] for row in both]
        panels.append(("peak memory of training", parts))
    figure = Figure(figsize=(12, 0.4 * len(both) + 1.6), dpi=130, layout="constrained")
    for axes, (title, parts) in zip(figure.subplots(1, len(panels), sharey=True), panels, strict=True):
        axes.bar_label(axes.barh(names, parts, color="C0"), [f"{part:.2f}" for part in parts], padding=3, fontsize=9)
        axes.axvline(1, color="black", linewidth=1)
        axes.set_title(title + ", PyTorch = 1", loc="left", fontsize=11)
        axes.spines[["top", "right"]].set_visible(False)
        axes.margins(x=0.15)
    figure.savefig(path)


def main(arguments: list[str] | None = None) -> int:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--networks", nargs="+", choices=tuple(BATCH), default=list(BATCH), metavar="NAME")
    made.add_argument("--threads", type=positive, help="of Numba, BLAS and PyTorch (all cores)")
    made.add_argument("--samples", type=positive, help=f"times a network and pass ({SAMPLES})")
    made.add_argument("--quick", action="store_true", help=f"{QUICK_BATCH} images of {QUICK_SIDE} pixels, one sample")
    made.add_argument("--no-torch", action="store_true", help="do not compare with PyTorch")
    made.add_argument("--json", type=Path, help="write the figures to this file, again after every network")
    made.add_argument("--picture", type=Path, help="draw the parts of PyTorch's figures to this PNG")
    chosen = made.parse_args(arguments)
    chosen.samples = chosen.samples or (QUICK_SAMPLES if chosen.quick else SAMPLES)
    trouble = "" if chosen.no_torch else Torch.trouble("cpu")
    if trouble:
        print(trouble)
    try:
        set_threads(chosen.threads, False)  # refused here rather than in every worker
    except ArgumentError as error:
        print(f"train_bench: {error}", file=sys.stderr)
        return 2
    libraries = ["minicnn"] if chosen.no_torch or trouble else ["minicnn", "torch"]
    print(headline())
    figures: dict[str, Any] = {"machine": machine(), "samples": chosen.samples, "quick": chosen.quick, "rows": []}
    rows = figures["rows"]
    for network in chosen.networks:
        batch, side = (QUICK_BATCH, QUICK_SIDE) if chosen.quick else (BATCH[network], SIDE)
        rows.append(measure(network, batch, side, chosen, libraries))
        print(f"{network}: {rows[-1]['state']}", file=sys.stderr, flush=True)
        if chosen.json:
            chosen.json.write_text(json.dumps(figures, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    show(rows)
    if chosen.picture and any("train" in row.get("torch", {}) for row in rows):
        draw(rows, chosen.picture)
    wrong = sum(row["state"] == "wrong" for row in rows)
    if wrong:
        print(f"train_bench: {wrong} of {len(rows)} networks are wrong", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
