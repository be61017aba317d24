"""Receptive fields, read off the tape: which pixels of the image the units of a layer can see.

The tape says which operation read which result, and every operation that slides a window keeps that window for its
backward pass, so the rule needs no list of layers: branches, shortcuts and functional calls are followed like all else.

**Math** a unit i of one axis sees the pixels ``first + i*jump`` to ``last + i*jump``. A window of k taps, dilation d,
stride s and leading padding p makes of them ``first - p*jump``, ``last + (d*(k-1) - p)*jump`` and ``s*jump``. Where
branches meet, the smaller ``first`` and the larger ``last`` count.
**See** Araujo, Norris and Sim, "Computing Receptive Fields of Convolutional Neural Networks", 2019.
"""

from collections.abc import Iterable, Sequence
from types import FunctionType
from typing import Any, NamedTuple

from minicnn.kernels.pool import Bins
from minicnn.kernels.window import Window2d
from minicnn.tape import Node

Shape = tuple[int, ...]
Place = tuple[Node, int]  # a node and which of its outputs


class ReceptiveField(NamedTuple):
    """What a unit sees, by rows and columns; padding counts as if it were image, so ``size`` may exceed the image.

    ``jump`` is how many pixels the fields of neighbours lie apart, 0 where every unit sees the same (after a global
    pool). ``start`` is the centre of the first unit's field; that of the first pixel is 0.5.
    """

    size: tuple[int, int]
    jump: tuple[int, int]
    start: tuple[float, float]


class Span(NamedTuple):
    """One axis: unit i sees the pixels ``first + i*jump`` to ``last + i*jump``."""

    first: int
    last: int
    jump: int

    def slid(self, kernel: int, stride: int, before: int, dilation: int = 1) -> "Span":
        """Through a window."""
        reach = dilation * (kernel - 1) - before
        return Span(self.first - before * self.jump, self.last + reach * self.jump, self.jump * stride)

    def gathered(self, units: int, pixels: int) -> "Span":
        """What all ``units`` together see of the image, as one unit that sees it all."""
        return Span(max(self.first, 0), min(self.last + (units - 1) * self.jump, pixels - 1), 0)


Spans = tuple[Span, Span]
Seen = tuple[Spans, Shape]  # what the units of an array of this shape see

# Operations after which a unit sees what any unit before saw.
MIXING = frozenset(("group_norm", "layer_norm", "instance_norm", "grid_sample", "affine_grid", "linear", "matmul"))
# Operations that move or mix pixels in ways that no window describes.
UNKNOWN = frozenset(
    (
        *("checkpoint", "conv_transpose2d", "interpolate", "fold", "unfold", "max_unpool2d", "flip", "permute"),
        *("transpose", "softmax", "log_softmax", "logsumexp", "gather", "pixel_shuffle", "pixel_unshuffle"),
    )
)


def receptive_fields(ends: Iterable[tuple[Any, Shape]], image: Any) -> dict[Any, ReceptiveField | None]:
    """The field of the leaf ``image`` and of every place between it and ``ends`` (places and their shapes).

    None: an operation in between moves pixels in a way that is not a window.
    """
    ends = list(ends)
    shapes = dict(ends)
    nodes = reachable(place[0] for place, _ in ends)
    for node in nodes:
        facts = zip(node.edges, node.inputs, strict=True)
        shapes.update({edge: fact[0] for edge, fact in facts if isinstance(edge, tuple)})
    pixels = image.shape[-2:]
    spans: dict[Any, Spans | None] = {image: (Span(0, 0, 1), Span(0, 0, 1))}
    for node in nodes:
        # what was not computed from the image (weights, and what is made of them) is not among the spans
        seen = [(spans[edge], fact[0]) for edge, fact in zip(node.edges, node.inputs, strict=True) if edge in spans]
        for output in range(node.outputs if seen else 0):
            if (node, output) in shapes:
                spans[node, output] = _through(node, output, shapes[node, output], seen, pixels)
    return {place: None if found is None else _field(found) for place, found in spans.items()}


def reachable(ends: Iterable[Node]) -> list[Node]:
    """Every node behind ``ends``, the oldest first."""
    waiting, found = list(ends), set[Node]()
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting += [edge[0] for edge in node.edges if isinstance(edge, tuple)]
    return sorted(found, key=lambda node: node.sequence)


