"""Results on stdout: a table for people, or one JSON document for programs."""

import json
import sys
from collections.abc import Sequence
from typing import Any

import click

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of text.")


def print_json(value: Any) -> None:
    """One JSON document on stdout."""
    click.echo(json.dumps(value, indent=2))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]], title: str = "", footer: bool = False) -> None:
    """A table; columns whose values are numbers are right-aligned. With ``footer`` the last row is the total."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title or None, box=SIMPLE_HEAD, title_justify="left", pad_edge=False, show_edge=False)
    for index, name in enumerate(columns):
        numeric = all(isinstance(row[index], (int, float)) or row[index] in ("", None) for row in rows)
        table.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for number, row in enumerate(rows, 1):
        table.add_row(*map(_text, row), end_section=footer and number == len(rows) - 1)
    # When piped, lines are as wide as they need to be: nothing is cut or wrapped.
    width = None if sys.stdout.isatty() else 200
    Console(width=width, highlight=False).print(table)


def _text(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, (int, float)) else str(value)
