"""``minicnn explore MODEL``: a network as a page to click through."""

from pathlib import Path

import click

from minicnn.cli.output import json_option, print_json


@click.command("explore")
@click.argument("model")
@click.option("-o", "--out", type=click.Path(path_type=Path, dir_okay=False), help="The file; default: MODEL.html.")
@json_option
def command(model: str, out: Path | None, as_json: bool) -> None:
    """Write a page with the layers of MODEL, and print its path; it opens from the disk and asks for nothing.

    A layer's row shows shapes, parameters, multiply-adds, memory and receptive field. EfficientNets and MobileNets
    (also as efficientnet, mobilenet_v1, mobilenet_v2) have knobs: width, depth and resolution; two settings compare.
    """
    from minicnn.instruments.explore import choices, render

    offered = choices(model)
    path = Path(f"{offered.title}.html") if out is None else out
    text = render(offered)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        raise click.UsageError(f"{path} cannot be written: {error}\nfix: -o with another place") from error
    if as_json:
        print_json({"page": str(path), "model": offered.title, "settings": len(offered.settings)})
    else:
        click.echo(path)
