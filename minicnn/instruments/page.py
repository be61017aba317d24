"""What a network sees in one picture, gathered: PNG files, and one HTML page that holds them all."""

import base64
import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from minicnn.context import no_grad
from minicnn.errors import ArgumentError
from minicnn.instruments import drawing, maps
from minicnn.instruments.looking import looking
from minicnn.ops import softmax
from minicnn.tensor import Tensor

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;color:#24313d;max-width:62rem;margin:2rem auto;padding:0 1rem}"
    "h1{font-size:1.5rem}h2{font-size:1.15rem;margin:2.2rem 0 .3rem}p{margin:.3rem 0 .6rem;color:#5f6b76}"
    "img{max-width:100%;height:auto}"
)


class View(NamedTuple):
    """One picture of the page."""

    name: str  # of its file
    heading: str
    caption: str
    png: bytes


def views(model: Any, image: Any, classes: Sequence[str] | None = None, wanted: int | None = None) -> list[View]:
    """All that can be seen of ``model`` and one normalised ``image`` (C, H, W); what a network has not is left out.

    ``wanted`` is the class asked about, by default the one that the model answers.
    """
    batch = np.asarray(image)[None]
    with looking(model), no_grad():
        shares = np.asarray(softmax(model(Tensor(batch)), 1).numpy()[0])
    k = int(shares.argmax()) if wanted is None else wanted
    if not 0 <= k < len(shares):
        raise ArgumentError(f"views: class {k}, expected one of 0 to {len(shares) - 1}")
    name = classes[k] if classes is not None else f"class {k}"
    told = f"{name}, which the network gives {100 * shares[k]:.1f} %"
    return [
        *_filters(model),
        *_heat(model, batch, k, told),
        *_gradients(model, batch, k, told),
        *_transformers(model, batch),
        *_maps(model, image),
    ]


def _filters(model: Any) -> list[View]:
    weights = maps.first_filters(model)
    caption = f"{len(weights)} filters of {weights.shape[2]}x{weights.shape[3]}, each on a scale of its own."
    return [View("filters", "First-layer filters", caption, drawing.draw_filters(weights, "filters"))]


def _heat(model: Any, batch: np.ndarray, k: int, told: str) -> list[View]:
    picture = drawing.visible(batch[0])
    shown = {"picture": picture}
    for name, make in (("Grad-CAM", maps.grad_cam), ("CAM", maps.cam)):
        try:
            heat = make(model, batch, [k])[0]
        except ArgumentError:  # no stages are named; no global mean at the end
            continue
        shown[name] = drawing.overlaid(picture, np.maximum(heat, 0))
    caption = f"Which places speak for {told}."
    return [View("where", "Where it looks", caption, drawing.draw_grid(shown, side=3))] if len(shown) > 1 else []


def _gradients(model: Any, batch: np.ndarray, k: int, told: str) -> list[View]:
    shown = {"picture": drawing.visible(batch[0]), "saliency": maps.saliency(model, batch, [k])[0]}
    for rule in ("guided", "deconvnet"):
        try:
            shown[rule] = drawing.signed(maps.pixel_gradient(model, batch, [k], rule)[0])
        except ArgumentError:  # no ReLU layers
            continue
    caption = f"Which pixels would change its mind about {told}; of the last two, grey is 0 on a scale of its own."
    return [View("gradients", "Gradients in the picture", caption, drawing.draw_grid(shown, side=3))]


def _transformers(model: Any, batch: np.ndarray) -> list[View]:
    outlines = {path: corners[0] for path, corners in maps.quadrilaterals(model, batch).items()}
    if not outlines:
        return []
    drawn = drawing.draw_outlines(drawing.visible(batch[0]), outlines)
    return [View("transformer", "Spatial transformers", "Each reads the part of its input that is framed.", drawn)]


def _maps(model: Any, image: Any) -> list[View]:
    stages = dict(getattr(model, "stage_paths", {}))
    found = maps.feature_maps(model, image, stages.values())
    made = []
    for stage, path in stages.items():
        if path in found:
            k, h, w = found[path].shape
            caption = f"{k} maps of {h}x{w}, each on a scale of its own."
            drawn = drawing.draw_tiles(found[path], f"{stage} ({path})")
            made.append(View(f"maps_{stage}", f"Feature maps of {stage}", caption, drawn))
    return made


def page(title: str, shown: Sequence[View]) -> str:
    """One HTML document that needs no other file."""
    parts = [
        f"<h2>{html.escape(view.heading)}</h2><p>{html.escape(view.caption)}</p>"
        f'<img alt="{html.escape(view.heading)}" src="data:image/png;base64,{base64.b64encode(view.png).decode()}">'
        for view in shown
    ]
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
    return f"{head}<style>{_STYLE}</style><h1>{html.escape(title)}</h1>{''.join(parts)}</html>\n"


def write(folder: Path, title: str, shown: Sequence[View]) -> list[Path]:
    """A PNG file a view and ``index.html`` in ``folder``, which is made; returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for view in shown:
        files.append(folder / f"{view.name}.png")
        files[-1].write_bytes(view.png)
    files.append(folder / "index.html")
    files[-1].write_text(page(title, shown), encoding="utf-8")
    return files
