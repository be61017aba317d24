"""``minicnn summary MODEL``: layer by layer, by shapes alone."""

from typing import Any

import click

import minicnn
from minicnn.cli.output import json_option, print_json, print_table


@click.command("summary")
@click.argument("model")
@click.option("--input", "shape", help="Shape of one input, as 3x224x224; default: what the model was published for.")
@click.option("--batch", type=click.IntRange(1), default=1, help="Inputs a batch; MACs and bytes grow with it.")
@click.option("--classes", type=click.IntRange(1), help="Number of classes; default: as published.")
@click.option("--csv", "as_csv", is_flag=True, help="Print the layers as CSV.")
@json_option
def command(model: str, shape: str | None, batch: int, classes: int | None, as_csv: bool, as_json: bool) -> None:
    """Layers of MODEL: output, parameters, multiply-adds, FLOPs, memory, receptive field; nothing is computed."""
    from minicnn import models
    from minicnn.summary import SummaryError

    info = models.info(model)
    input_shape = tuple(info.input_shape) if shape is None else _parsed(shape)
    with minicnn.abstract():
        net = models.create(model, num_classes=classes or info.num_classes, in_channels=input_shape[0])
        try:
            result, error = minicnn.summary(net, (batch, *input_shape)), None
        except SummaryError as failure:
            result, error = failure.summary, failure
    result.model = model
    if as_json:
        print_json(result.to_dict() | ({} if error is None else {"error": str(error.__cause__), "path": error.path}))
    elif as_csv:
        click.echo(result.to_csv(), nl=False)
    elif result.rows:
        _print(result, finished=error is None)
    if error is not None:
        expected = "x".join(map(str, info.input_shape))
        count = len(result.rows)
        above = f", after the {count} layer{'s' * (count > 1)} above" if count else ""
        raise click.UsageError(
            f"{model} fails in {error.path or 'the model itself'} on this input{above}: {error.__cause__}\n"
            f"fix: --input with another shape, as {expected}"
        )


def _parsed(shape: str) -> tuple[int, ...]:
    parts = shape.lower().split("x")
    if len(parts) != 3 or not all(part.isdigit() for part in parts):
        raise click.BadParameter(f"{shape!r} is not a shape like 3x224x224", param_hint="--input")
    return tuple(map(int, parts))


def _print(result: Any, finished: bool) -> None:
    """The layers, the stages, and what the columns mean."""
    from minicnn.summary import COLUMNS, CONVENTIONS

    rows = [row.cells() for row in result.rows]
    print_table(COLUMNS, [*rows, result.total_cells()] if finished else rows, title=result.title, footer=finished)
    if finished:
        click.echo()
        stages = [
            (s.name or "(model)", s.layers, s.params, s.macs, s.flops, s.forward_bytes, s.training_bytes)
            for s in result.stages
        ]
        print_table(("stage", "layers", *COLUMNS[3:8]), stages)
        click.echo(f"\n{CONVENTIONS}")
