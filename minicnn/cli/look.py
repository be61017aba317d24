"""``minicnn look ...``: instruments that look into a network; pictures are PNG files in a folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from minicnn.cli.output import json_option, print_json, print_table
from minicnn.cli.predict import read_image
from minicnn.cli.runs import dataset_for, load_run

out_option = click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), default=Path("look"), show_default=True, help="Folder."
)
weights_option = click.option("--weights", type=click.Path(path_type=Path), help="Weights of a catalog model.")
seed_option = click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of what is drawn.")
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


@click.group("look", context_settings={"max_content_width": 110})
def command() -> None:
    """Look into a network: where it looks, what blocks do, how the catalog grew. Every command takes --json.

    MODEL is the folder of a training run, or a name of the catalog (with --weights, else with random ones).
    """


def opened(model: str, weights: Path | None = None) -> tuple[Any, dict[str, Any]]:
    """A network and the facts of its pictures: of a run, or of the catalog."""
    from minicnn import models

    path = Path(model)
    if path.exists():
        run = load_run(path, "look")
        return run.model, run.facts
    info = models.info(model)
    net = models.create(model, weights=weights)
    if weights is None:
        click.echo(f"minicnn: {info.name} has random weights; fix: --weights FILE, or the folder of a run", err=True)
    colour = info.input_shape[0] == 3
    statistics = IMAGENET if colour else {"mean": (0.5,), "std": (0.5,)}
    names = [f"class {k}" for k in range(info.num_classes)]
    return net, {"name": "catalog", "shape": info.input_shape, "classes": names, **statistics}


def report(files: list[Path], as_json: bool, **facts: Any) -> None:
    """The files that were written, as lines or with facts as JSON."""
    if as_json:
        print_json({**facts, "files": [str(path) for path in files]})
    else:
        for path in files:
            click.echo(str(path))


def put(folder: Path, pictures: dict[str, bytes]) -> list[Path]:
    """Write PNG files by name."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, values in pictures.items():
        (folder / f"{name}.png").write_bytes(values)
    return [folder / f"{name}.png" for name in pictures]


@command.command("inside")
@click.argument("model")
@click.argument("image", type=click.Path(path_type=Path))
@click.option("--class", "wanted", type=click.IntRange(0), help="The class asked about; default: the answer.")
@weights_option
@out_option
@json_option
def inside(model: str, image: Path, wanted: int | None, weights: Path | None, out: Path, as_json: bool) -> None:
    """What MODEL makes of one IMAGE: filters, feature maps, Grad-CAM, CAM, saliency, guided backpropagation."""
    from minicnn.instruments.page import answer, views, write

    net, facts = opened(model, weights)
    picture = read_image(image, facts)
    shown = views(net, picture, facts["classes"], wanted)
    files = write(out, f"{Path(model).name}: {image.name}", shown, answer(net, picture, facts["classes"]))
    report(files, as_json, model=model)


@command.command("field")
@click.argument("model")
@click.option("--layer", default="", help="Path of a layer with places; default: the one of Grad-CAM.")
@click.option("--draws", type=click.IntRange(1), default=8, show_default=True, help="Random pictures.")
@weights_option
@seed_option
@out_option
@json_option
def field(model: str, layer: str, draws: int, weights: Path | None, seed: int, out: Path, as_json: bool) -> None:
    """The effective receptive field of the unit in the middle of a layer, beside the theoretical one."""
    from minicnn.instruments.drawing import draw_field
    from minicnn.instruments.maps import cam_path
    from minicnn.instruments.receptive import effective_field

    net, facts = opened(model, weights)
    layer = layer or cam_path(net)
    found = effective_field(net, facts["shape"], layer, draws, seed)
    box = found.box
    seen = "unknown" if box is None else f"{box[1] - box[0]}x{box[3] - box[2]} in the image"
    title = f"{Path(model).name} {layer}\neffective side {found.side:.1f}; theoretical field {seen}"
    files = put(out, {"field": draw_field(found, title)})
    report(files, as_json, model=model, layer=layer, unit=found.unit, box=box, side=found.side)


@command.command("kernels")
@click.argument("image", type=click.Path(path_type=Path))
@click.option("--size", type=click.IntRange(8, 4096), default=256, show_default=True, help="Side of the pictures.")
@out_option
@json_option
def kernels(image: Path, size: int, out: Path, as_json: bool) -> None:
    """What blur, sharpen, Sobel and their kin make of IMAGE, and which of them are a column times a row."""
    from minicnn.data.pictures import read_picture
    from minicnn.instruments.drawing import draw_grid
    from minicnn.instruments.playground import KERNELS, displayed, filtered, gradient_magnitude
    from minicnn.instruments.separable import separate

    picture = read_picture(image, size, 3) / 255
    shown = {
        f"{name}, rank {separate(kernel).rank}": displayed(filtered(picture, kernel), name)
        for name, kernel in KERNELS.items()
    }
    steep = gradient_magnitude(picture)
    shown["sobel magnitude"] = steep / (steep.max() or 1.0)
    grid = draw_grid({name: values.transpose(1, 2, 0) for name, values in shown.items()}, columns=4)
    ranks = {name: separate(kernel).rank for name, kernel in KERNELS.items()}
    report(put(out, {"kernels": grid}), as_json, ranks=ranks)


