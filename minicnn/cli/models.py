"""``minicnn models``: the catalog."""

import click

from minicnn.cli.output import json_option, print_json, print_table


@click.command("models")
@click.argument("pattern", required=False)
@json_option
def command(pattern: str | None, as_json: bool) -> None:
    """List the registered models, all or those matching PATTERN (a glob, or a part of the name)."""
    from minicnn import models

    infos = [models.info(name) for name in models.names(pattern)]
    if not infos and pattern:
        raise click.UsageError(f"no model matches {pattern!r}; `minicnn models` lists all")
    if as_json:
        print_json([info._asdict() if hasattr(info, "_asdict") else vars(info) for info in infos])
        return
    columns = ("model", "family", "year", "input", "parameters", "multiply-adds")
    rows = [(i.name, i.family, str(i.year), "x".join(map(str, i.input_shape)), i.params, i.macs) for i in infos]
    print_table(columns, rows)
