"""What a summary holds, and how it is shown: text, HTML in a notebook, CSV, plain data."""

import csv
import html
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from minicnn.summary.receptive_field import ReceptiveField

CONVENTIONS = (
    "MACs are the multiply-adds of convolutions, linear layers and matrix products; FLOPs are 2 a MAC (papers often "
    "print MACs and call them FLOPs). Forward bytes: the new arrays that layers put out. Training bytes: the arrays "
    "that a training step keeps for its backward pass. Field: the pixels a unit sees, and how far apart units look."
)
COLUMNS = ("layer", "kind", "output", "parameters", "MACs", "FLOPs", "forward bytes", "training bytes", "field")


class SummaryRow(NamedTuple):
    """One call of a layer. Each parameter counts once, and ``macs`` are what the layer itself (not its parts) does."""

    path: str
    kind: str
    output_shape: Any  # a shape, or a list of them for a layer with several outputs
    params: int
    macs: int
    weight_bytes: int
    forward_bytes: int  # new arrays among the outputs; views and what an inner layer has put out are not new
    training_bytes: int | None  # what its operations are the first to keep; None: it cannot train on this input
    field: ReceptiveField | None  # None: no picture came in, or pixels were moved by something without a window
    input_shape: Any = ()  # of its first argument

    @property
    def flops(self) -> int:
        """Floating-point operations: a multiply-add is two."""
        return 2 * self.macs

    def to_dict(self) -> dict[str, Any]:
        """The row as plain data."""
        field = None if self.field is None else self.field._asdict()
        return {**self._asdict(), "field": field, "flops": self.flops}

    def cells(self) -> tuple[Any, ...]:
        """What a table shows, under ``COLUMNS``."""
        numbers = (self.params, self.macs, self.flops, self.forward_bytes, self.training_bytes)
        return (self.path, self.kind, shape_text(self.output_shape), *numbers, field_text(self.field))


class StageTotal(NamedTuple):
    """The sums over the layers of a stage."""

    name: str
    layers: int
    params: int
    macs: int
    weight_bytes: int
    forward_bytes: int
    training_bytes: int | None

    @property
    def flops(self) -> int:
        return 2 * self.macs


class Summary:
    """The layers of a model in the order they finish, and the totals.

    Shows itself in a notebook or with ``print``; ``to_dict()`` is plain data for JSON, ``to_csv()`` the rows.
    """

    def __init__(self, model: str, input_shape: tuple[int, ...]) -> None:
        self.model, self.input_shape = model, input_shape
        self.rows: list[SummaryRow] = []
        self.params = self.trainable = self.macs = self.weight_bytes = self.forward_bytes = 0
        self.training_bytes: int | None = None
        self.stage_paths: Mapping[str, str] = {}

    @property
    def flops(self) -> int:
        """Floating-point operations: a multiply-add is two."""
        return 2 * self.macs

    @property
    def stages(self) -> list[StageTotal]:
        """Totals by stage: those that a network of the catalog names, else the model's direct parts."""
        names = _stage_names(self.rows, self.stage_paths)
        parts: dict[str, list[SummaryRow]] = {}
        for name, row in zip(names, self.rows, strict=True):
            parts.setdefault(name, []).append(row)
        return [_total(name, rows) for name, rows in parts.items()]

    def to_dict(self) -> dict[str, Any]:
        totals = ("params", "trainable", "macs", "flops", "weight_bytes", "forward_bytes", "training_bytes")
        return {
            "model": self.model,
            "input_shape": list(self.input_shape),
            "conventions": CONVENTIONS,
            "rows": [row.to_dict() for row in self.rows],
            "stages": [{**stage._asdict(), "flops": stage.flops} for stage in self.stages],
            **{name: getattr(self, name) for name in totals},
        }

    def to_csv(self) -> str:
        """One line a layer under a line of names; rows and columns of the receptive field have a column each."""
        text = io.StringIO()
        plain = [name for name in SummaryRow._fields if name not in ("output_shape", "field", "input_shape")]
        fields = [f"field_{part}_{axis}" for part in ReceptiveField._fields for axis in ("h", "w")]
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([*plain, "flops", "input_shape", "output_shape", *fields])
        for row in self.rows:
            numbers = [None] * 6 if row.field is None else [number for part in row.field for number in part]
            writer.writerow(
                [
                    *(getattr(row, name) for name in plain),
                    *(row.flops, shape_text(row.input_shape), shape_text(row.output_shape), *numbers),
                ]
            )
        return text.getvalue()

    def total_cells(self) -> tuple[Any, ...]:
        """The last line of a table under ``COLUMNS``."""
        return ("total", "", "", self.params, self.macs, self.flops, self.forward_bytes, self.training_bytes, "")

    def __str__(self) -> str:
        rows = [row.cells() for row in self.rows]
        return f"{self.title}\n{text_table([COLUMNS, *rows, self.total_cells()])}"

    __repr__ = __str__

    @property
    def title(self) -> str:
        return f"{self.model}, input {shape_text(self.input_shape)}"

    def _repr_html_(self) -> str:
        def line(cells: Sequence[Any], tag: str) -> str:
            return "<tr>" + "".join(f"<{tag}>{html.escape(cell_text(cell))}</{tag}>" for cell in cells) + "</tr>"

        body = "".join(line(row.cells(), "td") for row in self.rows) + line(self.total_cells(), "th")
        caption = f"<caption>{html.escape(self.title)}</caption>"
        return f"<table>{caption}<thead>{line(COLUMNS, 'th')}</thead><tbody>{body}</tbody></table><p>{CONVENTIONS}</p>"


