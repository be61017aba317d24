"""The pictures of a run: learning curves and the confusion matrix."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

TRAIN, VALIDATION, RATE, MISTAKE, GREY = "#8d99a6", "#c1440e", "#2a6f97", "#b3200b", "#5f6b76"
ZERO = 0.05  # stands for an error of 0 %
Rows = Sequence[dict[str, float]]


def _figure(width: float, height: float) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # Without pyplot: no display, no global state, safe in any thread.
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def draw_curves(rows: Rows, path: Path, title: str) -> None:
    """Loss, error and learning rate by epoch; loss and error on log scales, where the last percent can be seen."""
    from matplotlib.ticker import MaxNLocator

    figure = _figure(13, 4)
    losses, errors, rates = figure.subplots(1, 3)
    best = max(rows, key=lambda row: (row["val_accuracy"], -row["val_loss"]))
    _draw_pair(losses, rows, best, "cross-entropy loss", lambda row, part: row[f"{part}_loss"], "{:.3g}")
    _draw_pair(errors, rows, best, "error, %", _error, "{:g}")
    rates.plot(*_by_epoch(rows, lambda row: row["lr"]), color=RATE, **_line(rows))
    rates.set_title("learning rate", loc="left", fontsize=11)
    rates.set_ylim(0, 1.08 * max(row["lr"] for row in rows) or None)
    for axis in (losses, errors, rates):
        axis.set_xlabel("epoch", color=GREY)
        axis.grid(alpha=0.2, which="both", linewidth=0.6)
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(colors=GREY, labelsize=9)
        axis.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True))
    score = f"best on validation: {100 * best['val_accuracy']:.2f} %, epoch {best['epoch']:.0f}"
    figure.suptitle(f"{title}; {score}", x=0.008, ha="left", fontsize=12)
    figure.savefig(path, dpi=120)


def _error(row: dict[str, float], part: str) -> float:
    """Percent; an error of 0 has no place on a log scale: it is drawn at the foot, where the label says 0."""
    return max(100 - 100 * row[f"{part}_accuracy"], ZERO)


def _line(rows: Rows) -> dict[str, Any]:
    return {"linewidth": 1.8, "marker": "o" if len(rows) < 4 else None, "markersize": 4}


def _by_epoch(rows: Rows, value: Any) -> tuple[list[float], list[float]]:
    return [row["epoch"] for row in rows], [value(row) for row in rows]


def _draw_pair(axis: Any, rows: Rows, best: dict[str, float], title: str, value: Any, labels: str) -> None:
    """Training and validation by epoch, and where the best epoch lies."""
    from matplotlib.ticker import LogLocator, NullFormatter

    for part, name, colour in (("train", "training", TRAIN), ("val", "validation", VALIDATION)):
        axis.plot(*_by_epoch(rows, lambda row, part=part: value(row, part)), color=colour, label=name, **_line(rows))
    axis.plot(best["epoch"], value(best, "val"), "o", color=VALIDATION, markersize=7, markerfacecolor="white", zorder=3)
    axis.set_yscale("log")
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    foot = ZERO if value is _error else 0.0
    axis.yaxis.set_major_formatter(lambda tick, _: labels.format(tick) if tick > foot else "0" if tick == foot else "")
    axis.yaxis.set_minor_formatter(NullFormatter())
    axis.set_title(title, loc="left", fontsize=11)
    axis.legend(frameon=False, fontsize=10, loc="upper right")


def draw_confusion(confusion: NDArray[np.int64], classes: Sequence[str], path: Path, title: str, result: str) -> None:
    """The confusion matrix, coloured by the share of each true class; mistakes stand out, zeros stay empty."""
    from matplotlib.colors import LinearSegmentedColormap

    count = len(classes)
    long = max(map(len, classes)) > 3
    side = min(max(5.0, 0.48 * count + 1.6), 16)
    figure = _figure(side + (1.2 if long else 0.8), side + (0.9 if long else 0.4))
    axis = figure.subplots()
    share = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    right = np.eye(count, dtype=bool)
    # Blue says right, red wrong; the root of the share lets a single mistake be seen.
    for part, top in ((right, "#1d5f8a"), (~right, MISTAKE)):
        colours = LinearSegmentedColormap.from_list("share", ["#ffffff", top])
        axis.imshow(np.ma.masked_where(~part, np.sqrt(share)), cmap=colours, vmin=0, vmax=1)
    for t, p in np.argwhere(confusion > 0) if count <= 30 else ():
        colour = "white" if share[t, p] > 0.25 else "black" if t == p else MISTAKE
        weight = None if t == p else "bold"
        axis.text(p, t, f"{confusion[t, p]}", ha="center", va="center", color=colour, fontsize=10, fontweight=weight)
    shown = range(0, count, -(-count // 50))  # of hundreds of classes every n-th name
    names = [classes[k] for k in shown]
    axis.set_xticks(shown, names, rotation=60 if long else 0, ha="right" if long else "center", rotation_mode="anchor")
    axis.set_yticks(shown, names)
    axis.tick_params(length=0, labelsize=10)
    if count <= 30:
        axis.set_xticks(np.arange(count + 1) - 0.5, minor=True)
        axis.set_yticks(np.arange(count + 1) - 0.5, minor=True)
        axis.grid(which="minor", color="#e3e7ea", linewidth=0.8)
        axis.tick_params(which="minor", length=0)
    axis.spines[:].set_color("#c9d0d6")
    axis.set_xlabel("predicted", color=GREY)
    axis.set_ylabel("true", color=GREY)
    figure.suptitle(f"{title}\n{result}", x=0.02, ha="left", fontsize=11)
    figure.savefig(path, dpi=120)
