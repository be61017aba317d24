"""Every number of a page: ``minicnn.summary`` of each setting, with what settings share written once.

A layer is an item of the tree (its name, how deep it lies), its facts and its receptive field. Blocks of one kind have
the same facts at every depth of a network, and a network the same tree at every width: so all three are numbers into a
pool, and a column of them that was there before is not written again.
"""

from collections.abc import Hashable, Iterator, Sequence
from typing import Any, NamedTuple

from minicnn.instruments.explore.settings import Choices, Setting
from minicnn.summary import CONVENTIONS, Summary, SummaryRow, summary
from minicnn.summary.rows import field_text, shape_text

# Attributes of a summary and of its rows, and what a page calls them.
MEASURES = {
    "params": "parameters",
    "macs": "multiply-adds",
    "flops": "FLOPs",
    "weight_bytes": "weights",
    "forward_bytes": "activations, forward",
    "training_bytes": "activations, training",
}


class Item(NamedTuple):
    """A line of the tree: a layer, or a block with the sums of what lies in it."""

    label: str
    level: int  # 0 at the outside
    block: bool
    row: SummaryRow


class Pool:
    """Numbers values in the order they come; equal ones have one number."""

    def __init__(self) -> None:
        self._numbers: dict[Hashable, int] = {}

    def number(self, value: Hashable) -> int:
        return self._numbers.setdefault(value, len(self._numbers))

    @property
    def values(self) -> list[Any]:
        return list(self._numbers)


def tables(offered: Choices) -> dict[str, Any]:
    """What the page's script reads, as plain data."""
    facts, labels, fields, columns = Pool(), Pool(), Pool(), Pool()

    def told(setting: Setting) -> dict[str, Any]:
        counted = summary(setting.build, setting.input_shape)
        lines = list(tree(counted))
        return {
            "name": setting.name,
            "at": setting.values,
            "input": shape_text(counted.input_shape),
            "totals": [getattr(counted, name) for name in MEASURES],
            "tree": columns.number(tuple(labels.number((line.label, line.level, int(line.block))) for line in lines)),
            "fields": columns.number(tuple(fields.number(field_text(line.row.field)) for line in lines)),
            "facts": [facts.number(_facts(line.row)) for line in lines],
        }

    settings = [told(setting) for setting in offered.settings]
    return {
        "title": offered.title,
        "knobs": [knob._asdict() for knob in offered.knobs],
        "start": offered.start,
        "note": offered.note,
        "measures": [{"name": name, "bytes": key.endswith("bytes")} for key, name in MEASURES.items()],
        "settings": settings,
        "facts": facts.values,
        "labels": labels.values,
        "fields": fields.values,
        "columns": columns.values,
        "conventions": CONVENTIONS,
    }


def _facts(row: SummaryRow) -> tuple[Any, ...]:
    """Kind, input, output, then the measures."""
    shapes = shape_text(row.input_shape), shape_text(row.output_shape)
    return (row.kind, *shapes, *(getattr(row, name) for name in MEASURES))


def tree(counted: Summary) -> Iterator[Item]:
    """The rows under their blocks, in the order they finish; what a block does itself comes last inside it."""
    blocks = {path for row in counted.rows for path in _above(row.path)}
    inside: dict[str, list[str | SummaryRow]] = {"": []}
    for row in counted.rows:
        parents = [*_above(row.path), row.path] if row.path in blocks else _above(row.path)
        for outer, block in zip(["", *parents], parents, strict=False):
            if block not in inside:
                inside[block] = []
                inside[outer].append(block)
        inside[parents[-1] if parents else ""].append(row)
    yield from _lines(inside, "", 0)


def _above(path: str) -> list[str]:
    """``a`` and ``a.b`` of ``a.b.c``."""
    names = path.split(".")
    return [".".join(names[:count]) for count in range(1, len(names))]


def _lines(inside: dict[str, list[str | SummaryRow]], path: str, level: int) -> Iterator[Item]:
    calls: dict[str, int] = {}
    for part in inside[path]:
        if isinstance(part, str):
            yield Item(part.rpartition(".")[2], level, True, _sums(part, list(_rows(inside, part))))
            yield from _lines(inside, part, level + 1)
        else:
            calls[part.path] = calls.get(part.path, 0) + 1
            label = part.path.rpartition(".")[2] if part.path != path else "(itself)"
            yield Item(label if calls[part.path] == 1 else f"{label} (call {calls[part.path]})", level, False, part)


def _rows(inside: dict[str, list[str | SummaryRow]], path: str) -> Iterator[SummaryRow]:
    for part in inside[path]:
        if isinstance(part, str):
            yield from _rows(inside, part)
        else:
            yield part


def _sums(path: str, rows: Sequence[SummaryRow]) -> SummaryRow:
    """A block as a row: from its first layer's input to its last layer's output and field."""

    def sum_of(name: str) -> Any:
        values = [getattr(row, name) for row in rows]
        return None if None in values else sum(values)

    sums = {name: sum_of(name) for name in ("params", "macs", "weight_bytes", "forward_bytes", "training_bytes")}
    kind = f"{len(rows)} layer{'s' if len(rows) > 1 else ''}"
    return rows[-1]._replace(path=path, kind=kind, input_shape=rows[0].input_shape, **sums)
