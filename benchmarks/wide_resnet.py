"""The time column of the Wide ResNet table: is a wide network faster than a deep one of as much work?

    python benchmarks/wide_resnet.py [--batch 16] [--side 224] [--samples 3] [--quick] [--json FILE]

The paper's table 8 prints milliseconds of a minibatch of 16 on a Titan X, forward and backward. Milliseconds of another
machine say nothing here, so each network stands as a ratio to ResNet-50: the paper's, ours on this CPU, and that of the
multiply-adds, which is what the ratio would be if every multiply-add took as long. Each network has a process of its
own; they are asked in turns (``train_rows.py``). A step of SGD is part of ours: one pass over the weights, about
2 % of a step. Exit code 0: all are right; 1: one is not; 2: cannot run as asked.

**See** Zagoruyko and Komodakis, "Wide Residual Networks", 2016, table 8.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from conv_report import number, print_table
from machine import headline, machine, positive, set_threads
from train_rows import QUIET, Row, compare, print_troubles

from minicnn import models
from minicnn.errors import ArgumentError

# Milliseconds of the paper; it timed the form of ResNet whose stride is on the 3x3 convolutions, as ours are.
PAPER = {"resnet50": 49, "resnet101": 82, "resnet152": 115, "wide_resnet50_2": 93, "preresnet200": 154}
FIRST = "resnet50"
BATCH, SIDE, SAMPLES = 16, 224, 3
QUICK_BATCH, QUICK_SIDE, QUICK_SAMPLES = 2, 64, 1
COLUMNS = ("network", "work", "the paper", "ours", "paper / work", "ours / work", "seconds", "peak MiB")


def measure(batch: int, side: int, threads: int, samples: int) -> Row:
    """The training step of all five networks: by name the seconds, and the most memory that was resident."""
    row: Row = {"network": "Wide ResNet's table", "batch": batch, "side": side, "trouble": {}}
    asked = {name: ("minicnn", (name, batch, side)) for name in PAPER}
    row["parameters"] = compare(row, "train", asked, threads, samples)
    right = {name: models.counts(name).params for name in PAPER}
    row["state"] = "right" if row["parameters"] == right and not row["trouble"] else "wrong"
    return row


def ratios(row: Row) -> dict[str, dict[str, float]]:
    """By network, as ratios to ResNet-50: ``work``, its multiply-adds at 224 pixels, ``paper`` and ``ours``."""
    seconds = {name: row[name]["train"]["seconds"] for name in PAPER if "train" in row.get(name, {})}
    if FIRST not in seconds:
        return {}
    work = {name: models.counts(name).macs for name in seconds}
    return {
        name: {
            "work": work[name] / work[FIRST],
            "paper": PAPER[name] / PAPER[FIRST],
            "ours": seconds[name] / seconds[FIRST],
        }
        for name in seconds
    }


def show(row: Row) -> None:
    found = ratios(row)
    cells = [_cells(row, name, found[name]) for name in found]
    title = f"Time as a ratio to ResNet-50: batch {row['batch']}, {row['side']} pixels, forward and backward"
    print_table(title, dict.fromkeys(COLUMNS, "right") | {"network": "left"}, cells)
    print_troubles([row])


def _cells(row: Row, name: str, found: dict[str, float]) -> tuple[str, ...]:
    figures: dict[str, Any] = row[name]["train"]
    parts = (found["paper"] / found["work"], found["ours"] / found["work"])
    return (
        name,
        *(f"{found[key]:.2f}" for key in ("work", "paper", "ours")),
        *(f"{part:.2f}" for part in parts),
        f"{figures['seconds']:.2f}",
        number(figures["peak"] and figures["peak"] / 2**20, "{:,.0f}"),
    )


def main(arguments: list[str] | None = None) -> int:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--batch", type=positive, help=f"images a step ({BATCH})")
    made.add_argument("--side", type=positive, help=f"of the images, in pixels ({SIDE})")
    made.add_argument("--samples", type=positive, help=f"times a network ({SAMPLES})")
    made.add_argument("--threads", type=positive, help="all cores without")
    made.add_argument("--quick", action="store_true", help=f"{QUICK_BATCH} images of {QUICK_SIDE} pixels, one sample")
    made.add_argument("--json", type=Path, help="write the figures to this file")
    chosen = made.parse_args(arguments)
    batch, side, samples = (QUICK_BATCH, QUICK_SIDE, QUICK_SAMPLES) if chosen.quick else (BATCH, SIDE, SAMPLES)
    batch, side, samples = chosen.batch or batch, chosen.side or side, chosen.samples or samples
    try:
        threads = set_threads(chosen.threads, False)["numba"]
    except ArgumentError as error:
        print(f"wide_resnet: {error}", file=sys.stderr)
        return 2
    print(headline())
    facts = machine()  # before: the load of our own workers is no news
    row = measure(batch, side, threads, samples)
    show(row)
    if chosen.json:
        settings = {"threads": threads, "samples": samples, "quiet": row.get("beside", 0.0) <= QUIET}
        figures = {"machine": facts, "settings": settings, "row": row, "ratios": ratios(row)}
        chosen.json.write_text(json.dumps(figures, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    if row["state"] == "wrong":
        print("wide_resnet: a network is wrong", file=sys.stderr)
    return 1 if row["state"] == "wrong" else 0


if __name__ == "__main__":
    sys.exit(main())
