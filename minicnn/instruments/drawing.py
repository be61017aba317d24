"""Pictures of pictures, as PNG files: figures without a display, and nothing but matplotlib. Curves: ``plots.py``."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

INK, GREY = "#24313d", "#5f6b76"
# Okabe and Ito's colours, which people who cannot tell red from green can tell apart.
BLUE, ORANGE, GREEN, PURPLE = "#0072b2", "#d55e00", "#009e73", "#cc79a7"
YELLOW, SKY, BLACK = "#e69f00", "#56b4e9", "#000000"
COLOURS = (BLUE, ORANGE, GREEN, PURPLE, YELLOW, SKY, BLACK)
GAP = "#c6d2dc"  # between tiles: no shade of grey
DPI = 120
TILES = 64  # of a mosaic, at most


def figure(width: float, height: float, layout: Any = "constrained") -> Any:
    """A matplotlib figure without pyplot: no display, no global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    made = Figure(figsize=(width, height), layout=layout)
    FigureCanvasAgg(made)
    return made


def png(made: Any) -> bytes:
    """A figure as the bytes of a PNG file."""
    stream = io.BytesIO()
    made.savefig(stream, format="png", dpi=DPI)
    return stream.getvalue()


def plain(axis: Any) -> Any:
    """Two spines, quiet ticks."""
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(colors=GREY, labelsize=9)
    return axis


def visible(picture: Any) -> np.ndarray:
    """A picture (C, H, W) of any values as (H, W, 3) in 0..1: the least becomes 0, the largest 1."""
    values = np.asarray(picture, np.float64)
    values = values[:3] if len(values) >= 3 else values[:1].repeat(3, 0)
    low, high = values.min(), values.max()
    return np.asarray(((values - low) / (high - low or 1.0)).transpose(1, 2, 0))


def signed(values: Any) -> np.ndarray:
    """Signed values (C, H, W) as (H, W, 3) in 0..1: 0 is grey, the largest of either sign black or white."""
    return visible(np.concatenate([values, -np.asarray(values)], axis=2))[:, : values.shape[2]]


def windows(pictures: Sequence[np.ndarray]) -> list[tuple[slice, slice]]:
    """Where the pictures (C, H, W) are not 0: rows and columns of squares round it, all as large as the largest."""
    present = [np.abs(values).max(0) > 1e-3 * np.abs(values).max() for values in pictures]
    ends = [(_ends(where.any(1)), _ends(where.any(0))) for where in present]
    side = max(last - first for both in ends for first, last in both)
    h, w = present[0].shape
    return [(_around(rows, side, h), _around(columns, side, w)) for rows, columns in ends]


def _ends(line: np.ndarray) -> tuple[int, int]:
    """The first place that is set, and the one after the last."""
    places = np.flatnonzero(line)
    return (int(places[0]), int(places[-1]) + 1) if len(places) else (0, 0)


