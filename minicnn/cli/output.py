"""Results on stdout: a table for people, or one JSON document for programs."""

import itertools
import json
import sys
from collections.abc import Sequence
from typing import Any

import click

PIPE = 200  # columns of a line that no terminal shows
TEXT = 16  # columns to which text may be folded
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of text.")


def print_json(value: Any) -> None:
    """One JSON document on stdout."""
    click.echo(json.dumps(value, indent=2))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]], title: str = "", footer: bool = False) -> None:
    """A table; columns whose values are numbers are right-aligned. With ``footer`` the last row is the total.

    In a terminal that is too narrow text is folded, and then the last columns are left out, and named: a folded number
    cannot be read.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    lines, screen = [list(map(_text, row)) for row in rows], console()
    numeric = [
        all(isinstance(row[k], (int, float)) or row[k] in ("", None) for row in rows) for k in range(len(columns))
    ]
    shown = len(columns) if screen.width == PIPE else _fitting([columns, *lines], numeric, screen.width)
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name, is_number in zip(columns[:shown], numeric[:shown], strict=True):
        table.add_column(name, justify="right" if is_number else "left", overflow="fold", no_wrap=is_number)
    for number, line in enumerate(lines, 1):
        table.add_row(*line[:shown], end_section=footer and number == len(rows) - 1)
    if title:
        screen.print(title, style="italic")  # not the table's own, which is folded to its width
    screen.print(table)
    if shown < len(columns):
        missing = ", ".join(columns[shown:])
        screen.print(f"not shown: {missing} (a wider terminal, a pipe or --json shows them)", soft_wrap=True)


def console() -> Any:
    """Stdout; when piped, lines are as wide as they need to be: nothing is cut or wrapped."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else PIPE, highlight=False)


def _fitting(lines: Sequence[Sequence[str]], numeric: Sequence[bool], width: int) -> int:
    """How many columns fit side by side, three characters apart; at least two."""
    from rich.cells import cell_len

    widths = [max(map(cell_len, column)) for column in zip(*lines, strict=True)]
    widths = [w if is_number else min(w, TEXT) for w, is_number in zip(widths, numeric, strict=True)]
    ends = itertools.accumulate(3 + column for column in widths)
    return max(2, sum(end - 3 <= width for end in ends))


def _text(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, (int, float)) else str(value)