def _stage_names(rows: Sequence[SummaryRow], stage_paths: Mapping[str, str]) -> list[str]:
    """The stage of every row: the first whose last layer has not finished before it, ``head`` after the last one."""
    ends = {
        name: max((i for i, row in enumerate(rows) if f"{row.path}.".startswith(f"{path}.")), default=-1)
        for name, path in stage_paths.items()
    }
    if max(ends.values(), default=-1) < 0:
        return [row.path.partition(".")[0] for row in rows]
    return [next((name for name, end in ends.items() if i <= end), "head") for i in range(len(rows))]


def _total(name: str, rows: Sequence[SummaryRow]) -> StageTotal:
    params, macs, weights, forward = (
        sum(getattr(row, field) for row in rows) for field in ("params", "macs", "weight_bytes", "forward_bytes")
    )
    training = [row.training_bytes for row in rows if row.training_bytes is not None]
    return StageTotal(name, len(rows), params, macs, weights, forward, sum(training) if training else None)


def shape_text(shape: Any) -> str:
    """``1x64x56x56``; the shapes of several outputs one after the other."""
    return ", ".join(map(shape_text, shape)) if isinstance(shape, list) else "x".join(map(str, shape))


def field_text(field: ReceptiveField | None) -> str:
    """``163 every 16`` pixels, ``195x163 every 16x8`` where rows and columns differ."""
    if field is None:
        return ""
    size, jump = ("x".join(map(str, pair if pair[0] != pair[1] else pair[:1])) for pair in (field.size, field.jump))
    return size if jump == "0" else f"{size} every {jump}"


def cell_text(cell: Any) -> str:
    if cell is None:
        return ""
    return cell if isinstance(cell, str) else f"{cell:,}"


def text_table(lines: Sequence[Sequence[Any]]) -> str:
    """Lines of cells in columns: numbers right, text left."""
    texts = [[cell_text(cell) for cell in line] for line in lines]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    right = [isinstance(cell, int) for cell in lines[-1]]

    def shown(line: Sequence[str]) -> str:
        align: list[Callable[[str, int], str]] = [str.rjust if numeric else str.ljust for numeric in right]
        return "  ".join(a(text, width) for a, text, width in zip(align, line, widths, strict=True)).rstrip()

    return "\n".join(map(shown, texts))