def _field(spans: Spans) -> ReceptiveField:
    (a, b), (c, d) = ((span.last - span.first + 1, (span.first + span.last + 1) / 2) for span in spans)
    return ReceptiveField((a, c), (spans[0].jump, spans[1].jump), (b, d))


def _through(node: Node, output: int, out: Shape, seen: Sequence[tuple[Any, Shape]], pixels: Shape) -> Spans | None:
    """What output ``output`` of shape ``out`` sees, if the node's inputs saw ``seen``."""
    if any(spans is None for spans, _ in seen):
        return None
    spans, size = _joined(seen, pixels)
    if not spans[0].jump and not spans[1].jump:
        return spans
    held = held_by(node.vjp)
    if node.name in UNKNOWN or len(size) < 3:
        return None
    window = _window(held, out)
    if window is not None:
        rows, columns = spans
        return (
            rows.slid(window.kh, window.sh, window.top, window.dh),
            columns.slid(window.kw, window.sw, window.left, window.dw),
        )
    cut = _cut(node.name, output, held, size)
    if cut is not None:
        (top, step), (left, stride) = cut
        return spans[0].slid(1, step, -top), spans[1].slid(1, stride, -left)
    if node.name in MIXING or len(out) < 3 or out[-2:] == (1, 1):
        return _gathered(spans, size, pixels)
    return spans if out[-2:] == size[-2:] else None


def _joined(seen: Sequence[Seen], pixels: Shape) -> Seen:
    """What meets in one unit: the union, if the fields move alike; otherwise all that any unit sees."""
    largest = max((shape for _, shape in seen), key=lambda shape: (len(shape), shape[-2:]))
    if len({tuple(span.jump for span in spans) for spans, _ in seen}) > 1:
        seen = [(_gathered(spans, shape, pixels), shape) for spans, shape in seen]
    rows, columns = zip(*(spans for spans, _ in seen), strict=True)
    return (_union(rows), _union(columns)), largest


def _union(spans: Sequence[Span]) -> Span:
    return Span(min(span.first for span in spans), max(span.last for span in spans), spans[0].jump)


def _gathered(spans: Spans, shape: Shape, pixels: Shape) -> Spans:
    units = shape[-2:] if len(shape) > 2 else (1, 1)
    return spans[0].gathered(units[0], pixels[0]), spans[1].gathered(units[1], pixels[1])


def held_by(function: Any) -> dict[str, Any]:
    """What a vjp closes over, by name; also what the functions it wraps do."""
    held: dict[str, Any] = {}
    if isinstance(function, FunctionType):
        cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
        own = {name: cell.cell_contents for name, cell in cells}
        for value in own.values():
            held |= held_by(value) if value is not function else {}
        held |= own
    return held


def _window(held: dict[str, Any], out: Shape) -> Window2d | None:
    """The window that slid; that of adaptive bins where they are all alike."""
    for value in held.values():
        if isinstance(value, Window2d):
            return value
        if isinstance(value, Bins):
            (oh, ow), (h, w) = value.out, (value.h, value.w)
            even = h % oh == 0 and w % ow == 0 and out[-2:] != (1, 1)
            uniform = Window2d(h, w, h // oh, w // ow, h // oh, w // ow, 0, 0, 0, 0, 1, 1, oh, ow) if even else None
            return value.window or uniform
    return None


def _cut(op: str, output: int, held: dict[str, Any], size: Shape) -> tuple[tuple[int, int], ...] | None:
    """For rows and columns the first unit that is read and the step to the next, of slices and margins of zeros."""
    if op == "pad" and "inner" in held:
        margins = zip(held["inner"][-2:], held["kept"][-2:], strict=True)
        return tuple((kept.start - inner.start, 1) for inner, kept in margins)
    parts = held["parts"] if op in ("getitem", "index_select") else held["cuts"][output] if "cuts" in held else None
    if parts is None or any(part is None for part in parts):
        return None
    at = next((i for i, part in enumerate(parts) if part is Ellipsis), len(parts))
    after = parts[at + 1 :]
    full = (*parts[:at], *(slice(None),) * (len(size) - at - len(after)), *after)
    if not all(isinstance(part, slice) for part in full[-2:]):
        return None
    bounds = [part.indices(n) for part, n in zip(full[-2:], size[-2:], strict=True)]
    return tuple((first, step) for first, _, step in bounds)
