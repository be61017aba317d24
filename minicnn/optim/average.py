"""``WeightAverage``: a smoothed copy of the weights, better at the end of training than the last ones."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from minicnn.errors import ArgumentError, CheckpointError
from minicnn.kernels import optim as K
from minicnn.kernels.arrays import Array, contiguous, is_abstract, is_float
from minicnn.tensor import Tensor, move

COUNT = "updates"  # the entry of the state that is not a weight


class WeightAverage:
    """Exponential moving average of a model's weights and float buffers (batch norm's statistics).

    ``source`` is a module, or an iterable of tensors or of ``(name, tensor)`` pairs. Call ``update()`` after every
    optimiser step, and evaluate inside ``with average.applied():``. Integer buffers are taken as they are.

    **Math** ``average += (1 - d) (w - average)`` with ``d = min(decay, (1 + t) / (10 + t))`` at update t = 1, 2, ...
    (the random start is forgotten early); ``decay=None`` is the plain mean of all updates. **See** Polyak and
    Juditsky 1992; Izmailov et al. 2018 (plain mean); the warm-up is TensorFlow's ``ExponentialMovingAverage``.
    """

    def __init__(self, source: Any, decay: float | None = 0.999) -> None:
        if decay is not None and not 0 <= decay < 1:
            raise ArgumentError(f"WeightAverage: decay={decay!r}, expected a number from 0 to below 1, or None")
        self.decay = decay
        self.updates = 0
        self._tensors = _named_tensors(source)
        if not self._tensors:
            raise ArgumentError("WeightAverage: there are no tensors to average; fix: give the model itself")
        self._averages = {name: tensor.data.copy() for name, tensor in self._tensors.items()}

    def update(self) -> None:
        """Take the current weights into the average."""
        self.updates += 1
        t = self.updates
        fresh = 1 / t if self.decay is None else 1 - min(self.decay, (1 + t) / (10 + t))
        together: dict[Any, list[tuple[Array, Array]]] = {}
        for name, tensor in self._tensors.items():
            average, now = self._averages[name], tensor.data
            if is_abstract(now):
                continue
            if is_float(average.dtype):
                together.setdefault((average.dtype, tensor.device), []).append((average, contiguous(now)))
            else:
                average[...] = now
        for pairs in together.values():
            averages, weights = zip(*pairs, strict=True)
            K.average_step(averages, weights, fresh)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Inside, the model holds the averages; its own arrays come back afterwards. Do not train inside."""
        own = {name: tensor.data for name, tensor in self._tensors.items()}
        try:
            for name, tensor in self._tensors.items():
                tensor.data = self._averages[name]
            yield
        finally:
            for name, tensor in self._tensors.items():
                tensor.data = own[name]

    def state_dict(self) -> dict[str, Array]:
        """The averages by name as CPU arrays (not copied), and the count of updates under ``"updates"``."""
        arrays = {name: move(array, "cpu") for name, array in self._averages.items()}
        return {**arrays, COUNT: np.asarray(self.updates)}

    def load_state_dict(self, arrays: dict[str, Array]) -> None:
        """Go on from ``state_dict()``; copies. **Raises** CheckpointError, changing nothing, when it does not fit."""
        expected = {*self._averages, COUNT}
        if set(arrays) != expected:
            odd = sorted(set(arrays) ^ expected)
            raise CheckpointError(
                f"WeightAverage: the state and the model differ in {len(odd)} names, first {odd[0]!r}; "
                "is it of another model?"
            )
        for name, average in self._averages.items():
            if tuple(arrays[name].shape) != average.shape or arrays[name].dtype != average.dtype:
                raise CheckpointError(
                    f"WeightAverage: the state's {name} has shape {tuple(arrays[name].shape)} and dtype "
                    f"{arrays[name].dtype}, expected {average.shape} and {average.dtype}"
                )
        if arrays[COUNT].shape != () or arrays[COUNT].dtype.kind not in "iu" or arrays[COUNT] < 0:
            raise CheckpointError(f"WeightAverage: the state's {COUNT} is {arrays[COUNT]!r}, expected a count")
        for name, tensor in self._tensors.items():
            self._averages[name] = move(arrays[name].copy(), tensor.device)
        self.updates = int(arrays[COUNT])


def _named_tensors(source: Any) -> dict[str, Tensor]:
    if hasattr(source, "named_parameters"):
        return {**dict(source.named_parameters()), **dict(source.named_buffers())}
    members = enumerate(source)
    pairs = (member if isinstance(member, tuple) else (str(index), member) for index, member in members)
    tensors: dict[str, Tensor] = dict(pairs)
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor):
            raise ArgumentError(f"WeightAverage: {name} is a {type(tensor).__name__}, expected a Tensor")
    return tensors