def _around(ends: tuple[int, int], side: int, most: int) -> slice:
    side = min(max(side, 8), most)
    first = min(max((sum(ends) - side) // 2, 0), most - side)
    return slice(first, first + side)


def draw_grid(pictures: Mapping[str, Any], columns: int = 4, side: float = 2.4, title: str = "") -> bytes:
    """Named pictures side by side, ``side`` inches each: (H, W) from black to white, (H, W, 3) as they are."""
    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    line, above = 0.28, 0.4 if title else 0.0  # inches: a name, the title
    width, height = side * columns, (side + line) * rows + above
    made = figure(width, height, layout=None)
    for index, (name, values) in enumerate(pictures.items()):
        row, column = divmod(index, columns)
        top = height - above - row * (side + line) - line
        axis = made.add_axes(
            ((column * side + 0.04) / width, (top - side) / height, (side - 0.08) / width, side / height)
        )
        axis.imshow(values, cmap="gray", interpolation="nearest")
        axis.set_title(name, fontsize=9, color=INK)
        axis.axis("off")
    if title:
        made.text(0.04 / width, 1 - 0.28 / height, title, fontsize=11, color=INK)
    return png(made)


def draw_tiles(maps: np.ndarray) -> bytes:
    """Maps (K, H, W), each from black to white by itself, as one mosaic; of more than ``TILES`` the first."""
    shown = np.asarray(maps[:TILES], np.float64)
    low, high = (end(shown, axis=(1, 2), keepdims=True) for end in (np.min, np.max))
    return _mosaic(((shown - low) / np.where(high > low, high - low, 1))[..., None].repeat(3, 3))


def draw_filters(weights: np.ndarray) -> bytes:
    """Filters (K, C, KH, KW): of three input channels in colour, else the first channel; a weight of 0 is mid-grey."""
    values = np.asarray(weights, np.float64)
    values = values if values.shape[1] == 3 else values[:, :1].repeat(3, 1)
    reach = np.abs(values).max(axis=(1, 2, 3), keepdims=True)
    return _mosaic((0.5 + values / np.where(reach > 0, reach, 1) / 2).transpose(0, 2, 3, 1))


def _mosaic(tiles: np.ndarray) -> bytes:
    """Tiles (K, H, W, 3) in 0..1 in a nearly square grid; gaps are thin, however few pixels a tile has."""
    columns = int(np.ceil(np.sqrt(len(tiles))))
    rows = -(-len(tiles) // columns)
    larger = -(-32 // max(tiles.shape[1:3]))
    tiles = tiles.repeat(larger, 1).repeat(larger, 2)
    h, w = tiles.shape[1] + 2, tiles.shape[2] + 2
    mosaic = np.ones((rows * h - 2, columns * w - 2, 3))
    mosaic[:] = [int(GAP[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    for k, values in enumerate(tiles):
        y, x = k // columns * h, k % columns * w
        mosaic[y : y + h - 2, x : x + w - 2] = values
    made = figure(6, 6 * mosaic.shape[0] / mosaic.shape[1])
    axis = made.subplots()
    axis.imshow(mosaic, interpolation="nearest")
    axis.axis("off")
    return png(made)


def overlaid(picture: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """A heat map (h, w), enlarged, over a picture (H, W, 3) made grey, so that all colour is heat: (H, W, 3)."""
    from matplotlib import colormaps

    from minicnn.data.resize import resize_bilinear

    large = resize_bilinear(np.asarray(heat, np.float32)[None, None], picture.shape[:2])[0, 0]
    large = np.clip(large / (large.max() or 1.0), 0, 1)
    warm = colormaps["inferno"](large)[..., :3]
    share = 0.75 * large[..., None]
    grey = picture.mean(2, keepdims=True)
    return np.asarray((1 - share) * grey + share * warm)


def draw_outlines(picture: np.ndarray, outlines: Mapping[str, np.ndarray], outputs: Mapping[str, Any]) -> bytes:
    """Quadrilaterals (4, (x, y)) in pixels over a picture (H, W, 3), which keeps a margin for what lies outside; beside
    it ``outputs`` (h, w, 3), what was read through them."""
    made = figure(4.4 * (1 + len(outputs)), 5.2)
    axis, *others = made.subplots(1, 1 + len(outputs), squeeze=False)[0]
    axis.imshow(picture, interpolation="nearest")
    h, w = picture.shape[:2]
    for colour, (name, corners) in zip((ORANGE, SKY, YELLOW) * len(outlines), outlines.items(), strict=False):
        ring = np.vstack([corners, corners[:1]])
        axis.plot(ring[:, 0], ring[:, 1], color=colour, linewidth=2, label=name)
        axis.plot(*corners[0], "o", color=colour)
    every = np.vstack([*outlines.values(), [[-0.5, -0.5], [w - 0.5, h - 0.5]]])
    low, high = every.min(0) - 0.05 * w, every.max(0) + 0.05 * w
    axis.set(xlim=(low[0], high[0]), ylim=(high[1], low[1]))
    axis.legend(frameon=False, fontsize=9, loc="upper center", bbox_to_anchor=(0.5, -0.02))
    axis.set_title("what is read; the dot is its top left", loc="left", fontsize=10, color=INK)
    axis.set_axis_off()
    for other, (name, values) in zip(others, outputs.items(), strict=True):
        other.imshow(values, interpolation="nearest")
        other.set_title(f"what {name} puts out", loc="left", fontsize=10, color=INK)
        other.set_axis_off()
    return png(made)


def draw_field(field: Any, title: str) -> bytes:
    """An effective receptive field as a heat map of roots, with the theoretical one as a frame."""
    made = figure(5.4, 4.8)
    axis = made.subplots()
    top = field.weights.max() or 1.0
    shown = axis.imshow(np.sqrt(field.weights / top), cmap="inferno", interpolation="nearest", vmin=0, vmax=1)
    bar = made.colorbar(shown, ax=axis, shrink=0.8)
    bar.set_ticks([0, 0.1**0.5, 0.25**0.5, 0.5**0.5, 1], labels=["0", "10 %", "25 %", "50 %", "100 %"])
    bar.set_label("gradient, share of the largest", color=GREY, fontsize=9)
    if field.box is not None:
        y, bottom, x, right = field.box
        xs, ys = [x, right, right, x, x], [y, y, bottom, bottom, y]
        axis.plot(np.array(xs) - 0.5, np.array(ys) - 0.5, color="#7fd1ff", linewidth=1.5, clip_on=False)
    axis.set_title(title, loc="left", fontsize=10, color=INK)
    axis.set_xlabel("column of the image, pixels", color=GREY, fontsize=9)
    axis.set_ylabel("row of the image, pixels", color=GREY, fontsize=9)
    for marked in (axis, bar.ax):
        marked.tick_params(colors=GREY, labelsize=9)
    return png(made)
