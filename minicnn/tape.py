"""The tape: what was computed from what, and the walk back through it.

Each recorded operation is a ``Node`` with a sequence number, edges to the nodes (or leaf tensors) its inputs came
from, and a ``vjp``: the function from the gradient of its outputs to the gradients of its inputs
(vector-Jacobian product). ``backward`` visits the nodes reachable from a result, newest first. A node is always newer
than its inputs, so when a node is reached all gradients flowing into it have arrived: no recursion, no global list.

This module knows raw arrays only and imports nothing of the engine; a leaf is anything that has
``accumulate_grad(array)``.
"""

import heapq
import itertools
import operator
from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any, Protocol

import numpy as np

Array = Any
Vjp = Callable[[Any, tuple[bool, ...]], Sequence[Array | None]]
Hook = Callable[[Array], Array | None]

_sequence = itertools.count()


class Leaf(Protocol):
    """Where the walk ends: a tensor the user made, which keeps its gradient."""

    def accumulate_grad(self, grad: Array, owned: bool) -> None:
        """Add ``grad`` to the leaf's gradient; ``owned`` says the array belongs to nobody else."""


class Node:
    """One recorded operation."""

    __slots__ = ("edges", "hooks", "inputs", "layers", "name", "outputs", "sequence", "versions", "vjp")

    def __init__(self, name: str, outputs: int, edges: tuple["Edge", ...], inputs: tuple[Any, ...], vjp: Vjp) -> None:
        self.sequence = next(_sequence)
        self.name = name
        self.outputs = outputs  # how many arrays the operation returned
        self.edges = edges  # one an input: (node, which of its outputs), a leaf, or None where no gradient is wanted
        self.inputs = inputs  # (shape, dtype) of each input: what its gradient must have
        self.vjp: Vjp | None = vjp  # dropped once run
        self.hooks: list[tuple[int, Hook]] | None = None  # (which output, function of its gradient)
        # Of what the vjp saved: (version cell, its value, what it is, shape).
        self.versions: tuple[tuple[Any, int, str, tuple[int, ...]], ...] = ()
        self.layers: tuple[Any, ...] = ()  # the modules that were running, outermost first


Edge = tuple[Node, int] | Leaf | None


class TapeError(RuntimeError):
    """A walk that cannot be done at ``node``; the engine re-raises it as ``GradientError`` with the layer's path."""

    def __init__(self, node: Node, problem: str) -> None:
        super().__init__(f"{node.name}: {problem}")
        self.node = node


def _as_array(value: Any) -> Array:
    """NumPy turns 0-d results into scalars; the tape carries arrays."""
    return np.asarray(value) if isinstance(value, np.generic) else value


class Sums(Protocol):
    """How gradients are added: the functions of ``minicnn.kernels.rows``, or plain ones."""

    def added(self, a: Array, b: Array, /) -> Array:
        """``a + b``."""

    def add_into(self, a: Array, b: Array, /) -> None:
        """``a += b``."""

    def copied(self, x: Array, /) -> Array:
        """A contiguous copy."""


class Plain:
    """As the arrays themselves do it."""

    added, add_into = staticmethod(operator.add), staticmethod(operator.iadd)
    copied = staticmethod(operator.methodcaller("copy"))


PLAIN = Plain()


class _Sum:
    """The gradients that have arrived at one place: kept by reference, then added into one that is nobody else's."""

    __slots__ = ("array", "owned")

    def __init__(self, array: Array, owned: bool) -> None:
        self.array, self.owned = array, owned

    def add(self, array: Array, owned: bool, sums: "Sums") -> None:
        if self.owned:
            sums.add_into(self.array, array)
        elif owned:
            sums.add_into(array, self.array)
            self.array, self.owned = array, True
        else:
            self.array, self.owned = _as_array(sums.added(self.array, array)), True


class _Arrivals:
    """Gradients waiting at the nodes not yet visited (newest first) and at the leaves."""

    def __init__(self, sums: Sums, uses: dict[int, int], final: Callable[[Leaf], None] | None) -> None:
        self._sums = sums
        self._uses, self._final = uses, final  # of the leaves, by id: how many gradients are still to come
        self._heap: list[tuple[int, Node]] = []
        self._nodes: dict[Node, list[_Sum | None]] = {}
        self._leaves: dict[int, tuple[Leaf, _Sum]] = {}

    def add(self, edge: "Edge", array: Array, owned: bool) -> None:
        if isinstance(edge, tuple):
            node, output = edge
            if node not in self._nodes:
                self._nodes[node] = [None] * node.outputs
                heapq.heappush(self._heap, (-node.sequence, node))
            sums = self._nodes[node]
            arrived = sums[output]
            if arrived is None:
                sums[output] = _Sum(array, owned)
            else:
                arrived.add(array, owned, self._sums)
        elif edge is not None:
            if id(edge) in self._leaves:
                self._leaves[id(edge)][1].add(array, owned, self._sums)
            else:
                self._leaves[id(edge)] = (edge, _Sum(array, owned))
            if self._final is not None:
                self._uses[id(edge)] -= 1
                if not self._uses[id(edge)]:
                    leaf, total = self._leaves.pop(id(edge))
                    leaf.accumulate_grad(total.array, total.owned)
                    self._final(leaf)

    def pop_newest(self) -> tuple[Node, list[Array | None]] | None:
        if not self._heap:
            return None
        node = heapq.heappop(self._heap)[1]
        return node, [None if total is None else total.array for total in self._nodes.pop(node)]

    def deliver(self) -> None:
        for leaf, total in self._leaves.values():
            leaf.accumulate_grad(total.array, total.owned)


