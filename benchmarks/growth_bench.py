"""How a network's time and memory grow with the batch: the time of an image stays, memory grows in proportion.

    python benchmarks/growth_bench.py [--quick] [--batches N ...] [--json FILE [--resume]] [--picture FILE.png]

ResNet-34 at 224 pixels, measured as ``train_bench.py`` does, beside PyTorch and, in inference, ONNX Runtime. Memory is
fitted by ``fixed + batch * per image``; ``bend`` is the largest distance of a measured peak from that line, in parts
of the peak. Exit code 0: all rows are right; 1: one is not; 2: cannot run as asked.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
from conv_report import number, print_table
from machine import positive
from train_bench import figure
from train_rows import PASSES, Row, conclude, parser, print_troubles

NETWORK, SIDE, BATCHES = "resnet34", 224, (8, 16, 32, 64)
QUICK_SIDE, QUICK_BATCHES = 64, (2, 4)
NAMES = {"minicnn": "minicnn", "torch": "PyTorch", "onnxruntime": "ONNX Runtime"}


def line(rows: list[Row], library: str, which: str) -> dict[str, float] | None:
    """Bytes: ``fixed``, ``per_image``, and ``bend``, the worst part by which a peak is off; None below two batches."""
    points = [(row["batch"], figure(row, library, which, "peak")) for row in rows]
    batches, peaks = np.array([point for point in points if point[1]], float).reshape(-1, 2).T
    if len(batches) < 2:
        return None
    per_image, fixed = np.polyfit(batches, peaks, 1)
    bend = np.abs(fixed + per_image * batches - peaks) / peaks
    return {"fixed": float(fixed), "per_image": float(per_image), "bend": float(bend.max())}


def show(rows: list[Row]) -> None:
    columns = ("library", "pass", *(f"ms an image, {row['batch']}" for row in rows))
    columns += (*(f"peak MiB, {row['batch']}" for row in rows), "fixed MiB", "MiB an image", "bend")
    cells = []
    for which, libraries in PASSES.items():
        for library in libraries:
            times = [figure(row, library, which, "seconds") for row in rows]
            peaks = [figure(row, library, which, "peak") for row in rows]
            fit = line(rows, library, which)
            cells.append(
                (
                    *(NAMES[library], which),
                    *(
                        number(time and 1e3 * time / row["batch"], "{:.1f}")
                        for time, row in zip(times, rows, strict=True)
                    ),
                    *(number(peak and peak / 2**20, "{:,.0f}") for peak in peaks),
                    *(number(fit[key] / 2**20 if fit else None, "{:,.1f}") for key in ("fixed", "per_image")),
                    number(fit["bend"] if fit else None, "{:.1%}"),
                )
            )
    print_table("", dict.fromkeys(columns, "right") | dict.fromkeys(columns[:2], "left"), cells)
    print_troubles(rows)


def draw(rows: list[Row], path: Path) -> None:
    """Left the time of an image, right the peak, against the batch; training above, inference below."""
    from matplotlib.figure import Figure

    picture = Figure(figsize=(10, 7), dpi=130, layout="constrained")
    parts = {"seconds": ("milliseconds an image", 1e3), "peak": ("peak of memory, MiB", 2**-20)}
    for (which, title), pair in zip(
        {"train": "training", "infer": "inference"}.items(), picture.subplots(2, 2, sharex=True), strict=True
    ):
        for axes, (key, (label, scale)) in zip(pair, parts.items(), strict=True):
            for library in PASSES[which]:
                _plot(axes, rows, library, which, key, scale)
            axes.set_ylim(0, 1.1 * axes.dataLim.ymax)
            axes.set_xlim(0, 1.05 * axes.dataLim.xmax)
            axes.set_xticks([row["batch"] for row in rows])
            axes.set_title(f"{title}: {label}", loc="left", fontsize=10)
            axes.spines[["top", "right"]].set_visible(False)
        pair[0].legend(frameon=False)
    for axes in picture.axes[-2:]:
        axes.set_xlabel(f"batch of {rows[0]['network']}")
    picture.savefig(path)


def _plot(axes: Any, rows: list[Row], library: str, which: str, key: str, scale: float) -> None:
    taken = [(row["batch"], figure(row, library, which, key)) for row in rows]
    points = [(batch, scale * found / (batch if key == "seconds" else 1)) for batch, found in taken if found]
    color = f"C{list(NAMES).index(library)}"
    axes.plot(*zip(*points, strict=True) if points else ([], []), "o-", color=color, label=NAMES[library])


def main(arguments: list[str] | None = None) -> int:
    made = parser(__doc__)
    made.add_argument(
        "--batches", nargs="+", type=positive, metavar="N", help=f"images ({' '.join(map(str, BATCHES))})"
    )
    chosen = made.parse_args(arguments)
    batches = chosen.batches or (QUICK_BATCHES if chosen.quick else BATCHES)
    jobs = [(NETWORK, batch, QUICK_SIDE if chosen.quick else SIDE) for batch in batches]
    return conclude("growth_bench", chosen, jobs, show, draw)


if __name__ == "__main__":
    sys.exit(main())
