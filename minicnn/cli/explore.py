"""``minicnn explore MODEL...``: networks as a page to click through."""

from pathlib import Path

import click

from minicnn.cli.output import json_option, print_json


@click.command("explore")
@click.argument("names", metavar="MODEL...", nargs=-1, required=True)
@click.option("-o", "--out", type=click.Path(path_type=Path, dir_okay=False), help="The file; default: MODEL.html.")
@json_option
def command(names: tuple[str, ...], out: Path | None, as_json: bool) -> None:
    """Write a page with the layers of MODEL, and print its path; it opens from the disk and asks for nothing.

    Lines beside the layers show where data goes. A layer's row shows shapes, parameters, multiply-adds, memory and
    receptive field. EfficientNets and MobileNets (also as efficientnet, mobilenet_v1, mobilenet_v2) have knobs: width,
    depth and resolution; two settings compare. Of two or more MODELs, each as published, two stand side by side.
    """
    from minicnn.instruments.explore import choices, render

    offered = choices(*names)
    path = Path(f"{offered.title.replace(' ', '_')}.html") if out is None else out
    write_page(path, render(offered))
    if as_json:
        print_json({"page": str(path), "model": offered.title, "settings": len(offered.settings)})
    else:
        click.echo(path)


def write_page(path: Path, text: str) -> None:
    """A page in a new file. **Raises** UsageError where none can be."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        raise click.UsageError(f"{path} cannot be written: {error}\nfix: -o with another place") from error
