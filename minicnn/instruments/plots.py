"""Curves and bars of the instruments, as PNG files. Axes of amounts start at 0; those of powers say so."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from minicnn.instruments.drawing import BLUE, COLOURS, GREY, INK, YELLOW, figure, plain, png

MARKERS = "osD^vPX"


class Curves(NamedTuple):
    """Lines over one axis, by name; a single one needs none."""

    title: str
    below: str  # what x is
    left: str  # what y is
    xs: Sequence[float]
    lines: Mapping[str, Sequence[float]]
    log: bool = False  # powers of ten, of which there is no 0
    joined: bool = True  # or points only


def draw_curves(panels: Sequence[Curves], columns: int = 3, title: str = "") -> bytes:
    """Panels side by side, ``columns`` in a row at most."""
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    made = figure(4.2 * columns, 3.5 * rows)
    axes = made.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes[len(panels) :]:
        axis.axis("off")
    for axis, panel in zip(axes, panels, strict=False):
        _draw_lines(plain(axis), panel)
    if title:
        made.suptitle(title, x=0.01, ha="left", fontsize=11, color=INK)
    return png(made)


def _draw_lines(axis: Any, panel: Curves) -> None:
    from matplotlib.ticker import MaxNLocator

    for colour, marker, (name, ys) in zip(COLOURS, MARKERS, panel.lines.items(), strict=False):
        line = "-" if panel.joined else "none"
        axis.plot(panel.xs, ys, linestyle=line, color=colour, marker=marker, markersize=4, linewidth=1.6, label=name)
    if all(isinstance(x, (int, np.integer)) for x in panel.xs):
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    if panel.log:
        _powers(axis, [y for ys in panel.lines.values() for y in ys])
    else:
        axis.set_ylim(0, max(axis.get_ylim()[1], 1e-6))
    if len(panel.lines) > 1:
        axis.legend(frameon=False, fontsize=8, labelcolor=GREY)
    axis.set_xlabel(panel.below, color=GREY)
    axis.set_ylabel(panel.left + (" (log scale)" if panel.log else ""), color=GREY)
    axis.set_title(panel.title, loc="left", fontsize=10, color=INK)
    axis.grid(alpha=0.2)


def _powers(axis: Any, values: Sequence[float]) -> None:
    """Whole powers of ten, so that a small difference does not look like a large one."""
    present = [value for value in values if value > 0]
    axis.set_yscale("log")
    axis.yaxis.set_minor_formatter(lambda tick, _: "")
    if present:
        low, high = np.floor(np.log10(min(present))), np.ceil(np.log10(max(present)))
        axis.set_ylim(10.0**low, 10.0 ** max(high, low + 1))


def draw_bars(
    values: Mapping[str, float], title: str, label: str, line: float | None = None, marked: Collection[str] = ()
) -> bytes:
    """A bar a name; ``line`` is what they are compared with, and those ``marked`` are of another kind."""
    made = figure(max(6.0, 0.16 * len(values) + 2), 3.8)
    axis = plain(made.subplots())
    bars = axis.bar(range(len(values)), list(values.values()), color=BLUE, width=0.75)
    for name, bar in zip(values, bars, strict=True):
        if name in marked:
            bar.set(facecolor=YELLOW, edgecolor="white", hatch="//", linewidth=0)
    if line is not None:
        axis.axhline(line, color=INK, linewidth=1.2, linestyle="--")
    _name_ticks(axis, list(values))
    axis.set_ylabel(label, color=GREY)
    axis.set_title(title, loc="left", fontsize=10, color=INK)
    axis.margins(x=0.01)
    return png(made)


def draw_norms(values: Mapping[str, float], title: str) -> bytes:
    """A point a layer, over powers of ten: norms, which differ by orders of magnitude."""
    made = figure(max(7.0, 0.14 * min(len(values), 80) + 2), 4.2)
    axis = plain(made.subplots())
    axis.plot(range(len(values)), list(values.values()), color=BLUE, marker="o", markersize=4, linewidth=0.8)
    _powers(axis, list(values.values()))
    _name_ticks(axis, list(values))
    axis.set_ylabel("norm of the gradient (log scale)", color=GREY)
    axis.set_title(title, loc="left", fontsize=10, color=INK)
    axis.grid(alpha=0.2, axis="y")
    axis.margins(x=0.01)
    return png(made)


def _name_ticks(axis: Any, names: Sequence[str], most: int = 80) -> None:
    """Upright names below; of more than ``most`` every second, third, ..."""
    step = -(-len(names) // most)
    axis.set_xticks(range(0, len(names), step), names[::step], rotation=90, fontsize=7)


def draw_estimates(stages: Mapping[str, Sequence[Any]]) -> bytes:
    """By stage, after each block (``layers.Estimate``): the mean of the error as a point, its deviation as a bar."""
    made = figure(max(7.0, 2.6 * len(stages)), 3.6)
    top = 1.1 * max(abs(row.mean) + row.deviation for rows in stages.values() for row in rows) or 1.0
    panels = made.subplots(1, len(stages), squeeze=False, sharey=True)[0]
    for axis, (stage, rows) in zip(panels, stages.items(), strict=True):
        plain(axis).axhline(0, color=GREY, linewidth=0.8)
        places = range(1, len(rows) + 1)
        means, deviations = [row.mean for row in rows], [row.deviation for row in rows]
        axis.errorbar(places, means, deviations, fmt="o", color=BLUE, markersize=4, capsize=3, elinewidth=1.2)
        axis.set_xticks(places if len(rows) < 12 else [1, len(rows) // 2, len(rows)])
        axis.set(xlim=(0.5, len(rows) + 0.5), ylim=(-top, top))
        axis.set_xlabel("block", color=GREY)
        axis.set_title(stage, loc="left", fontsize=10, color=INK)
        axis.grid(alpha=0.2, axis="y")
    panels[0].set_ylabel("output less the stage's last,\nin deviations of the last", color=GREY)
    title = "How far each block is from what its stage ends with: mean and deviation over all values"
    made.suptitle(title, x=0.01, ha="left", fontsize=11, color=INK)
    return png(made)