@command.command("blocks")
@click.argument("run", type=click.Path(path_type=Path, exists=True))
@click.option("--draws", type=click.IntRange(1), default=4, show_default=True, help="Paths of each length.")
@click.option("--swaps", type=click.IntRange(1), default=8, show_default=True, help="Most swaps of blocks.")
@seed_option
@out_option
@json_option
def blocks(run: Path, draws: int, swaps: int, seed: int, out: Path, as_json: bool) -> None:
    """A trained residual network with a block less, with blocks exchanged, and its gradient path by path."""
    from minicnn.instruments.residual import lesions, shuffle_study
    from minicnn.train.evaluate import evaluate

    loaded = load_run(run, "look blocks")
    net, data = loaded.model, dataset_for(loaded.facts["name"], "test", loaded.facts, "look blocks")

    def score(model: Any) -> float:
        return round(100 - 100 * evaluate(model, data).accuracy, 3)

    found = lesions(net, score)
    shuffles = shuffle_study(net, score, [0, *(1 << k for k in range(swaps.bit_length()) if 1 << k <= swaps)], seed)
    images, labels = data.batch(np.arange(min(32, len(data))))
    pictures, carried = _paths(net, images, labels, draws, seed)
    pictures |= _lesion_pictures(found, shuffles)
    facts_out = {"error": found.whole, "without": found.without, "swaps": shuffles, "gradient_by_length": carried}
    files = put(out, pictures)
    if not as_json:
        print_table(("without block", "error, %"), [("none", found.whole), *found.without.items()])
        print_table(("swaps", "error, %"), list(shuffles.items()))
    report(files, as_json, **facts_out)


def _lesion_pictures(found: Any, shuffles: dict[int, float]) -> dict[str, bytes]:
    from minicnn.instruments.drawing import draw_bars, draw_lines

    title = f"error without one block; the line is the whole network's {found.whole:.2f} %"
    curve = ("error after swaps of blocks", "swaps", "error, %", list(shuffles), list(shuffles.values()), False)
    return {
        "lesions": draw_bars(found.without, title, "error on the test part, %", found.whole),
        "swaps": draw_lines([curve]),
    }


def _paths(net: Any, images: Any, labels: Any, draws: int, seed: int) -> tuple[dict[str, bytes], dict[int, float]]:
    from minicnn.instruments.drawing import draw_lines
    from minicnn.instruments.paths import gradient_by_length, path_lengths
    from minicnn.instruments.residual import residual_blocks

    counts = path_lengths(len(residual_blocks(net)))
    lengths = sorted({round(k) for k in np.linspace(0, len(counts) - 1, 14)})
    norms = gradient_by_length(net, images, labels, lengths, draws, seed)
    total = [float(counts[k] * norm) for k, norm in zip(lengths, norms, strict=True)]
    below = "blocks that a path goes through"
    panels: list[tuple[str, str, str, Sequence[float], Sequence[float], bool]] = [
        ("how many paths", below, "paths", range(len(counts)), counts, False),
        ("gradient of one path", below, "norm", lengths, norms.tolist(), True),
        ("gradient of all paths of a length", below, "number times norm", lengths, total, False),
    ]
    return {"paths": draw_lines(panels)}, dict(zip(lengths, map(float, norms), strict=True))


@command.command("charts")
@out_option
@json_option
def charts(out: Path, as_json: bool) -> None:
    """The catalog drawn: accuracy by work and size, how families grow, the revolution of depth."""
    from minicnn.instruments.charts import CHARTS

    report(put(out, {name: make() for name, make in CHARTS.items()}), as_json)


@command.command("graph")
@click.argument("name", metavar="MODEL")
@out_option
@json_option
def graph(name: str, out: Path, as_json: bool) -> None:
    """A network of the catalog as a page whose blocks open and close, and as a Graphviz file."""
    from functools import partial

    from minicnn import models
    from minicnn.instruments.graph import dot, graph_page

    info = models.info(name)
    build = partial(models.create, name)
    out.mkdir(parents=True, exist_ok=True)
    files = [out / f"{info.name}.html", out / f"{info.name}.dot"]
    files[0].write_text(graph_page(build, info.input_shape, info.name), encoding="utf-8")
    files[1].write_text(dot(build, info.input_shape, info.name), encoding="utf-8")
    report(files, as_json, model=info.name)
