"""Whole networks: images a second in training and inference, and peak memory, beside PyTorch and ONNX Runtime.

    python benchmarks/train_bench.py [--quick] [--networks NAME ...] [--json FILE [--resume]] [--picture FILE.png]

A training step is forward, loss, backward and a step of SGD with momentum. Inference is ours after ``minicnn.fuse``,
PyTorch's in eval mode, and ONNX Runtime's, which infers only. Each library and pass runs in a fresh process of its own
(``train_worker.py``); they are asked in turns, and none is asked before the idle threads of the others sleep. A ratio
above 1: we are faster, or our peak is lower. That the networks compute what papers say is what the test suite shows.
Exit code 0: all rows are right; 1: one is not; 2: cannot run as asked.
"""

import sys
from pathlib import Path
from typing import Any

import goals
from conv_report import number, print_table
from train_rows import PASSES, Row, conclude, parser, print_troubles

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
COLUMNS = (
    *("network", "pass", "batch", "images/s", "PyTorch", "ratio", "ONNX Runtime", "ratio "),
    *("peak MiB", "PyTorch MiB", "ratio  ", "in all", "PyTorch in all"),
)


def figure(row: Row, library: str, which: str, key: str) -> Any:
    """A figure of a row; None where it was not taken."""
    return row.get(library, {}).get(which, {}).get(key)


def ratio(row: Row, library: str, which: str, key: str) -> float | None:
    """The other library's figure over ours: above 1 where ours is the better."""
    ours, theirs = (figure(row, name, which, key) for name in ("minicnn", library))
    return theirs / ours if ours and theirs else None


def show(rows: list[Row]) -> None:
    cells = [_cells(row, which) for row in rows for which in PASSES]
    print_table("", dict.fromkeys(COLUMNS, "right") | dict.fromkeys(COLUMNS[:2], "left"), cells)
    print_troubles(rows)
    goals.show(asked(rows))


def asked(rows: list[Row]) -> list[Row]:
    """What the project asks of networks, beside PyTorch."""

    def ratios(which: str, key: str) -> dict[str, float]:
        found = ((row["network"], ratio(row, "torch", which, key)) for row in rows if row["state"] == "right")
        return {name: value for name, value in found if value}

    return goals.of_networks(ratios("train", "seconds"), ratios("infer", "seconds"), ratios("train", "peak"))


def _cells(row: Row, which: str) -> tuple[str, ...]:
    def speed(library: str) -> str:
        seconds = figure(row, library, which, "seconds")
        return number(seconds and row["batch"] / seconds, "{:,.1f}")

    def mebibytes(library: str, key: str) -> str:
        size = figure(row, library, which, key)
        return number(size and size / 2**20, "{:,.0f}")

    def of(library: str, key: str) -> str:
        return number(ratio(row, library, which, key), "{:.2f}")

    return (
        *(row["network"], which, str(row["batch"])),
        *("WRONG" if row["state"] == "wrong" else speed("minicnn"), speed("torch"), of("torch", "seconds")),
        *(speed("onnxruntime"), of("onnxruntime", "seconds")),
        *(mebibytes("minicnn", "peak"), mebibytes("torch", "peak"), of("torch", "peak")),
        *(mebibytes("minicnn", "total"), mebibytes("torch", "total")),
    )


def draw(rows: list[Row], path: Path) -> None:
    """How many times better than PyTorch, and in inference than ONNX Runtime."""
    from matplotlib.figure import Figure

    both = [row for row in rows if ratio(row, "torch", "train", "seconds")][::-1]
    panels = (
        ("training: their time / ours", "train", "seconds", ("torch",)),
        ("inference: their time / ours", "infer", "seconds", ("torch", "onnxruntime")),
        ("training: their peak memory / ours", "train", "peak", ("torch",)),
    )
    picture = Figure(figsize=(12, 0.5 * len(both) + 1.6), dpi=130, layout="constrained")
    for axes, (title, which, key, libraries) in zip(picture.subplots(1, 3, sharey=True), panels, strict=True):
        for place, library in enumerate(libraries):
            ratios = [ratio(row, library, which, key) or 0 for row in both]
            height = 0.8 / len(libraries)
            spots = [spot - place * height + 0.4 - height / 2 for spot in range(len(both))]
            name = {"torch": "against PyTorch", "onnxruntime": "against ONNX Runtime"}[library]
            bars = axes.barh(spots, ratios, height, color=f"C{place}", label=name)
            axes.bar_label(bars, [f"{value:.2f}" if value else "" for value in ratios], padding=3, fontsize=8)
        axes.set_yticks(range(len(both)), [f"{row['network']}, {row['batch']}" for row in both])
        axes.axvline(1, color="black", linewidth=1, zorder=0)
        axes.set_title(title, loc="left", fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
        axes.margins(x=0.18)
        if len(libraries) > 1:
            axes.legend(frameon=False, fontsize=8)
    picture.savefig(path)


def main(arguments: list[str] | None = None) -> int:
    made = parser(__doc__)
    made.add_argument("--networks", nargs="+", choices=tuple(BATCH), default=list(BATCH), metavar="NAME")
    chosen = made.parse_args(arguments)
    jobs = [(name, *((QUICK_BATCH, QUICK_SIDE) if chosen.quick else (BATCH[name], SIDE))) for name in chosen.networks]
    return conclude("train_bench", chosen, jobs, show, draw, asked)


if __name__ == "__main__":
    sys.exit(main())
