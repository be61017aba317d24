"""The pictures of a run: learning curves and the confusion matrix."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

TRAIN, VALIDATION = "#7a8793", "#c1440e"


def _figure(width: float, height: float) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # Without pyplot: no display, no global state, safe in any thread.
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path, dpi=120)


def draw_curves(rows: Sequence[dict[str, float]], path: Path, title: str) -> None:
    """Loss, error and learning rate by epoch; the error on a log scale, where the last percent can be seen."""
    figure = _figure(12, 3.8)
    losses, errors, rates = figure.subplots(1, 3)
    epochs = [row["epoch"] for row in rows]
    for axis, key, label in ((losses, "loss", "cross-entropy"), (errors, "accuracy", "error, %")):
        for part, colour in (("train", TRAIN), ("val", VALIDATION)):
            values = np.array([row[f"{part}_{key}"] for row in rows])
            if key == "accuracy":
                # an error of 0 has no place on a log scale: it is drawn at the foot
                values = np.maximum(100 * (1 - values), 0.05)
            name = {"train": "training", "val": "validation"}[part]
            axis.plot(epochs, values, color=colour, label=name, linewidth=1.6, marker="o" if len(rows) < 3 else None)
        axis.set_title(label, loc="left", fontsize=10)
    errors.set_yscale("log")
    errors.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    best = max(rows, key=lambda row: row["val_accuracy"])
    errors.axvline(best["epoch"], color=VALIDATION, linewidth=0.8, linestyle=":")
    errors.annotate(
        f"best: {100 * best['val_accuracy']:.2f} %",
        (best["epoch"], errors.get_ylim()[1]),
        xytext=(-4, -12),
        textcoords="offset points",
        ha="right",
        fontsize=8,
        color=VALIDATION,
    )
    losses.legend(frameon=False, fontsize=9)
    rates.plot(epochs, [row["lr"] for row in rows], color="#2a6f97", linewidth=1.6)
    rates.set_title("learning rate", loc="left", fontsize=10)
    rates.set_ylim(bottom=0)
    for axis in (losses, errors, rates):
        axis.set_xlabel("epoch")
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
    _save(figure, path)


def draw_confusion(confusion: NDArray[np.int64], classes: Sequence[str], path: Path, title: str) -> None:
    """The confusion matrix, coloured by the share of each true class; mistakes stand out, zeros stay empty."""
    count = len(classes)
    side = min(max(4.5, 0.5 * count + 2), 16)
    figure = _figure(side + 1, side)
    axis = figure.subplots()
    share = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    image = axis.imshow(np.sqrt(share), cmap="Blues", vmin=0, vmax=1)  # the root lets a single mistake be seen
    for t, p in np.argwhere(confusion > 0) if count <= 30 else ():
        wrong = t != p
        colour = "#b3200b" if wrong else "white" if share[t, p] > 0.4 else "black"
        axis.text(
            p,
            t,
            str(confusion[t, p]),
            ha="center",
            va="center",
            color=colour,
            fontsize=9,
            fontweight="bold" if wrong else None,
        )
    long = max(map(len, classes)) > 3
    axis.set_xticks(range(count), classes, rotation=60 if long else 0, ha="right" if long else "center")
    axis.set_yticks(range(count), classes)
    axis.set_xlabel("predicted")
    axis.set_ylabel("true")
    axis.set_title(title, loc="left", fontsize=10)
    bar = figure.colorbar(image, ax=axis, shrink=0.8, label="share of the true class")
    bar.set_ticks(np.sqrt([0, 0.05, 0.25, 0.5, 1]), labels=["0", "5 %", "25 %", "50 %", "100 %"])
    _save(figure, path)
