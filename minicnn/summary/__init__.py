"""``summary``: a model layer by layer, by shapes alone; nothing is computed and no weight is drawn."""

import inspect
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


class SummaryError(MinicnnError, ValueError):
    """A model that cannot take the input; ``summary`` holds the layers before the failure, ``path`` the failing one.

    The message shows both.
    """

    def __init__(self, message: str, summary: Summary, path: str) -> None:
        super().__init__(message)
        self.summary, self.path = summary, path


def summary(model: Any, input_shape: Sequence[int]) -> Summary:
    """Layers of ``model`` with output shapes, parameters, multiply-adds, memory and receptive fields, in eval mode.

    ``model`` is a module, or a class or function that builds one (``minicnn.models.resnet152``): it is then called
    abstractly and no weight exists. ``input_shape`` is (N, C, H, W), (C, H, W) for one image, or what else the model
    takes. ``training_bytes`` come from a second pass in training mode, and are None where it fails (batch norm of a
    single value). The conventions are ``minicnn.summary.CONVENTIONS``.

    **Raises** SummaryError with the layers up to the failure and the path of the layer that failed; ArgumentError for
    what is no model or no shape.
    """
    shape = _checked(input_shape)
    with ExitStack() as stack:
        stack.enter_context(abstract())
        stack.enter_context(enable_grad())
        module = _built(model)
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


def _built(model: Any) -> Any:
    """The module that ``model`` is or builds."""
    if _is_module(model):
        return model
    if callable(model):
        name = getattr(model, "__name__", type(model).__name__)
        try:
            inspect.signature(model).bind()
        except TypeError as error:
            raise ArgumentError(
                f"summary: {name} cannot be built without arguments ({error}); fix: a module, summary({name}(...), "
                f"input_shape), or a function without arguments, lambda: {name}(...)"
            ) from None
        module = model()
        if _is_module(module):
            return module
        raise ArgumentError(f"summary: model is a function of a {type(module).__name__}, expected one of a Module")
    raise ArgumentError(
        f"summary: model is a {type(model).__name__}, expected a Module, or a class or function that builds one, "
        "such as minicnn.models.resnet18"
    )


def _is_module(value: Any) -> bool:
    """Whether it is a module itself; a class of modules has its methods, but none of its parts."""
    return hasattr(value, "named_modules") and not isinstance(value, type)


def _checked(input_shape: Any) -> tuple[int, ...]:
    if not isinstance(input_shape, (tuple, list)):
        found = f"={input_shape!r}" if isinstance(input_shape, (int, str)) else f" is a {type(input_shape).__name__}"
        more = "; fix: its shape, input_shape.shape" if hasattr(input_shape, "shape") else ""
        raise ArgumentError(f"summary: input_shape{found}, expected a shape such as (3, 224, 224){more}")
    shape = tuple(integer("summary", "input_shape", size, 0) for size in input_shape)
    return (1, *shape) if len(shape) == 3 else shape


def _message(result: Summary, error: Exception) -> str:
    where = "; ".join(getattr(error, "__notes__", ()))
    layers = "1 layer" if len(result.rows) == 1 else f"{len(result.rows)} layers"
    text = f"summary: {result.model} fails on input {shape_text(result.input_shape) or '()'} after {layers}: "
    text += str(error) if isinstance(error, MinicnnError) else f"{type(error).__name__}: {error}"
    text += f" ({where})" if where else ""
    rows = [row.cells() for row in result.rows]
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
