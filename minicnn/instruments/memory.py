"""How much memory a training step takes, before anything is computed.

The step is run on arrays without values: the model, the tape, the loss and the optimiser are the real ones, and each
array that would be made is noted, and when it goes. So the most that lives at once needs no model of its own, and
checkpoints, in-place work and fused passes count as they are.

On the CPU large arrays lie in an arena (``kernels/arena.py``), whose holes cost something too: the same bookkeeping,
without memory, says how much. What is left out: the scratch memory of kernels, Python itself and compiled code.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from minicnn import ops
from minicnn.checkpoint import checkpoint
from minicnn.context import abstract, enable_grad
from minicnn.errors import ArgumentError, GradientError
from minicnn.kernels.arena import SMALLEST, Places, grained
from minicnn.kernels.shape_array import ShapeArray, told_to
from minicnn.optim import SGD
from minicnn.summary.receptive_field import reachable
from minicnn.summary.watch import tensors
from minicnn.tensor import Tensor

Build = Callable[[], Any]  # makes a model
MakeOptimizer = Callable[[list[Any]], Any]  # of its parameters


def momentum(parameters: list[Any]) -> Any:
    """SGD that keeps one array a weight."""
    return SGD(parameters, lr=0.1, momentum=0.9)


class Plan(NamedTuple):
    """Bytes of a training step; ``peak`` is the most that lives at once, which is less than the sum of the parts."""

    batch: int
    weights: int  # and running statistics
    gradients: int
    optimizer: int  # what it keeps of each weight: momentum
    images: int
    saved: int  # what the forward pass keeps for the backward pass
    peak: int
    resident: int  # the peak with the arena's holes: what the system calls resident on the CPU
    at: str  # where the peak is: "layer", or "layer: operation" of the backward pass

    @property
    def parts(self) -> dict[str, int]:
        return {name: getattr(self, name) for name in ("weights", "gradients", "optimizer", "images", "saved")}


def plan(
    build: Build,
    input_shape: Sequence[int],
    batch: int,
    optimizer: MakeOptimizer = momentum,
    checkpoints: int = 0,
) -> Plan:
    """The memory of a training step on ``batch`` images (C, H, W), once the optimiser has its arrays.

    ``build`` makes the model; no weight is drawn. ``checkpoints`` is the depth at which every part is a
    ``minicnn.checkpoint``: 1 is ``layer3``, 2 is ``layer3.4``; 0 is none.
    **Raises** what the model raises on such images; GradientError where a part at that depth cannot be a checkpoint.
    """
    if batch < 1 or len(input_shape) != 3:
        raise ArgumentError(f"plan: {batch=}, {input_shape=}; expected 1 image or more of shape (C, H, W)")
    ledger = _Ledger()
    with ExitStack() as stack:
        stack.enter_context(told_to(ledger))
        stack.enter_context(enable_grad())
        with abstract(), ledger.outside_the_arena():  # as random weights and images are, which NumPy makes
            model = build().train()
            weights = ledger.now
            x = Tensor(ShapeArray((batch, *input_shape), np.float32))
            images = ledger.now - weights
        for part in _parts(model, checkpoints):
            object.__setattr__(part, "forward", partial(checkpoint, part.forward))
        steps = optimizer(list(model.parameters()))
        _step(model, x, steps, ledger)
        steps.zero_grad()
        kept = ledger.now - weights - images
        saved = _step(model, x, steps, ledger) - weights - images - kept
        gradients = ledger.now - weights - images - kept
        return Plan(batch, weights, gradients, kept, images, saved, ledger.most, ledger.resident, ledger.most_at)


def _step(model: Any, x: Tensor, optimizer: Any, ledger: "_Ledger") -> int:
    """A training step; what lives between its forward and its backward pass."""
    ledger.begin()
    loss = sum((ops.sum(y) for y in tensors(model(x))), start=Tensor(ShapeArray((), np.float32)))
    between = ledger.now
    ledger.follow(loss, {id(module): path for path, module in model.named_modules()})
    loss.backward()
    ledger.where = "the optimiser"
    optimizer.step()
    return between


class _Ledger:
    """The arrays that live, with memory in an arena without memory, and the most of both."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self.where = self.most_at = ""
        self._live: dict[int, tuple[int, int | None]] = {}  # id: bytes, and the place in the arena
        self._places = Places()
        self._ends: dict[int, int] = {}  # of what was ever touched of a region: memory is taken from its low end
        self._small = self._small_most = 0  # bytes that are not in the arena
        self._in_arena = True

    @property
    def resident(self) -> int:
        return self._small_most + sum(end - begin for begin, end in self._ends.items())

    @contextmanager
    def outside_the_arena(self) -> Iterator[None]:
        self._in_arena = False
        try:
            yield
        finally:
            self._in_arena = True

    def begin(self) -> None:
        """Forget the peak."""
        self.most, self.most_at, self.where = self.now, "", "the forward pass"

    def follow(self, loss: Tensor, paths: dict[int, str]) -> None:
        """Know which operation runs while ``loss`` goes back; ``paths`` of the layers by id."""
        for node in reachable([loss.node] if loss.node is not None else []):
            path = paths.get(id(node.layers[-1]), "") if node.layers else ""
            node.vjp = self._announced(f"backward of {path or 'model'}: {node.name}", node.vjp)

    def _announced(self, where: str, vjp: Any) -> Any:
        def announced(gy: Any, needs: tuple[bool, ...]) -> Any:
            self.where = where
            return vjp(gy, needs)

        return announced

    def born(self, array: ShapeArray) -> None:
        size, place = array.nbytes, None
        if self._in_arena and size >= SMALLEST:
            size = grained(size)
            place = self._places.take(size)
            assert place is not None
            begin = self._places.begin_of(place)
            self._ends[begin] = max(self._ends.get(begin, 0), place + size)
        else:
            self._small += size
            self._small_most = max(self._small_most, self._small)
        self._live[id(array)] = size, place
        self.now += size
        if self.now > self.most:
            self.most, self.most_at = self.now, self.where

    def died(self, array: ShapeArray) -> None:
        size, place = self._live.pop(id(array), (0, None))  # what lived before is not here
        self.now -= size
        if place is None:
            self._small -= size
        else:
            self._places.returned.append((place, size))


