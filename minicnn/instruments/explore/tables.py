"""Every number of a page: ``minicnn.summary`` of each setting, with what settings share written once.

A line of the tree is a label (its name, how deep it lies), facts, a receptive field, and which earlier lines it reads.
Blocks of one kind have the same facts at every depth of a network, and a network the same tree at every width: so all
four are numbers into a pool, and a column of them that was there before is not written again.
"""

from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from typing import Any, NamedTuple

from minicnn.instruments.explore.settings import Choices, Setting
from minicnn.instruments.flow import Step, flow
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


LAYER, BLOCK, OPERATION = range(3)  # the sorts of lines


class Item(NamedTuple):
    """A line of the tree: a layer, an operation between layers, or a block with the sums of what lies in it."""

    label: str
    level: int  # 0 at the outside
    sort: int
    kind: str
    input_shape: Any
    output_shape: Any
    row: SummaryRow | None  # what was counted; None for an operation: the block around it or the next layer counts it
    step: int | None = None  # its number in the flow


_ITSELF = Item("", 0, LAYER, "", (), (), None)


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
    facts, labels, fields, reads, columns = Pool(), Pool(), Pool(), Pool(), Pool()

    def told(setting: Setting) -> dict[str, Any]:
        counted = summary(setting.build, setting.input_shape)
        steps = flow(setting.build, setting.input_shape)
        lines = list(tree(counted, steps))
        return {
            "name": setting.name,
            "at": setting.values,
            "input": shape_text(counted.input_shape),
            "totals": [getattr(counted, name) for name in MEASURES],
            "tree": columns.number(tuple(labels.number((line.label, line.level, line.sort)) for line in lines)),
            "fields": columns.number(tuple(fields.number(_field(line)) for line in lines)),
            "reads": columns.number(tuple(map(reads.number, _reads(lines, steps)))),
            "facts": [facts.number(_facts(line)) for line in lines],
        }

    settings = [told(setting) for setting in offered.settings]
    return {
        "title": offered.title,
        "knobs": [knob._asdict() for knob in offered.knobs],
        "start": offered.start,
        "against": offered.against,
        "note": offered.note,
        "measures": [{"name": name, "bytes": key.endswith("bytes")} for key, name in MEASURES.items()],
        "settings": settings,
        "facts": facts.values,
        "labels": labels.values,
        "fields": fields.values,
        "reads": reads.values,
        "columns": columns.values,
        "conventions": CONVENTIONS,
    }


def _facts(line: Item) -> tuple[Any, ...]:
    """Kind, input, output, then the measures of what was counted."""
    measures = () if line.row is None else (getattr(line.row, name) for name in MEASURES)
    return (line.kind, shape_text(line.input_shape), shape_text(line.output_shape), *measures)


def _field(line: Item) -> str:
    return "" if line.row is None else field_text(line.row.field)


def _reads(lines: Sequence[Item], steps: Sequence[Step]) -> Iterator[tuple[int, ...]]:
    """For each line, how many lines above it those lie that it reads."""
    at = {line.step: number for number, line in enumerate(lines) if line.step is not None}
    for number, line in enumerate(lines):
        yield () if line.step is None else tuple(number - at[source] for source in steps[line.step].reads)


def tree(counted: Summary, steps: Sequence[Step]) -> Iterator[Item]:
    """The steps under their blocks, in the order they run; what a block was counted for itself comes last inside it.

    A block whose layers run between those of others (a list of norms, one of convolutions) would hide that order: its
    layers lie in the block around it, by longer names.
    """
    items = list(_items(counted, steps))
    whole = _whole([around for around, _, item in items if item.step is not None])
    inside: dict[str, list[str | Item]] = {"": []}
    for around, path, item in items:
        outer = ""
        for block in _blocks(around):
            if block in whole:
                if block not in inside:
                    inside[block] = []
                    inside[outer].append(block)
                outer = block
        inside[outer].append(item._replace(label=_below(outer, path)))
    yield from _lines(inside, "", 0)


def _whole(ran: Sequence[str]) -> set[str]:
    """Of the blocks around what ran, those that ran in one piece."""
    places: dict[str, list[int]] = {}
    for number, around in enumerate(ran):
        for block in _blocks(around):
            places.setdefault(block, []).append(number)
    return {block for block, numbers in places.items() if numbers[-1] - numbers[0] == len(numbers) - 1}


def _blocks(path: str) -> list[str]:
    """``a``, ``a.b`` and ``a.b.c`` of ``a.b.c``."""
    names = path.split(".") if path else []
    return [".".join(names[:count]) for count in range(1, len(names) + 1)]


def _below(block: str, path: str) -> str:
    return path.removeprefix(f"{block}.") if block else path


def _items(counted: Summary, steps: Sequence[Step]) -> Iterator[tuple[str, str, Item]]:
    """The block around it, its own path, and every step with its row; then rows of blocks that did several things."""
    rows: dict[str, list[SummaryRow]] = {}
    for row in counted.rows:
        rows.setdefault(row.path, []).append(row)
    times = Counter(step.path for step in steps[1:])
    for number, step in enumerate(steps):
        around = step.path if step.op else step.path.rpartition(".")[0]
        path = f"{step.path}.({step.op})".lstrip(".") if step.op else step.path
        item = Item(
            "", 0, OPERATION if step.op else LAYER, step.kind, _one(step.inputs), _one(step.outputs), None, number
        )
        if number and times[step.path] == len(rows.get(step.path, [])):
            times[step.path] -= 1
            item = _counted(item, rows[step.path].pop(0))
        yield around, path, item
    for around, left in rows.items():
        yield from ((around, f"{around}.(itself)".lstrip("."), _counted(_ITSELF, row)) for row in left)


def _counted(item: Item, row: SummaryRow) -> Item:
    return item._replace(kind=row.kind, input_shape=row.input_shape, output_shape=row.output_shape, row=row)


def _one(shapes: list[Any]) -> Any:
    return shapes[0] if len(shapes) == 1 else shapes


def _lines(inside: dict[str, list[str | Item]], path: str, level: int) -> Iterator[Item]:
    calls = Counter[str]()
    for part in inside[path]:
        if isinstance(part, str):
            yield _sums(_below(path, part), level, list(_within(inside, part)))
            yield from _lines(inside, part, level + 1)
        else:
            calls[part.label] += 1
            again = f" (call {calls[part.label]})" if calls[part.label] > 1 else ""
            yield part._replace(label=f"{part.label}{again}", level=level)


def _within(inside: dict[str, list[str | Item]], path: str) -> Iterator[Item]:
    for part in inside[path]:
        if isinstance(part, str):
            yield from _within(inside, part)
        else:
            yield part


def _sums(label: str, level: int, items: Sequence[Item]) -> Item:
    """A block as a line: the input of what runs first in it, the output of what runs last, and the last field."""
    rows = [item.row for item in items if item.row is not None]
    ran = [item for item in items if item.step is not None] or items

    def sum_of(name: str) -> Any:
        values = [getattr(row, name) for row in rows]
        return None if None in values else sum(values)

    sums = {name: sum_of(name) for name in ("params", "macs", "weight_bytes", "forward_bytes", "training_bytes")}
    kind = f"{len(rows)} layer{'' if len(rows) == 1 else 's'}"
    first, last = ran[0].input_shape, ran[-1].output_shape
    row = SummaryRow(label, kind, last, field=rows[-1].field if rows else None, input_shape=first, **sums)
    return Item(label, level, BLOCK, kind, first, last, row)
