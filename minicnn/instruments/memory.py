"""How much memory a training step takes, before anything is computed.

A forward pass by shapes leaves a tape; what its vjps close over is what the forward pass keeps. A walk back over that
tape, as ``minicnn.tape`` does it, says what lives at each moment: saved arrays go as their operations run, gradients
of weights come and stay. The most that lives at once is the prediction. In both it adds what is there all along:
weights, what the optimiser keeps, the images.

What it leaves out: the scratch memory of kernels, and what the holes of the arena (``kernels/arena.py``) waste; a few
per cent. Batch norm, sum and ReLU, which run as one, save what the three save apart.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from minicnn.context import abstract, enable_grad
from minicnn.errors import ArgumentError
from minicnn.kernels.shape_array import ShapeArray
from minicnn.summary.receptive_field import held_by, reachable
from minicnn.summary.saved import owner
from minicnn.summary.watch import tensors
from minicnn.tape import Node
from minicnn.tensor import Tensor

Build = Callable[[], Any]  # a model, made within ``abstract()``


class Plan(NamedTuple):
    """Bytes of a training step; ``peak`` is the most at once, which is less than the sum of the parts."""

    batch: int
    weights: int  # and running statistics
    gradients: int
    momentum: int
    images: int
    saved: int  # what the forward pass keeps for the backward pass
    peak: int
    at: str  # where: "layer: operation" of the backward pass

    @property
    def parts(self) -> dict[str, int]:
        return {name: getattr(self, name) for name in ("weights", "gradients", "momentum", "images", "saved")}


def plan(build: Build, input_shape: Sequence[int], batch: int, states: int = 1) -> Plan:
    """The memory of a training step on ``batch`` images (C, H, W); the optimiser keeps ``states`` arrays a weight.

    SGD with momentum keeps 1, Adam 2. ``build`` makes the model; no weight is drawn.
    **Raises** what the model raises on such images.
    """
    if batch < 1 or len(input_shape) != 3:
        raise ArgumentError(f"plan: {batch=}, {input_shape=}; expected 1 image or more of shape (C, H, W)")
    model, x, ends = _stepped(build, input_shape, batch)
    learned = [p for p in model.parameters() if p.requires_grad]
    known = [tensor.data for tensor in (*model.parameters(), *model.buffers())]
    weights = sum(array.nbytes for array in known)
    gradients = sum(p.data.nbytes for p in learned)
    fixed = weights + states * gradients + x.data.nbytes
    paths = {id(module): path for path, module in model.named_modules()}
    walk = _Walk(reachable(y.node for y in ends if y.node is not None), [*known, x.data])
    saved = walk.saved
    peak, node = walk.back(ends)
    where = paths.get(id(node.layers[-1]), "") if node is not None and node.layers else ""
    at = "the end of the forward pass" if node is None else f"{where or 'model'}: {node.name}"
    return Plan(batch, weights, gradients, states * gradients, x.data.nbytes, saved, fixed + peak, at)


def _stepped(build: Build, input_shape: Sequence[int], batch: int) -> tuple[Any, Tensor, list[Tensor]]:
    """A model, images, and what it makes of them in training mode, by shapes."""
    with abstract(), enable_grad():
        model = build().train()
        x = Tensor(ShapeArray((batch, *input_shape), np.float32))
        return model, x, [y for y in tensors(model(x)) if y.node is not None]


class _Walk:
    """The arrays that live while the tape is walked back: saved ones, gradients on their way, gradients of weights."""

    def __init__(self, nodes: list[Node], known: Iterable[Any]) -> None:
        always = {id(owner(array)) for array in known}
        self.nodes = nodes
        self.held: dict[Node, dict[int, Any]] = {}
        self.readers: dict[int, int] = {}  # how many operations keep an array
        self.sizes: dict[int, int] = {}
        for node in nodes:
            kept = {id(array): array for array in _owners(held_by(node.vjp).values()) if id(array) not in always}
            self.held[node] = kept
            for key, array in kept.items():
                self.readers[key] = self.readers.get(key, 0) + 1
                self.sizes[key] = array.nbytes
        self.saved = sum(self.sizes.values())

    def back(self, ends: Sequence[Tensor]) -> tuple[int, Node | None]:
        """The most that lives at once, and the operation at which it does; None: before the first."""
        saved, learned = self.saved, 0
        arriving: dict[Any, Any] = {(y.node, y.output): ShapeArray(y.shape, y.dtype) for y in ends}
        peak, at = saved + _bytes(arriving.values()), None
        for node in reversed(self.nodes):
            upstream = [arriving.pop((node, k), None) for k in range(node.outputs)]
            if all(array is None for array in upstream):
                continue
            grads = _pulled(node, upstream)
            for edge, grad in zip(node.edges, grads, strict=True):
                if isinstance(edge, tuple):  # a second gradient is added into the first
                    arriving[edge] = arriving.get(edge, grad)
                elif edge is not None and hasattr(edge, "grad"):
                    learned += grad.nbytes
            weights = [g for e, g in zip(node.edges, grads, strict=True) if e is not None and not isinstance(e, tuple)]
            own = {id(owner(g)) for g in weights}
            moving = [a for a in (*upstream, *grads, *arriving.values()) if a is not None and id(owner(a)) not in own]
            now = saved + learned + _bytes(moving, self.sizes)
            if now > peak:
                peak, at = now, node
            saved -= self._freed(node)
        return peak, at

    def _freed(self, node: Node) -> int:
        freed = 0
        for key in self.held[node]:
            self.readers[key] -= 1
            freed += 0 if self.readers[key] else self.sizes[key]
        return freed


def _pulled(node: Node, upstream: Sequence[Any]) -> list[Any]:
    """The gradients that a vjp returns: what it does to shapes. A kernel has none of that: it makes new arrays."""
    needs = tuple(edge is not None for edge in node.edges)
    fresh = [ShapeArray(*fact) if wanted else None for wanted, fact in zip(needs, node.inputs, strict=True)]
    try:
        assert node.vjp is not None
        returned = node.vjp(upstream[0] if node.outputs == 1 else tuple(upstream), needs)
    except Exception:  # whatever a kernel says of an array without values
        return fresh
    same = [type(grad) is ShapeArray and wanted for grad, wanted in zip(returned, needs, strict=True)]
    return [grad if ok else new for grad, ok, new in zip(returned, same, fresh, strict=True)]


def _bytes(arrays: Iterable[Any], apart: Any = ()) -> int:
    """The memory of arrays and views, each once; without those whose owner is ``apart``."""
    owners = {id(a): a for a in map(owner, arrays)}
    return sum(array.nbytes for key, array in owners.items() if key not in apart)


def _owners(values: Iterable[Any]) -> Iterator[ShapeArray]:
    for value in values:
        if isinstance(value, ShapeArray):
            yield owner(value)
        elif isinstance(value, (tuple, list)):
            yield from _owners(value)


def largest_batch(build: Build, input_shape: Sequence[int], limit: int, most: int = 1 << 14) -> int:
    """The most images of a training step that stays within ``limit`` bytes; 0 where not even one does."""

    def fits(batch: int) -> bool:
        return plan(build, input_shape, batch).peak <= limit

    low, high = 0, 1
    while high <= most and fits(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def checkpointed(build: Build, input_shape: Sequence[int], batch: int, states: int = 1) -> int:
    """About the peak when every block is a ``minicnn.checkpoint``: only what goes from block to block is kept, and one
    block at a time is computed again.

    A block is what a path names up to its first number (``layer3.4``), or a part of the model itself.
    """
    model, x, ends = _stepped(build, input_shape, batch)
    paths = {id(module): path for path, module in model.named_modules()}
    nodes = reachable(y.node for y in ends if y.node is not None)
    known = [tensor.data for tensor in (*model.parameters(), *model.buffers())]
    counted, saved = {id(owner(array)) for array in (*known, x.data)}, dict[str, int]()
    kept, learned, seen = dict[str, int](), dict[str, int](), set[Any]()
    block_of = {node: _block(paths.get(id(node.layers[-1]), "") if node.layers else "") for node in nodes}
    for node in nodes:
        block = block_of[node]
        for counts in (saved, kept, learned):
            counts.setdefault(block, 0)
        for array in _owners(held_by(node.vjp).values()):
            if id(array) not in counted:
                counted.add(id(array))
                saved[block] += array.nbytes
        for edge, (shape, dtype) in zip(node.edges, node.inputs, strict=True):
            key, size = edge if isinstance(edge, tuple) else id(edge), ShapeArray(shape, dtype).nbytes
            if edge is not None and key not in seen and (not isinstance(edge, tuple) or block_of[edge[0]] != block):
                seen.add(key)
                (kept if isinstance(edge, tuple) else learned)[block] += size
    weights, gradients = sum(array.nbytes for array in known), sum(learned.values())
    names = list(saved)
    moments = [
        sum(kept[b] for b in names[: i + 1]) + saved[name] + sum(learned[b] for b in names[i:])
        for i, name in enumerate(names)
    ]
    return int(weights + states * gradients + x.data.nbytes + max(moments, default=0))


def _block(path: str) -> str:
    parts = path.split(".")
    number = next((k for k, part in enumerate(parts) if part.isdigit()), 0)
    return ".".join(parts[: number + 1])