def _parts(model: Any, depth: int) -> list[Any]:
    """The modules at a depth of the tree, and above it those that hold no other."""
    named = [(path.split("."), module) for path, module in model.named_modules() if path]
    return [m for path, m in named if len(path) == depth or (len(path) < depth and next(m.children(), None) is None)]


def best_checkpoints(
    build: Build, input_shape: Sequence[int], batch: int, optimizer: MakeOptimizer = momentum
) -> tuple[int, Plan]:
    """The depth of ``minicnn.checkpoint`` s that takes the least memory, 0 where none saves any, and its plan."""
    with abstract():
        deepest = max(path.count(".") + 1 for path, _ in build().named_modules())
    plans = {0: plan(build, input_shape, batch, optimizer)}
    for depth in range(1, deepest + 1):
        with suppress(GradientError):  # a part there reads tensors that are not its inputs
            plans[depth] = plan(build, input_shape, batch, optimizer, depth)
    best = min(plans, key=lambda depth: plans[depth].resident)
    return best, plans[best]


def largest_batch(
    build: Build,
    input_shape: Sequence[int],
    limit: int,
    optimizer: MakeOptimizer = momentum,
    checkpoints: int = 0,
    most: int = 1 << 14,
) -> int:
    """The most images of a training step that stays within ``limit`` bytes; 0 where not even one does."""

    def fits(batch: int) -> bool:
        return plan(build, input_shape, batch, optimizer, checkpoints).resident <= limit

    low, high = 0, 1
    while high <= most and fits(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
