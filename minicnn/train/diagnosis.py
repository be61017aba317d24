"""Where numbers went wrong: the first layer of a failed step whose values are NaN or infinite."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from minicnn.context import recomputing
from minicnn.kernels.arrays import is_float
from minicnn.random import replayed_seeds
from minicnn.summary.watch import tensors
from minicnn.tensor import Tensor, move


class Batch(NamedTuple):
    """What a step began with: enough to run it once more with the same random numbers."""

    images: NDArray[Any]  # (N, C, H, W)
    seeds: list[int]  # that its forward pass drew
    start: int = 0  # its place in the batch of the step, of which it is a piece


class Found(Exception):
    """Ends the second run at the first value that is no finite number."""


def first_bad_layer(model: Any, batch: Batch, samples: NDArray[np.int64], device: str, dtype: Any = np.float32) -> str:
    """Run the forward pass of ``batch`` again, layer by layer; a sentence on the first value that is not finite.

    Random masks are those of the step, running statistics stay as they are. ``samples`` (N,) says which images of the
    training part they are, ``dtype`` what the model computes in.
    """
    bad = ~np.isfinite(batch.images.reshape(len(batch.images), -1)).all(axis=1)
    if bad.any():
        sample = int(np.argmax(bad))
        return (
            f"the input batch has {_count(batch.images)}, first in sample {sample} of it "
            f"(image {samples[sample]} of the training part)"
        )
    paths = {id(module): path for path, module in model.named_modules()}
    with ExitStack() as stack:
        for module in model.modules():
            stack.enter_context(module.register_forward_pre_hook(_before(paths)))
            stack.enter_context(module.register_forward_hook(_after(paths)))
        stack.enter_context(recomputing())
        stack.enter_context(replayed_seeds(batch.seeds))
        try:
            outputs = model(Tensor(batch.images, device=device).astype(dtype))
        except Found as found:
            return f"first at {found}"
    largest = max(float(np.abs(move(logits.data, "cpu")).max()) for logits in tensors(outputs))
    return f"every layer's output is finite, the largest logit is {largest:.3g}: it is the loss that overflows"


def first_bad_gradient(model: Any) -> str:
    """A sentence on the first gradient that backward made which is not finite; empty when all are finite."""
    for path, parameter in reversed(list(model.named_parameters())):
        if parameter.grad is not None and (count := _count(parameter.grad.data)):
            return f"first in backward at {path}: its gradient has {count}"
    return ""


def first_bad_weight(model: Any) -> str:
    """A sentence on the first parameter or buffer that is not finite; empty when all are."""
    for path, tensor in (*model.named_parameters(), *model.named_buffers()):
        if count := _count(tensor.data):
            return f"first at {path}: it has {count}"
    return ""


def _before(paths: dict[int, str]) -> Callable[[Any, Any], None]:
    def check(module: Any, args: Any) -> None:
        name = paths[id(module)] or "the model"
        for tensor in tensors(args):
            if count := _count(tensor.data):
                parent = paths[id(module)].rpartition(".")[0] or "the model"
                raise Found(f"the input of {name}, computed in the forward of {parent}: it has {count}")
        for own, tensor in _own(module):
            if count := _count(tensor.data):
                raise Found(f"{name}: its {own} has {count} (since the step before)")

    return check


def _after(paths: dict[int, str]) -> Callable[[Any, Any, Any], None]:
    def check(module: Any, args: Any, output: Any) -> None:
        for tensor in tensors(output):
            if count := _count(tensor.data):
                held = " and ".join(own for own, _ in module.own_parameters())
                finite = f"; its {held} {'are' if ' and ' in held else 'is'} finite" if held else ""
                raise Found(
                    f"{paths[id(module)] or 'the model'}: its output has {count}{finite}; {_largest(args)} goes in"
                )

    return check


def _own(module: Any) -> Iterator[tuple[str, Tensor]]:
    yield from module.own_parameters()
    if not module.training:  # while training, running statistics are written and not read
        yield from module.own_buffers()


def _count(array: Any) -> str:
    """``"12 NaN and 3 infinite values of 4096"``; empty when all are finite."""
    if not is_float(array.dtype):
        return ""
    array = move(array, "cpu")
    nan, infinite = int(np.isnan(array).sum()), int(np.isinf(array).sum())
    parts = [f"{nan} NaN"] * (nan > 0) + [f"{infinite} infinite"] * (infinite > 0)
    return f"{' and '.join(parts)} of {array.size} values" if parts else ""


def _largest(args: Any) -> str:
    sizes = [float(np.abs(move(tensor.data, "cpu")).max()) for tensor in tensors(args) if tensor.size]
    return f"at most {max(sizes):.3g}" if sizes else "nothing"
