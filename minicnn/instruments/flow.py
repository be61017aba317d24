"""Where data goes in a network: its layers and the operations between them as steps, and which step reads which.

Read off the tape of one forward pass by shapes, in eval mode. A layer that hands on what it was given (dropout,
identity) leaves nothing on the tape, so that here it is given an operation of its own.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

import numpy as np

from minicnn.context import abstract, enable_grad
from minicnn.kernels.shape_array import ShapeArray
from minicnn.record import record
from minicnn.summary.receptive_field import reachable
from minicnn.summary.watch import tensors
from minicnn.tape import Node
from minicnn.tensor import Tensor

Shapes = list[tuple[int, ...]]


class Step(NamedTuple):
    """A call of a layer, or one operation outside every layer; ``reads`` are numbers of earlier steps.

    The first step is the image: its path is empty and its ``op`` "image".
    """

    path: str  # of the layer, or of the block whose operation it is
    op: str  # empty for a layer
    kind: str  # the layer's class; of an operation its name
    inputs: Shapes  # what it reads, weights left out
    outputs: Shapes
    reads: tuple[int, ...]


class _Calls:
    """The calls of layers (modules with none inside) in the order they finish."""

    def __init__(self) -> None:
        self.parts: list[Any] = []
        self.clocks: list[int] = []  # the newest operation's number when the call ended
        self.outputs: list[Tensor] = []

    def finished(self, part: Any, args: Any, output: Any) -> Any:
        if isinstance(output, Tensor) and _key(output.edge) in {_key(x.edge) for x in tensors(args)}:
            output = record("hand on", output.data, (output,), lambda gy, needs: (gy,))
        made = [y for y in tensors(output) if y.node is not None]
        self.parts.append(part)
        self.clocks.append(
            max([y.node.sequence for y in made if y.node], default=self.clocks[-1] if self.clocks else -1)
        )
        self.outputs += made
        return output


def flow(build: Callable[[], Any], input_shape: Sequence[int]) -> list[Step]:
    """The steps of the network that ``build()`` makes, in the order they run, for one image (C, H, W)."""
    calls = _Calls()
    with ExitStack() as stack:
        stack.enter_context(abstract())
        stack.enter_context(enable_grad())
        model = build().eval()
        for part in model.modules():
            if next(part.children(), None) is None:
                stack.enter_context(part.register_forward_hook(calls.finished))
        x = Tensor(ShapeArray((1, *input_shape), np.float32), requires_grad=True)
        ends = [*calls.outputs, *(y for y in tensors(model(x)) if y.node is not None)]
    ends = [*calls.outputs, *ends]
    nodes = reachable(y.node for y in ends if y.node is not None)
    return _steps(model, x, calls, nodes, _shapes(x, nodes, ends))


def _steps(model: Any, x: Tensor, calls: _Calls, nodes: list[Node], shapes: dict[Any, tuple[int, ...]]) -> list[Step]:
    paths = {id(part): path for path, part in model.named_modules()}
    groups = _groups(calls, nodes)
    number = {node: k for k, (_, members) in enumerate(groups, 1) for node in members}
    layers = {id(part) for part in calls.parts}
    steps = [Step("", "image", "image", [], [x.shape], ())]
    for part, members in groups:
        own = set(members)
        edges = list(dict.fromkeys(_key(edge) for node in members for edge in node.edges if edge is not None))
        read = [key for key in edges if key in shapes and not (isinstance(key, tuple) and key[0] in own)]
        inner = {key for key in edges if isinstance(key, tuple) and key[0] in own}
        put = [key for node in members for key in ((node, k) for k in range(node.outputs)) if key in shapes]
        steps.append(
            Step(
                path=paths.get(id(part), ""),
                op="" if id(part) in layers else members[0].name,
                kind=type(part).__name__ if id(part) in layers else members[0].name,
                inputs=[shapes[key] for key in read],
                outputs=[shapes[key] for key in put if key not in inner],
                reads=tuple(sorted({number[key[0]] if isinstance(key, tuple) else 0 for key in read})),
            )
        )
    return steps


def _groups(calls: _Calls, nodes: list[Node]) -> list[tuple[Any, list[Node]]]:
    """The layer, or the block around an operation (None: nothing), and what it did, a pair a step."""
    ends: dict[int, list[int]] = {}
    members: dict[tuple[int, int], list[Node]] = {}
    order: list[tuple[int, Any, list[Node]]] = []
    for part, clock in zip(calls.parts, calls.clocks, strict=True):
        ends.setdefault(id(part), []).append(clock)
        own = members.setdefault((id(part), len(ends[id(part)]) - 1), [])
        order.append((clock, part, own))
    for node in nodes:
        part = node.layers[-1] if node.layers else None
        if id(part) in ends:
            members[id(part), bisect_left(ends[id(part)], node.sequence)].append(node)
        else:
            order.append((node.sequence, part, [node]))
    return [(part, own) for _, part, own in sorted(order, key=lambda item: item[0])]


def _shapes(x: Tensor, nodes: Iterable[Node], ends: Iterable[Tensor]) -> dict[Any, tuple[int, ...]]:
    """What flows along each edge, told by who reads it; weights are left out."""
    shapes: dict[Any, tuple[int, ...]] = {_key(x): x.shape} | {_key(y.edge): y.shape for y in ends}
    for node in nodes:
        for edge, fact in zip(node.edges, node.inputs, strict=True):
            if isinstance(edge, tuple):
                shapes[edge] = fact[0]
    return shapes


def _key(edge: Any) -> Any:
    """An edge as a key: a place on the tape is one, of a leaf its id."""
    return edge if isinstance(edge, tuple) else id(edge)
