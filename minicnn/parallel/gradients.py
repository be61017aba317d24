"""Gradients summed over the ranks while backward still runs.

Parameters share a few large buckets, the last ones of the network first, as backward reaches them. A bucket's sum
begins when its last gradient is there, and always in the order of the buckets, so that the ranks agree.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np

from minicnn.errors import ArgumentError
from minicnn.kernels.arrays import Array, allocate, array_module, device_of
from minicnn.parallel.communicator import Communicator, Pending
from minicnn.tensor import Tensor, move

BUCKET_BYTES = 4 << 20  # large enough for the full speed of a link, small enough to begin early


class Bucket:
    """Parameters of one dtype and device; their gradients lie side by side in ``flat``.

    Behind them a number a parameter: on how many ranks it has a gradient. Where it has none, it counts as zeros; a
    parameter without a gradient anywhere stays without.
    """

    def __init__(self, parameters: list[Tensor]) -> None:
        self.parameters = parameters
        ends = np.cumsum([p.size for p in parameters]).tolist()
        self.flat = allocate(parameters[0].data, (ends[-1] + len(parameters),), fill=0)
        self.views = [self.flat[end - p.size : end].reshape(p.shape) for p, end in zip(parameters, ends, strict=True)]
        self.flags = self.flat[ends[-1] :]
        self.places = {id(p): place for place, p in enumerate(parameters)}
        self.begin()

    def begin(self) -> None:
        """Before a walk: nothing has come."""
        if any(p.grad is not None and p.grad.data is view for p, view in zip(self.parameters, self.views, strict=True)):
            raise ArgumentError("GradientSums.backward: the last step's gradients are there; fix: zero_grad() first")
        self.missing = set(range(len(self.parameters)))
        self.pending: Pending | None = None

    def take(self, parameter: Tensor) -> None:
        """The gradient of ``parameter`` is complete; from here on it lies in the bucket."""
        place = self.places[id(parameter)]
        assert parameter.grad is not None
        self.views[place][...] = parameter.grad.data
        parameter.grad = Tensor.wrap(self.views[place])
        self.missing.discard(place)

    def start(self, ranks: Communicator) -> None:
        self.flags.fill(1)
        for place in self.missing:
            self.views[place].fill(0)
            self.flags[place] = 0
        self.pending = ranks.start_sum(self.flat)

    def finish(self) -> None:
        """Wait for the sum; parameters that had no gradient here get one where another rank had."""
        assert self.pending is not None
        self.pending.wait()
        if self.missing:
            found = move(self.flags, "cpu")
            for place in self.missing:
                self.parameters[place].grad = Tensor.wrap(self.views[place]) if found[place] else None


class GradientSums:
    """Backward passes whose gradients are sums over the ranks.

    ``parameters`` in the order of the network; ``bucket_bytes`` bounds a bucket of more than one. Gradients that a
    rank has already, of other pieces of its batch, are part of the sum; sums themselves are forgotten before the next
    (``optimizer.zero_grad()``).
    """

    def __init__(self, parameters: Iterable[Tensor], ranks: Communicator, bucket_bytes: int = BUCKET_BYTES) -> None:
        self.ranks = ranks
        self.buckets: list[Bucket] = []
        together: list[Tensor] = []
        for p in reversed([p for p in parameters if p.requires_grad]):
            if together and (_kind(p) != _kind(together[0]) or _bytes([*together, p]) > bucket_bytes):
                self.buckets.append(Bucket(together))
                together = []
            together.append(p)
        if together:
            self.buckets.append(Bucket(together))
        self._bucket_of = {id(p): bucket for bucket in self.buckets for p in bucket.parameters}

    def backward(self, loss: Tensor, seed: Any = None) -> None:
        """``loss.backward(seed)``, and every parameter's gradient is the sum of those of all ranks.

        **Raises** ArgumentError for a gradient that is a sum already: it would be summed again.
        """
        for bucket in self.buckets:
            bucket.begin()
        self._started = 0
        loss.backward(seed, final=self._take)
        while self._started < len(self.buckets):
            for place in tuple(self.buckets[self._started].missing):
                parameter = self.buckets[self._started].parameters[place]
                if parameter.grad is not None:  # of another piece of the batch
                    self.buckets[self._started].take(parameter)
            self._start_next()
        for bucket in self.buckets:
            bucket.finish()

    def _take(self, leaf: Any) -> None:
        bucket = self._bucket_of.get(id(leaf))
        if bucket is None:
            return
        bucket.take(leaf)
        for earlier in self.buckets[: self._started]:
            if earlier.pending is not None:
                earlier.pending.advance()
        while self._started < len(self.buckets) and not self.buckets[self._started].missing:
            self._start_next()

    def _start_next(self) -> None:
        self.buckets[self._started].start(self.ranks)
        self._started += 1


def share_of(loss: Tensor, images: int, all_images: int) -> Array:
    """The seed of a rank's mean loss over ``images`` of ``all_images``: the sums are then the gradient of the mean
    over all, however unevenly they are dealt."""
    return array_module(loss.data).full(loss.shape, images / all_images, loss.dtype)


def _kind(p: Tensor) -> Any:
    return p.dtype, device_of(p.data)


def _bytes(parameters: list[Tensor]) -> int:
    return sum(p.size * p.dtype.itemsize for p in parameters)
