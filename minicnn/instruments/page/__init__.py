"""What a network sees in one picture, gathered: PNG files, and one HTML page that holds them all.

``page.html`` and ``page.css`` lie around the pictures; the page has no script.
"""

import base64
import struct
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from minicnn import nn
from minicnn.context import no_grad
from minicnn.errors import ArgumentError, ShapeError
from minicnn.instruments import drawing, maps
from minicnn.instruments.looking import looking
from minicnn.offline_page import assemble
from minicnn.ops import softmax
from minicnn.tensor import Tensor

WIDE = 800  # pixels: on a narrow screen one moves such a picture sideways
HEAT = (
    "Warm: what the last maps show there speaks for {class_}, the brighter the more. Where the picture is plain grey, "
    "nothing there does. Each heat map is on a scale of its own: it says where, not how much."
)
BOTH = (
    " This network ends in a mean and one linear layer: CAM reads the weights of that layer where Grad-CAM takes a "
    "gradient. Of the same maps the two are the same up to scale."
)
SALIENCY = "Saliency: the brighter a pixel, the more a small change of it would move the score of {class_}."
RULES = (
    " Guided backpropagation and the deconvnet send the score back through ReLUs that pass only what is positive; grey "
    "is 0. They draw what the layers react to, sharper than the plain gradient, and say less about the class."
)
NO_POOLS = (
    " This network has no max pools, whose switches are all that a deconvnet knows of the picture: it draws the same "
    "for every picture."
)
TRANSFORMER = (
    "Left the picture and what is read of it: each transformer stretches what it frames over its whole output, which "
    "stands beside it; the dot becomes the top left corner."
)
FILTERS = (
    "{count} filters of {size}, {kind}: mid-grey is a weight of 0, bright is positive, dark negative; each is on a "
    "scale of its own. Trained ones show edges, blobs and colours, untrained ones noise."
)
UNITS = (
    "For each stage the three maps that answer most: the part of the picture that the strongest place sees, and that "
    "value sent back to the pixels by a deconvnet (grey is 0). The deeper the stage, the larger the part."
)
MAPS = (
    "{which} maps of {size} at {path}; black is the least and white the most of each by itself. A map of one shade "
    "says the same everywhere."
)


class View(NamedTuple):
    """One picture of the page."""

    name: str  # of its file
    heading: str
    caption: str  # how to read it
    png: bytes

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, which a PNG file's header says."""
        width, height = struct.unpack(">II", self.png[16:24])
        return width, height


def views(model: Any, image: Any, classes: Sequence[str] | None = None, wanted: int | None = None) -> list[View]:
    """All that can be seen of ``model`` and one normalised ``image`` (C, H, W); what a network has not is left out.

    ``wanted`` is the class asked about, by default the one that the model answers.
    """
    batch = np.asarray(image)[None]
    shares = _shares(model, batch)
    k = int(shares.argmax()) if wanted is None else wanted
    if not 0 <= k < len(shares):
        raise ArgumentError(f"views: class {k}, expected one of 0 to {len(shares) - 1}")
    told = f"“{_names(shares, classes)[k]}”"
    return [
        *_heat(model, batch, k, told),
        *_gradients(model, batch, k, told),
        *_transformers(model, batch),
        *_filters(model),
        *_units(model, image),
        *_maps(model, image),
    ]


def answer(model: Any, image: Any, classes: Sequence[str] | None = None) -> str:
    """What the network says of the image (C, H, W), the three likeliest classes in one sentence."""
    shares = _shares(model, np.asarray(image)[None])
    names = _names(shares, classes)
    likely = np.argsort(-shares, kind="stable")[:3]
    return f"The network's answer: {', '.join(f'{names[k]} {100 * shares[k]:.1f} %' for k in likely)}."


def _shares(model: Any, batch: np.ndarray) -> np.ndarray:
    with looking(model), no_grad():
        return np.asarray(softmax(model(Tensor(batch)), 1).numpy()[0])


def _names(shares: np.ndarray, classes: Sequence[str] | None) -> Sequence[str]:
    return classes if classes is not None else [f"class {k}" for k in range(len(shares))]


def _heat(model: Any, batch: np.ndarray, k: int, told: str) -> list[View]:
    moved = list(maps.transformed(model, batch).values())
    if len(moved) > 1 or any(y.shape[1] != batch.shape[1] for y in moved):
        return []  # the last maps lie over no picture that there is
    picture = drawing.visible((moved or [batch])[0][0])
    shown = {"picture, transformed" if moved else "picture": picture}
    for name, make in (("Grad-CAM", maps.grad_cam), ("CAM", maps.cam)):
        try:
            heat = make(model, batch, [k])[0]
        except ArgumentError:  # no stages are named; no global mean at the end
            continue
        shown[name] = drawing.overlaid(picture, np.maximum(heat, 0))
    caption = HEAT.format(class_=told) + (BOTH if "CAM" in shown else "")
    return [View("where", "Where it looks", caption, drawing.draw_grid(shown, side=2.8))] if len(shown) > 1 else []


