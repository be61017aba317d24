"""``minicnn models``: the catalog."""

from typing import Any

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
        print_json([_facts(info) for info in infos])
        return
    columns = ("model", "family", "year", "input", "parameters", "multiply-adds")
    rows = [(i.name, i.family, str(i.year), "x".join(map(str, i.input_shape)), *models.counts(i.name)) for i in infos]
    print_table(columns, rows)


def _facts(info: Any) -> dict[str, Any]:
    """The row of a model and its counts, as plain data."""
    from minicnn import models

    nested = {name: part._asdict() for name in ("published", "recipe") if (part := getattr(info, name)) is not None}
    return {**info._asdict(), **nested, **models.counts(info.name)._asdict()}
