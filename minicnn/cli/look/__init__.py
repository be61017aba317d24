"""``minicnn look ...``: instruments that look into a network; pictures are PNG files in a folder."""

from pathlib import Path

import click

from minicnn.cli.look.linear import kernels, matrix, shifts
from minicnn.cli.look.parts import opened, out_option, put, report, seed_option, weights_option
from minicnn.cli.look.residual import blocks, gradients
from minicnn.cli.output import json_option
from minicnn.cli.predict import read_image


@click.group("look", context_settings={"max_content_width": 110})
def command() -> None:
    """Look into a network: where it looks, what its blocks do, how the catalog grew. Every command takes --json.

    MODEL is the folder of a training run, or a name of the catalog (with --weights, else with random ones).
    """


for each in (matrix, kernels, shifts, blocks, gradients):
    command.add_command(each)


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
    title = f"{Path(model).name} {layer}\neffective side {found.side:.1f}; frame: theoretical field, {seen}"
    files = put(out, {"field": draw_field(found, title)})
    report(files, as_json, model=model, layer=layer, unit=found.unit, box=box, side=found.side)


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
@click.option("--tensorboard", type=click.Path(path_type=Path, file_okay=False), help="A folder for an event file too.")
@json_option
def graph(name: str, out: Path, tensorboard: Path | None, as_json: bool) -> None:
    """A network of the catalog as the page of `minicnn explore`, as a Graphviz file, and for TensorBoard."""
    from functools import partial

    from minicnn import models
    from minicnn.instruments.explore import explore_page
    from minicnn.instruments.graph import dot, write_tensorboard

    info = models.info(name)
    build = partial(models.create, info.name)
    out.mkdir(parents=True, exist_ok=True)
    files = [out / f"{info.name}.html", out / f"{info.name}.dot"]
    files[0].write_text(explore_page(info.name), encoding="utf-8", newline="")
    files[1].write_text(dot(build, info.input_shape, info.name), encoding="utf-8", newline="")
    if tensorboard is not None:
        files.append(write_tensorboard(build, info.input_shape, tensorboard))
    report(files, as_json, model=info.name)
