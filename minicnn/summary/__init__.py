"""``summary``: a model layer by layer, by shapes alone; nothing is computed and no weight is drawn."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import chain
from typing import Any

import numpy as np

from minicnn.context import abstract, enable_grad
from minicnn.errors import ArgumentError, MinicnnError
from minicnn.kernels.shape_array import ShapeArray
from minicnn.ops.geometry import integer
from minicnn.summary.receptive_field import ReceptiveField
from minicnn.summary.rows import COLUMNS, CONVENTIONS, StageTotal, Summary, SummaryRow, shape_text, text_table
from minicnn.summary.saved import saved_bytes
from minicnn.summary.watch import Watch, summary_rows, tensors
from minicnn.tensor import Tensor

__all__ = [
    "COLUMNS",
    "CONVENTIONS",
    "ReceptiveField",
    "StageTotal",
    "Summary",
    "SummaryError",
    "SummaryRow",
    "summary",
]

_LAST = 5  # rows that the message of a failure shows


class SummaryError(MinicnnError, ValueError):
    """A model that cannot take the input; ``summary`` holds the layers before the failure, ``path`` the failing one."""

    def __init__(self, message: str, summary: Summary, path: str) -> None:
        super().__init__(message)
        self.summary, self.path = summary, path


def summary(model: Any, input_shape: Sequence[int]) -> Summary:
    """Layers of ``model`` with output shapes, parameters, multiply-adds, memory and receptive fields, in eval mode.

    ``model`` is a module, or a function that builds one (``minicnn.models.resnet152``): it is then called abstractly
    and no weight exists. ``input_shape`` is (N, C, H, W), (C, H, W) for one image, or what else the model takes.
    ``training_bytes`` come from a second pass in training mode, and are None where it fails (batch norm of a single
    value). The conventions are ``minicnn.summary.CONVENTIONS``.

    **Raises** SummaryError with the layers up to the failure and the path of the layer that failed.
    """
    shape = _checked(input_shape)
    with ExitStack() as stack:
        stack.enter_context(abstract())
        stack.enter_context(enable_grad())
        module: Any = model if hasattr(model, "named_modules") or not callable(model) else model()
        if not hasattr(module, "named_modules"):
            raise ArgumentError(f"summary: model is a {type(model).__name__}, expected a Module or a function of one")
        result = Summary(getattr(model, "__name__", type(module).__name__), shape)
        parameters = list(module.parameters())
        result.params = sum(p.size for p in parameters)
        result.trainable = sum(p.size for p in parameters if p.requires_grad)
        result.weight_bytes = sum(p.data.nbytes for p in parameters)
        result.stage_paths = getattr(module, "stage_paths", {})
        stack.enter_context(_by_shapes(module))
        x = Tensor(ShapeArray(shape, parameters[0].dtype if parameters else np.float32), requires_grad=True)
        kept = _kept_for_backward(module, x)
        watch = Watch(module)
        failure = watch.run(module.eval(), x)
        result.rows, result.macs = summary_rows(watch, x, kept), watch.macs
        result.forward_bytes = sum(row.forward_bytes for row in result.rows)
        result.training_bytes = None if kept is None else sum(kept.values())
        if failure is not None:
            raise SummaryError(_message(result, failure), result, watch.failed) from failure
    return result


def _checked(input_shape: Any) -> tuple[int, ...]:
    if not isinstance(input_shape, (tuple, list)):
        raise ArgumentError(f"summary: input_shape={input_shape!r}, expected a shape such as (3, 224, 224)")
    shape = tuple(integer("summary", "input_shape", size, 0) for size in input_shape)
    return (1, *shape) if len(shape) == 3 else shape


def _message(result: Summary, error: Exception) -> str:
    where = "; ".join(getattr(error, "__notes__", ()))
    text = f"summary: {result.model} fails on input {shape_text(result.input_shape)} after {len(result.rows)} layers: "
    text += str(error) + (f" ({where})" if where else "")
    rows = [row.cells() for row in result.rows[-_LAST:]]
    return text + ("\n" + text_table([COLUMNS, *rows]) if rows else "")


@contextmanager
def _by_shapes(module: Any) -> Iterator[None]:
    """Inside the block parameters and buffers are shapes; afterwards they, and every part's mode, are as before.

    So an array on the tape is a weight exactly if it is the weight's own.
    """
    modes = [(part, part.training) for part in module.modules()]
    held = [(tensor, tensor._data) for tensor in chain(module.parameters(), module.buffers())]
    try:
        for tensor, array in held:  # not through .data, which would count as a write
            tensor._data = ShapeArray(array.shape, array.dtype)
        yield
    finally:
        for tensor, array in held:
            tensor._data = array
        for part, mode in modes:
            part.training = mode


def _kept_for_backward(module: Any, x: Tensor) -> dict[int, int] | None:
    """``saved_bytes`` of a pass in training mode; None if that fails."""
    try:
        output = module.train()(x)
    except Exception:  # what it is, the pass in eval mode tells with the layers before it
        return None
    ends = [tensor.node for tensor in tensors(output) if tensor.node is not None]
    return saved_bytes(ends, [tensor.data for tensor in chain(module.parameters(), module.buffers())])
