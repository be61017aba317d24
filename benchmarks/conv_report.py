"""What the rows of ``conv_bench.py`` add up to, and how they are shown."""

import math
import sys
from collections.abc import Iterable
from typing import Any

Row = dict[str, Any]

COLUMNS = {
    "convolution": "left",
    "pass": "left",
    "plan": "left",
    "ms": "right",
    "PyTorch ms": "right",
    "ratio": "right",
    "GFLOP/s": "right",
    "GB/s": "right",
    "copy ms": "right",
    "% of roof": "right",
    "workspace MiB": "right",
    "error": "right",
    "in": "left",
}
TITLE = "These convolutions, each as often as the network has it"


def summary(rows: Iterable[Row]) -> list[Row]:
    """For each network, and for all, and for each pass: the mean ratio to PyTorch and the time of all its convolutions.

    ``geometric_mean`` takes each distinct convolution once. ``milliseconds`` counts one as often as the network has
    it, so ``ratio`` is that of one whole pass through the network's convolutions.
    """
    timed = [row for row in rows if row["milliseconds"] is not None]
    names = list(dict.fromkeys(name for row in timed for name in row["networks"]))
    passes = list(dict.fromkeys(row["pass"] for row in timed))
    lines = []
    for network in (*names, "all"):
        for which in (*passes, "all") if len(passes) > 1 else passes:
            chosen = [
                (row, sum(row["networks"].values()) if network == "all" else row["networks"][network])
                for row in timed
                if (network == "all" or network in row["networks"]) and which in (row["pass"], "all")
            ]
            if chosen:
                lines.append({"network": network, "pass": which, "rows": len(chosen), **_total(chosen)})
    return lines


def _total(chosen: list[tuple[Row, int]]) -> Row:
    ours = sum(row["milliseconds"] * times for row, times in chosen)
    if not all(row["ratio"] for row, _ in chosen):
        return {"milliseconds": ours, "torch_milliseconds": None, "ratio": None, "geometric_mean": None}
    theirs = sum(row["torch_milliseconds"] * times for row, times in chosen)
    mean = math.exp(sum(math.log(row["ratio"]) for row, _ in chosen) / len(chosen))
    return {"milliseconds": ours, "torch_milliseconds": theirs, "ratio": theirs / ours, "geometric_mean": mean}


def print_rows(rows: list[Row]) -> None:
    """The table of all rows; a wrong one says so in place of its time."""
    print_table("", COLUMNS, [_cells(row) for row in rows])


def _cells(row: Row) -> tuple[str, ...]:
    networks = ", ".join(name if times == 1 else f"{name} ×{times}" for name, times in row["networks"].items())
    head = (row["convolution"], row["pass"], row["plan"])
    if row["milliseconds"] is None:
        state = "WRONG" if row["state"] == "wrong" else "refused"
        return (*head, state, *[""] * 7, number(row["error"], "{:.0e}"), networks)
    return (
        *head,
        f"{row['milliseconds']:.3f}",
        number(row["torch_milliseconds"], "{:.3f}"),
        number(row["ratio"], "{:.2f}"),
        f"{row['flops_per_second'] / 1e9:.1f}",
        f"{row['bytes_per_second'] / 1e9:.1f}",
        number(row["copy_milliseconds"], "{:.3f}"),
        f"{row['percent_of_roof']:.0f} {row['bound_by']}",
        f"{row['workspace_bytes'] / 2**20:.1f}",
        f"{row['error']:.0e}",
        networks,
    )


def print_summary(lines: list[Row]) -> None:
    columns = ("network", "pass", "rows", "ms", "PyTorch ms", "ratio of the times", "geometric mean")
    cells = [
        (
            line["network"],
            line["pass"],
            str(line["rows"]),
            f"{line['milliseconds']:.2f}",
            number(line["torch_milliseconds"], "{:.2f}"),
            number(line["ratio"], "{:.2f}"),
            number(line["geometric_mean"], "{:.2f}"),
        )
        for line in lines
    ]
    sides = dict.fromkeys(columns, "right") | {"network": "left", "pass": "left"}
    print_table(TITLE, sides, cells)


def number(value: float | None, form: str) -> str:
    """The formatted value; empty for None."""
    return "" if value is None else form.format(value)


def print_table(title: str, columns: dict[str, str], rows: Iterable[tuple[str, ...]]) -> None:
    """A table on the terminal; ``columns`` says on which side each column's cells stand."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title or None, box=SIMPLE_HEAD, title_justify="left", pad_edge=False, show_edge=False)
    for name, side in columns.items():
        table.add_column(name, justify=side, overflow="fold")  # type: ignore[arg-type]
    for row in rows:
        table.add_row(*row)
    Console(width=None if sys.stdout.isatty() else 220, highlight=False).print(table)
