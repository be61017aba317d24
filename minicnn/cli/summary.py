"""``minicnn summary MODEL``: layer by layer, by shapes alone."""

from typing import Any

import click

import minicnn
from minicnn.cli.output import json_option, print_json, print_table


@click.command("summary")
@click.argument("model")
@click.option("--input", "shape", help="Shape of one input, as 3x224x224; default: what the model was published for.")
@click.option("--classes", type=int, help="Number of classes; default: as published.")
@json_option
def command(model: str, shape: str | None, classes: int | None, as_json: bool) -> None:
    """Layers of MODEL with output shape, parameters and multiply-adds (MACs); nothing is computed or drawn."""
    from minicnn import models
    from minicnn.summary import SummaryError

    info = models.info(model)
    input_shape = tuple(info.input_shape)
    if shape is not None:
        parts = shape.lower().split("x")
        if len(parts) != 3 or not all(part.isdigit() for part in parts):
            raise click.BadParameter(f"{shape!r} is not a shape like 3x224x224", param_hint="--input")
        input_shape = tuple(map(int, parts))
    with minicnn.abstract():
        net = models.create(model, num_classes=classes or info.num_classes, in_channels=input_shape[0])
        try:
            result = minicnn.summary(net, (1, *input_shape))
        except SummaryError as error:
            raise click.UsageError(f"{error}\nfix: --input with another shape, as {_text(info.input_shape)}") from error
    if as_json:
        print_json(result.to_dict())
        return
    rows = [(r.path, r.kind, _text(r.output_shape, skip=1), r.params, r.macs) for r in result.rows]
    rows.append(("total", "", "", result.params, result.macs))
    print_table(("layer", "kind", "output", "parameters", "MACs"), rows, footer=True)


def _text(shape: Any, skip: int = 0) -> str:
    """``6x28x28``, without the first ``skip`` sizes (the batch); the shapes of several outputs one after the other."""
    if shape and isinstance(shape[0], (list, tuple)):
        return ", ".join(_text(one, skip) for one in shape)
    return "x".join(map(str, shape[skip:]))