def _gradients(model: Any, batch: np.ndarray, k: int, told: str) -> list[View]:
    shown = {"picture": drawing.visible(batch[0]), "saliency": maps.saliency(model, batch, [k])[0]}
    for name, rule in (("guided backpropagation", "guided"), ("deconvnet", "deconvnet")):
        try:
            shown[name] = drawing.signed(maps.pixel_gradient(model, batch, [k], rule)[0])
        except ArgumentError:  # no ReLU layers
            continue
    pools = any(isinstance(module, (nn.MaxPool2d, nn.AdaptiveMaxPool2d)) for module in model.modules())
    caption = SALIENCY.format(class_=told)
    if len(shown) > 2:
        caption += RULES + ("" if pools else NO_POOLS)
    return [View("gradients", "Which pixels matter", caption, drawing.draw_grid(shown, side=2.3))]


def _transformers(model: Any, batch: np.ndarray) -> list[View]:
    outlines = {path: corners[0] for path, corners in maps.quadrilaterals(model, batch).items()}
    if not outlines:
        return []
    outputs = {path: y[0] for path, y in maps.transformed(model, batch).items() if y.shape[1] == batch.shape[1]}
    seen = {path: drawing.visible(y) for path, y in outputs.items()}
    drawn = drawing.draw_outlines(drawing.visible(batch[0]), outlines, seen)
    return [View("transformer", "What spatial transformers read", TRANSFORMER, drawn)]


def _filters(model: Any) -> list[View]:
    try:
        weights = maps.first_filters(model)
    except ArgumentError:  # no convolutions
        return []
    kind = "in the colours of the picture" if weights.shape[1] == 3 else "their first channel"
    size = f"{weights.shape[2]}x{weights.shape[3]}"
    caption = FILTERS.format(count=len(weights), size=size, kind=kind)
    return [View("filters", "First-layer filters", caption, drawing.draw_filters(weights))]


def _units(model: Any, image: Any) -> list[View]:
    shown: dict[str, np.ndarray] = {}
    picture = drawing.visible(image)
    for stage, path in dict(getattr(model, "stage_paths", {})).items():
        try:
            units = maps.strongest_units(model, image, path, 3)
        except (ArgumentError, ShapeError):  # no ReLU layers; no places
            continue
        for unit, (rows, columns) in zip(units, drawing.windows([unit.pixels for unit in units]), strict=True):
            shown[f"{stage}, map {unit.channel}"] = picture[rows, columns]
            shown[f"sent back: {stage}, {unit.channel}"] = drawing.signed(unit.pixels[:, rows, columns])
    if not shown:
        return []
    return [View("units", "What the strongest maps react to", UNITS, drawing.draw_grid(shown, 6, 1.7))]


def _maps(model: Any, image: Any) -> list[View]:
    stages = dict(getattr(model, "stage_paths", {}))
    found = maps.feature_maps(model, image, stages.values())
    made = []
    for stage, path in stages.items():
        if path in found:
            k, h, w = found[path].shape
            which = f"The first {drawing.TILES} of {k}" if k > drawing.TILES else f"All {k}"
            caption = MAPS.format(which=which, size=f"{h}x{w}", path=path)
            made.append(View(f"maps_{stage}", f"Feature maps of {stage}", caption, drawing.draw_tiles(found[path])))
    return made


def page(title: str, shown: Sequence[View], said: str = "") -> str:
    """One HTML document that needs no other file; ``said`` stands below the title."""
    parts = []
    for view in shown:
        source = f"data:image/png;base64,{base64.b64encode(view.png).decode()}"
        width, height = view.size
        kind = ' class="wide"' if width > WIDE else ""
        parts.append(
            f"<figure>\n<figcaption><h2>{escape(view.heading)}</h2><p>{escape(view.caption)}</p></figcaption>\n"
            f'<div class="scroll"><img{kind} width="{width}" height="{height}" alt="{escape(view.heading)}" '
            f'src="{source}"></div>\n</figure>\n'
        )
    return assemble(__name__, title, title=escape(title), answer=escape(said), views="".join(parts))


def write(folder: Path, title: str, shown: Sequence[View], said: str = "") -> list[Path]:
    """A PNG file a view and ``index.html`` in ``folder``, which is made; returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for view in shown:
        files.append(folder / f"{view.name}.png")
        files[-1].write_bytes(view.png)
    files.append(folder / "index.html")
    files[-1].write_text(page(title, shown, said), encoding="utf-8")
    return files
