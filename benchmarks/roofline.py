"""The roofline of a file that ``conv_bench.py`` wrote: what each convolution reached, under the measured roofs.

    python benchmarks/roofline.py FIGURES.json PICTURE.png

Across: operations for each byte of x, weights and y. Up: operations a second. Left of the ridge the copy bounds,
right of it the product. Colour: network (the first that has the convolution); shape: pass.

**See** Williams, Waterman, Patterson, "Roofline: An Insightful Visual Performance Model", 2009.
"""

import argparse
import json
from pathlib import Path
from typing import Any

COLOURS = [f"C{index}" for index in (0, 1, 2, 3, 4, 5, 6, 8, 9)]  # C7 is grey
MARKERS = {"forward": "o", "grad_x": "^", "grad_w": "s"}


def draw(figures: dict[str, Any], path: Path) -> None:
    """Draw the timed rows; PyTorch's times are the small grey points, where there are any."""
    from matplotlib.figure import Figure

    rows = [row for row in figures["rows"] if row["milliseconds"] is not None]
    picture = Figure(figsize=(11, 6.5), dpi=130, layout="constrained")
    axes = picture.add_subplot(xscale="log", yscale="log")
    _roofs(axes, figures["controls"][0], rows)
    compared = [row for row in rows if row["torch_milliseconds"]]
    if compared:
        reached = [row["flops"] / row["torch_milliseconds"] / 1e6 for row in compared]
        axes.plot([_intensity(row) for row in compared], reached, ".", color="0.7", markersize=5, label="PyTorch")
    names = list(dict.fromkeys(_network(row) for row in rows))
    for row in rows:
        look = {"color": COLOURS[names.index(_network(row))], "markersize": 6, "alpha": 0.75, "markeredgewidth": 0}
        axes.plot(_intensity(row), row["flops_per_second"] / 1e9, MARKERS[row["pass"]], **look)
    for network, colour in zip(names, COLOURS, strict=False):
        axes.plot([], [], "o", color=colour, label=network)
    for which in dict.fromkeys(row["pass"] for row in rows):
        axes.plot([], [], MARKERS[which], color="0.3", label=which)
    settings = figures["settings"]
    where = figures["machine"].get("gpu") or figures["machine"]["processor"]
    threads = f", threads: {figures['threads']['numba']}" if settings["device"] == "cpu" else ""
    axes.set_title(f"{where}, {settings['dtype']}, batch {settings['batch']}{threads}")
    axes.set_xlabel("operations a byte of x, weights and y (FLOP/byte)")
    axes.set_ylabel("GFLOP/s")
    axes.grid(which="major", color="0.9")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:,g}")
    picture.legend(loc="outside right upper", frameon=False)
    picture.savefig(path)


def _roofs(axes: Any, control: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    product, copy = control["flops_per_second"] / 1e9, control["bytes_per_second"] / 1e9
    ridge = product / copy
    places = [_intensity(row) for row in rows] + [ridge]
    low, high = min(places) / 2, max(places) * 2
    axes.plot([low, ridge, high], [low * copy, product, product], color="black", linewidth=1.5)
    axes.annotate(f"product: {product:,.0f} GFLOP/s", (high, product), (0, 5), textcoords="offset points", ha="right")
    axes.annotate(f"copy: {copy:,.0f} GB/s", (low, low * copy), (8, -3), textcoords="offset points", va="center")


def _network(row: dict[str, Any]) -> str:
    return str(next(iter(row["networks"])))


def _intensity(row: dict[str, Any]) -> float:
    return float(row["flops"] / row["bytes"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("figures", type=Path)
    parser.add_argument("picture", type=Path)
    chosen = parser.parse_args()
    draw(json.loads(chosen.figures.read_text(encoding="utf-8")), chosen.picture)


if __name__ == "__main__":
    main()
