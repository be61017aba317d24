"""One pass of a model by shapes, watched: which layers finish, with what, and how much they multiply."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Any, NamedTuple

from minicnn.context import running_layers
from minicnn.kernels.counting import listening
from minicnn.summary.receptive_field import receptive_fields
from minicnn.summary.rows import SummaryRow
from minicnn.summary.saved import owner
from minicnn.tensor import Tensor


class Call(NamedTuple):
    """A layer that has finished, what it took and put out, and what it multiplied itself."""

    part: Any
    input_shape: Any
    output: Any
    macs: int


class Watch:
    """The calls of all layers of a model in the order they finish, and every multiply-add."""

    def __init__(self, module: Any) -> None:
        self.module, self.paths = module, {id(part): path for path, part in module.named_modules()}
        self.calls: list[Call] = []
        self.macs = 0
        self.failed = ""  # path of the layer that raised
        self._open: list[Any] = []
        self._macs: dict[int, int] = {}

    def run(self, module: Any, x: Tensor) -> Exception | None:
        """Call the model; what it raises is returned, and ``calls`` end before it."""
        with ExitStack() as stack:
            for part in module.modules():
                stack.enter_context(part.register_forward_pre_hook(self._enters))
                stack.enter_context(part.register_forward_hook(self._finishes))
            stack.enter_context(listening(self._multiplies))
            try:
                module(x)
            except Exception as error:
                self.failed = self.paths[id(self._open[-1])]
                return error
        return None

    def _enters(self, part: Any, args: Any) -> None:
        self._open.append(part)

    def _multiplies(self, op: str, macs: int) -> None:
        self.macs += macs
        layers = running_layers()
        if layers:
            self._macs[id(layers[-1])] = self._macs.get(id(layers[-1]), 0) + macs

    def _finishes(self, part: Any, args: Any, output: Any) -> None:
        self._open.pop()
        self.calls.append(Call(part, _shapes(args[0]) if args else (), output, self._macs.pop(id(part), 0)))


def summary_rows(watch: Watch, x: Tensor, kept: Mapping[int, int] | None) -> list[SummaryRow]:
    """A row for every call of a layer that does something itself: has weights, multiplies, makes or keeps arrays."""
    ends = {(y.node, y.output): y.shape for call in watch.calls for y in tensors(call.output) if y.node is not None}
    fields = receptive_fields(ends.items(), x) if x.ndim == 4 else {}
    arrays, weights, keeping = {id(owner(x.data))}, set[int](), dict(kept or {})
    rows = []
    for part, input_shape, output, macs in watch.calls:
        own = [p for _, p in part.own_parameters() if id(p) not in weights]
        weights.update(map(id, own))
        new = {id(owner(y.data)): owner(y.data).nbytes for y in tensors(output) if id(owner(y.data)) not in arrays}
        arrays.update(new)
        saved = keeping.pop(id(part), 0)
        if own or macs or new or saved or next(part.children(), None) is None:
            first = next(tensors(output), None)
            row = SummaryRow(
                path=watch.paths[id(part)],
                kind=type(part).__name__,
                output_shape=_shapes(output),
                params=sum(p.size for p in own),
                macs=macs,
                weight_bytes=sum(p.data.nbytes for p in own),
                forward_bytes=sum(new.values()),
                training_bytes=None if kept is None else saved,
                field=None if first is None else fields.get(first.edge),
                input_shape=input_shape,
            )
            rows.append(row)
    return rows


def tensors(output: Any) -> Iterator[Tensor]:
    """The tensors of what a layer returned, in order."""
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, (tuple, list, dict)):
        for part in output.values() if isinstance(output, dict) else output:
            yield from tensors(part)


def _shapes(output: Any) -> Any:
    if isinstance(output, (tuple, list)):
        return [_shapes(part) for part in output]
    if isinstance(output, dict):
        return [_shapes(part) for part in output.values()]
    return tuple(output.shape) if hasattr(output, "shape") else ()
