"""The trials of a study side by side: in the terminal, as CSV, as a picture."""

import csv
import io
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from minicnn.files import write_atomically
from minicnn.study.study import Study

MARKS = {"complete": ("o", "tab:blue"), "pruned": ("o", "white"), "failed": ("x", "tab:red")}


class Row(NamedTuple):
    """One trial; ``accuracy`` is its best on validation, None before the first epoch ended."""

    trial: int
    state: str
    accuracy: float | None
    test_accuracy: float | None
    epochs: int
    seconds: float
    params: dict[str, Any]
    error: str

    @property
    def folder(self) -> str:
        return f"trials/{self.trial:04}"


def rows_of(study: Study) -> list[Row]:
    """A row a trial that has begun, the best on validation first."""
    rows = []
    for trial in study.optuna.get_trials(deepcopy=False):
        state = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed", "RUNNING": "running"}
        if trial.state.name not in state:
            continue
        accuracies, facts = list(trial.intermediate_values.values()), trial.user_attrs
        rows.append(
            Row(
                trial.number,
                state[trial.state.name],
                max(accuracies, default=None),
                facts.get("test_accuracy"),
                len(accuracies),
                trial.duration.total_seconds() if trial.duration else 0.0,
                trial.params,
                facts.get("error", ""),
            )
        )
    rank = {"complete": 0, "pruned": 1, "running": 2, "failed": 3}
    return sorted(rows, key=lambda row: (rank[row.state], -(row.accuracy or 0.0), row.trial))


def write_csv(rows: list[Row], names: list[str], path: Path) -> None:
    """``trials.csv``: a line a trial, a column an option."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["trial", "state", "val_accuracy", "test_accuracy", "epochs", "seconds", *names, "error"])
    for row in rows:
        figures = (row.accuracy, row.test_accuracy, row.epochs, round(row.seconds, 1))
        writer.writerow([row.trial, row.state, *figures, *(row.params.get(name) for name in names), row.error])
    write_atomically(path, [text.getvalue().encode()])


def lines_of(rows: list[Row], names: list[str]) -> list[str]:
    """The table for a terminal."""
    head = ["trial", "state", "validation", "test", "epochs", "time", *names]
    cells = [
        [
            str(row.trial),
            row.state,
            _percent(row.accuracy),
            _percent(row.test_accuracy),
            str(row.epochs),
            f"{row.seconds:.0f} s",
            *(_short(row.params.get(name, "")) for name in names),
        ]
        for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(head, *cells, strict=True)]
    lines = ["  ".join(text.rjust(width) for text, width in zip(line, widths, strict=True)) for line in (head, *cells)]
    return lines + [f"trial {row.trial} failed: {row.error}" for row in rows if row.error]


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.2f} %"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


# ---- the picture


def draw(rows: list[Row], study: Study, path: Path) -> None:
    """``study.png``: accuracy by trial with the best so far, and every trial as a line through its options."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"font.size": 9}):
        figure = Figure(figsize=(11, 4.2), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(1, 1.5))
        _draw_trials(left, sorted(rows, key=lambda row: row.trial))
        _draw_options(figure, right, [row for row in rows if row.accuracy is not None], study)
        figure.savefig(path, dpi=120)


def _draw_trials(axes: Any, rows: list[Row]) -> None:
    floor = min((100 * row.accuracy for row in rows if row.accuracy is not None), default=0.0)
    for state, (mark, colour) in MARKS.items():
        chosen = [row for row in rows if row.state == state]
        heights = [floor if row.accuracy is None else 100 * row.accuracy for row in chosen]
        outline = {} if mark == "x" else {"edgecolors": "tab:blue"}
        if chosen:
            axes.scatter([row.trial for row in chosen], heights, marker=mark, color=colour, label=state, **outline)
    whole = [row for row in rows if row.state == "complete"]
    if whole:
        best = np.maximum.accumulate([100 * (row.accuracy or 0.0) for row in whole])
        axes.step([row.trial for row in whole], best, where="post", color="0.6", zorder=0, label="best so far")
    axes.set_xlabel("trial")
    axes.set_ylabel("best validation accuracy, %")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=4, frameon=False)  # above: no point lies under it


def _draw_options(figure: Any, axes: Any, rows: list[Row], study: Study) -> None:
    """Parallel coordinates: an upright line an option, from its lowest (or first) value to its highest (or last)."""
    names = list(study.space.entries)
    axes.set_xlim(-0.15, len(names) - 0.85)
    axes.set_ylim(-0.04, 1.04)
    axes.set_yticks([])
    axes.set_xticks(range(len(names)), names)
    axes.set_xlabel("a line a trial; dotted: pruned")
    for side in ("left", "right", "top", "bottom"):
        axes.spines[side].set_visible(False)
    places = {name: _places(study.space.entries[name], [row.params.get(name) for row in rows]) for name in names}
    for x, name in enumerate(names):
        axes.axvline(x, color="0.7", linewidth=0.8)
        for label, y in places[name][1]:
            axes.annotate(label, (x, y), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8)
    if not rows:
        return
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    scores = [100 * (row.accuracy or 0.0) for row in rows]
    norm, colours = Normalize(min(scores), max(scores)), colormaps["viridis"]
    for k in sorted(range(len(rows)), key=lambda k: scores[k]):  # the best on top
        heights = [places[name][0][k] for name in names]
        style = "-" if rows[k].state == "complete" else ":"
        axes.plot(range(len(names)), heights, style, marker=".", color=colours(norm(scores[k])), linewidth=1.4)
    figure.colorbar(ScalarMappable(norm, colours), ax=axes, label="best validation accuracy, %", pad=0.06)


def _places(entry: Any, values: list[Any]) -> tuple[list[float], list[tuple[str, float]]]:
    """Where values lie on their axis, 0 to 1, and its labels."""
    from minicnn.study.space import Choice

    if isinstance(entry, Choice):
        steps = max(1, len(entry.values) - 1)
        known = {value: k / steps for k, value in enumerate(entry.values)}
        return [known.get(value, 0.0) for value in values], [(str(value), y) for value, y in known.items()]
    scale = np.log if entry.log else np.asarray
    low, high = float(scale(entry.low)), float(scale(entry.high))
    ys = [float((scale(entry.low if value is None else value) - low) / (high - low)) for value in values]
    return ys, [(_short(entry.low), 0.0), (_short(entry.high), 1.0)]
