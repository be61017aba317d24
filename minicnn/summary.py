"""``summary``: a model layer by layer, by shapes alone; nothing is computed and no weight is drawn."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import numpy as np

from minicnn.context import abstract, no_grad, running_layers
from minicnn.errors import ArgumentError, MinicnnError
from minicnn.kernels.counting import listening
from minicnn.kernels.shape_array import ShapeArray
from minicnn.ops.geometry import integer
from minicnn.tensor import Tensor

_LAST = 5  # rows that the message of a failure shows


class SummaryRow(NamedTuple):
    """One layer: ``params`` counts each parameter once, ``macs`` what the layer itself (not its parts) multiplies."""

    path: str
    kind: str
    output_shape: Any  # a shape, or a list of them for a layer with several outputs
    params: int
    macs: int


class Summary:
    """The layers of a model in the order they finish, and the totals. ``print`` it, or ``to_dict()`` for JSON."""

    def __init__(self, model: str, input_shape: tuple[int, ...]) -> None:
        self.model, self.input_shape = model, input_shape
        self.rows: list[SummaryRow] = []
        self.params = self.trainable = self.macs = 0

    def to_dict(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "input_shape": list(self.input_shape),
            "rows": [row._asdict() for row in self.rows],
            "params": self.params,
            "trainable": self.trainable,
            "macs": self.macs,
        }

    def __str__(self) -> str:
        total = SummaryRow("total", "", "", self.params, self.macs)
        return f"{self.model}, input {_shape_text(self.input_shape)}\n{_table([*self.rows, total])}"


class SummaryError(MinicnnError, ValueError):
    """A model that cannot take the input; ``summary`` holds the layers before the failure."""

    def __init__(self, message: str, summary: Summary) -> None:
        super().__init__(message)
        self.summary = summary


def summary(model: Any, input_shape: Sequence[int]) -> Summary:
    """Layers, output shapes, parameters and multiply-adds (MACs) of ``model`` in eval mode.

    ``model`` is a module, or a function that builds one (``minicnn.models.resnet152``): it is then called abstractly
    and no weight exists. ``input_shape`` is (N, C, H, W), (C, H, W) for one image, or what else the model takes.

    **Raises** SummaryError with the layers up to the failure and the path of the layer that failed.
    """
    if not isinstance(input_shape, (tuple, list)):
        raise ArgumentError(f"summary: input_shape={input_shape!r}, expected a shape such as (3, 224, 224)")
    shape = tuple(integer("summary", "input_shape", size, 0) for size in input_shape)
    shape = (1, *shape) if len(shape) == 3 else shape
    with ExitStack() as stack:
        stack.enter_context(abstract())
        stack.enter_context(no_grad())
        module: Any = model if hasattr(model, "named_modules") or not callable(model) else model()
        if not hasattr(module, "named_modules"):
            raise ArgumentError(f"summary: model is a {type(model).__name__}, expected a Module or a function of one")
        result = Summary(getattr(model, "__name__", type(module).__name__), shape)
        parameters = list(module.parameters())
        result.params = sum(p.size for p in parameters)
        result.trainable = sum(p.size for p in parameters if p.requires_grad)
        stack.enter_context(_evaluating(module))
        stack.enter_context(_watching(module, result))
        x = Tensor(ShapeArray(shape, parameters[0].dtype if parameters else np.float32))
        try:
            module(x)
        except Exception as error:
            raise SummaryError(_failure(result, error), result) from error
    return result


def _failure(result: Summary, error: Exception) -> str:
    where = "; ".join(getattr(error, "__notes__", ()))
    text = f"summary: {result.model} fails on input {_shape_text(result.input_shape)} after {len(result.rows)} layers: "
    text += str(error) + (f" ({where})" if where else "")
    return text + ("\n" + _table(result.rows[-_LAST:]) if result.rows else "")


@contextmanager
def _evaluating(module: Any) -> Iterator[None]:
    """Eval mode inside the block; every submodule's own mode afterwards."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode


@contextmanager
def _watching(module: Any, result: Summary) -> Iterator[None]:
    """Add to ``result`` a row for every layer that finishes inside the block, and every multiply-add."""
    paths = {id(part): path for path, part in module.named_modules()}
    counted: set[int] = set()
    open_macs: dict[int, int] = {}

    def on_macs(op: str, macs: int) -> None:
        result.macs += macs
        layers = running_layers()
        if layers:
            open_macs[id(layers[-1])] = open_macs.get(id(layers[-1]), 0) + macs

    def on_output(part: Any, args: Any, output: Any) -> None:
        own = [parameter for _, parameter in part.own_parameters()]
        macs = open_macs.pop(id(part), 0)
        if own or macs or next(part.children(), None) is None:
            params = sum(p.size for p in own if id(p) not in counted)
            counted.update(id(p) for p in own)
            row = SummaryRow(paths[id(part)], type(part).__name__, _shapes(output), params, macs)
            result.rows.append(row)

    handles = [part.register_forward_hook(on_output) for part in module.modules()]
    try:
        with listening(on_macs):
            yield
    finally:
        for handle in handles:
            handle.remove()


def _shapes(output: Any) -> Any:
    if isinstance(output, (tuple, list)):
        return [_shapes(part) for part in output]
    if isinstance(output, dict):
        return [_shapes(part) for part in output.values()]
    return tuple(output.shape) if hasattr(output, "shape") else ()


def _shape_text(shape: Any) -> str:
    return ", ".join(map(_shape_text, shape)) if isinstance(shape, list) else "x".join(map(str, shape))


def _table(rows: Sequence[SummaryRow]) -> str:
    cells = [("layer", "kind", "output", "parameters", "MACs")]
    cells += [(r.path, r.kind, _shape_text(r.output_shape), f"{r.params:,}", f"{r.macs:,}") for r in rows]
    widths = [max(len(row[column]) for row in cells) for column in range(5)]
    align: tuple[Callable[[str, int], str], ...] = (str.ljust, str.ljust, str.ljust, str.rjust, str.rjust)
    lines = ("  ".join(a(text, w) for a, text, w in zip(align, row, widths, strict=True)).rstrip() for row in cells)
    return "\n".join(lines)