def backward(
    edge: "Edge",
    seed: Array,
    retain_graph: bool = False,
    sums: Sums = PLAIN,
    final: Callable[[Leaf], None] | None = None,
) -> None:
    """Walk back from ``edge`` with upstream gradient ``seed`` and add to every leaf its gradient.

    Leaves receive their gradients at the end, all or (when a vjp raises) none. With ``final`` each receives its own as
    soon as nothing more can come, and ``final(leaf)`` is called: what is done with it there runs before the rest of the
    walk. Unless ``retain_graph``, each node forgets its vjp, and so the arrays it saved, as soon as it has run: memory
    falls during the walk.
    """
    arrivals = _Arrivals(sums, {} if final is None else _uses(edge), final)
    arrivals.add(edge, seed, owned=False)
    with np.errstate(all="ignore"):  # 1/0 is inf in a gradient too, without NumPy's warning
        while (arrived := arrivals.pop_newest()) is not None:
            node, grads = arrived
            _run_hooks(node, grads)
            for parent, grad, owned in _pull_back(node, grads, retain_graph, sums):
                arrivals.add(parent, grad, owned)
        arrivals.deliver()


def _uses(edge: "Edge") -> dict[int, int]:
    """How many edges behind ``edge`` lead to each leaf, by its id."""
    counts: dict[int, int] = {}
    waiting, seen = [edge], set()
    while waiting:
        edge = waiting.pop()
        if isinstance(edge, tuple):
            if edge[0] not in seen:
                seen.add(edge[0])
                waiting += edge[0].edges
        elif edge is not None:
            counts[id(edge)] = counts.get(id(edge), 0) + 1
    return counts


def _run_hooks(node: Node, grads: list[Array | None]) -> None:
    for output, hook in node.hooks or ():
        if grads[output] is not None:
            replaced = hook(grads[output])
            grads[output] = grads[output] if replaced is None else replaced


def _pull_back(
    node: Node, grads: list[Array | None], retain_graph: bool, sums: Sums
) -> list[tuple["Edge", Array, bool]]:
    """Run one vjp; returns (where it goes, gradient, whether the array is nobody else's) for each wanted input."""
    vjp, edges = node.vjp, node.edges
    if vjp is None:
        raise TapeError(
            node,
            "backward ran through this operation before and freed what it had saved; "
            "fix: call backward(retain_graph=True) the first time, or compute the result again",
        )
    for cell, value, what, shape in node.versions:
        if cell[0] != value:
            raise TapeError(
                node,
                f"{what} of shape {shape} was written after the forward pass that saved it "
                f"(version {cell[0]}, expected {value}); fix: run backward before the optimiser step or the write",
            )
    needs = tuple([edge is not None for edge in edges])
    upstream = tuple([None if grad is None else _contiguous(grad, sums) for grad in grads])
    try:
        returned = vjp(upstream[0] if node.outputs == 1 else upstream, needs)
    except MemoryError as error:
        raise TapeError(node, f"its backward pass ran out of memory: {error}") from error
    if not isinstance(returned, (tuple, list)):
        raise TapeError(node, f"its vjp returned a {type(returned).__name__}, expected a tuple: one gradient an input")
    results = [_as_array(grad) for grad in returned]
    if len(results) != len(edges):
        raise TapeError(node, f"its vjp returned {len(results)} gradients for {len(edges)} inputs")
    read_by_others = {id(array) for array in (*closed_over(vjp), *upstream)}
    returned_as = [id(grad) for grad in results]
    pulled: list[tuple[Edge, Array, bool]] = []
    for position, (edge, grad) in enumerate(zip(edges, results, strict=True)):
        if edge is None:
            continue
        if grad is None:
            raise TapeError(node, f"its vjp returned None for input {position}, whose gradient is wanted")
        _check_grad(node, position, grad)
        # Views, the upstream gradient, saved arrays and one array for two inputs are read by others: never added into.
        alone = id(grad) not in read_by_others and returned_as.count(id(grad)) == 1
        owned = alone and owner(grad) is grad
        pulled.append((edge, grad, owned))
    if not retain_graph:
        node.vjp, node.edges, node.versions = None, (), ()
    return pulled


def owner(array: Any) -> Any:
    """The array whose memory this is: itself, unless it is a view; an array of the arena has its memory to itself."""
    base = getattr(array, "base", None)
    return array if base is None or getattr(base, "sole", False) else base


def closed_over(function: Any) -> list[Any]:
    """What a vjp holds on to: its closure cells, through tuples, lists and the functions it wraps."""
    held: list[Any] = []
    for cell in getattr(function, "__closure__", None) or ():
        value = cell.cell_contents
        if isinstance(value, (tuple, list)):
            held += value
        elif isinstance(value, FunctionType) and value is not function:
            held += closed_over(value)
        else:
            held.append(value)
    return held


def _contiguous(grad: Array, sums: Sums) -> Array:
    """Kernels read gradients by C order; views (transposed, broadcast) are made real here, once for all operations."""
    return grad if grad.flags.c_contiguous else sums.copied(grad)


def _check_grad(node: Node, position: int, grad: Array) -> None:
    shape, dtype = node.inputs[position]
    if not hasattr(grad, "flags"):  # a list, or a tensor of the engine
        raise TapeError(node, f"its vjp returned a {type(grad).__name__} for input {position}, expected a raw array")
    if grad.shape != shape or grad.dtype != dtype:
        raise TapeError(
            node,
            f"its vjp returned a gradient of shape {grad.shape} and dtype {grad.dtype} "
            f"for input {position}, expected {shape} and {dtype}",
        )
