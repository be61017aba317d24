"""Convolution as arrows and as a matrix, drawn from ``banded.taps``."""

from typing import Any

import numpy as np

from minicnn.instruments.drawing import COLOURS, GAP, GREY, INK, figure, png

LINE = "#b8c0c8"


def draw_connections(where: np.ndarray) -> bytes:
    """Arrows and matrix of a linear layer, of one that sees only its window, and of a convolution.

    ``where`` (outputs, inputs) are the ``banded.taps`` of one line of pixels.
    """
    full = np.arange(where.size).reshape(where.shape)
    local = np.where(where >= 0, np.cumsum(where >= 0).reshape(where.shape) - 1, -1)
    kinds = {"full: a linear layer": full, "local: only what is near": local, "shared: a convolution": where}
    made = figure(11, 6.6)
    above, below = made.subplots(2, 3, height_ratios=(1, 1.15))
    for arrows, matrix, (name, numbers) in zip(above, below, kinds.items(), strict=True):
        count, weights = np.count_nonzero(numbers >= 0), len(np.unique(numbers[numbers >= 0]))
        shared = bool(weights < count)
        _draw_arrows(arrows, numbers, shared)
        arrows.set_title(f"{name}\n{count} arrows, {weights} weights", loc="left", fontsize=10, color=INK)
        _draw_cells(matrix, numbers, shared)
    below[0].set_ylabel("outputs", color=GREY)
    made.supxlabel(
        "Below each its matrix: a row an output, a column an input. Equal numbers are one weight, white is none.",
        x=0.01, ha="left", fontsize=8, color=GREY,
    )  # fmt: skip
    return png(made)


def _draw_arrows(axis: Any, numbers: np.ndarray, shared: bool) -> None:
    outputs, inputs = numbers.shape
    colours = _colours(numbers.max() + 1)
    above = (np.arange(outputs) + 0.5) / outputs  # both lines of dots as long as each other
    under = (np.arange(inputs) + 0.5) / inputs
    for i, j in zip(*np.nonzero(numbers >= 0), strict=True):
        colour = colours[numbers[i, j]] if shared else GREY
        arrow = {"arrowstyle": "-|>", "color": colour, "linewidth": 1.1, "shrinkA": 5, "shrinkB": 5}
        axis.annotate("", (above[i], 1), (under[j], 0), arrowprops=arrow)
    axis.plot(above, np.ones(outputs), "o", color=INK, markersize=8)
    axis.plot(under, np.zeros(inputs), "o", color="white", markeredgecolor=INK, markersize=8)
    axis.text(0, 1.12, "outputs", fontsize=8, color=GREY)
    axis.text(0, -0.2, "inputs", fontsize=8, color=GREY)
    axis.set(xlim=(0, 1), ylim=(-0.25, 1.25))
    axis.axis("off")


def _draw_cells(axis: Any, numbers: np.ndarray, shared: bool) -> None:
    from matplotlib.colors import to_rgb

    cells, colours = np.ones((*numbers.shape, 3)), _colours(numbers.max() + 1)
    for i, j in zip(*np.nonzero(numbers >= 0), strict=True):
        cells[i, j] = 0.55 * np.array(to_rgb(colours[numbers[i, j]])) + 0.45 if shared else to_rgb(GAP)
    axis.imshow(cells, interpolation="nearest")
    if max(numbers.shape) <= 36:
        size = min(9.0, 160 / max(numbers.shape))
        for i, j in zip(*np.nonzero(numbers >= 0), strict=True):
            axis.text(j, i, numbers[i, j] + 1, ha="center", va="center", fontsize=size, color=INK)
    axis.set(xticks=[], yticks=[])
    axis.set_xlabel("inputs", color=GREY)
    axis.spines[:].set_color(LINE)


def _colours(count: int) -> Any:
    """A colour a weight, no two the same."""
    from matplotlib import colormaps

    return COLOURS if count <= len(COLOURS) else colormaps["viridis"](np.linspace(0, 1, count))[:, :3]


def draw_plane(where: np.ndarray, side: tuple[int, int], title: str) -> bytes:
    """The matrix of a convolution of images; lines part the rows of the image of ``side`` (outputs, inputs) pixels."""
    made = figure(7.2, 7.6)
    axis = made.subplots()
    _draw_cells(axis, where, shared=True)
    for k in range(side[0], where.shape[0], side[0]):
        axis.axhline(k - 0.5, color=LINE, linewidth=0.8)
    for k in range(side[1], where.shape[1], side[1]):
        axis.axvline(k - 0.5, color=LINE, linewidth=0.8)
    axis.set_ylabel("outputs, row by row", color=GREY)
    axis.set_xlabel("inputs, row by row", color=GREY)
    axis.set_title(title, loc="left", fontsize=10, color=INK)
    return png(made)
