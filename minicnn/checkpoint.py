"""Gradient checkpointing: keep a block's inputs instead of its activations, and compute the block again in backward.

The second run is the first one over again: the same random seeds come back, running statistics stay, and the
generators do not move. Weights, buffers and random state after a step are therefore the bits they would have been.
"""

import contextvars
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from minicnn import tape
from minicnn.context import enable_grad, is_abstract_mode, is_grad_enabled, recomputing
from minicnn.errors import ArgumentError, GradientError
from minicnn.kernels import rows
from minicnn.kernels.arrays import Array, allocate
from minicnn.kernels.counting import listening
from minicnn.random import recorded_seeds, replayed_seeds
from minicnn.record import record_several
from minicnn.tensor import Tensor


def checkpoint(fn: Callable[..., Any], *inputs: Any) -> Any:
    """``fn(*inputs)``, whose activations are dropped and recomputed in backward: time for memory.

    ``fn`` (a function or a module) returns a tensor or a tuple of tensors and must do the same work each time; tensors
    it uses must be inputs or leaves (parameters), and all of these get their gradients. **Saves** the inputs. The
    multiply-adds of the second run are not counted.

    **Raises** GradientError when ``fn`` uses a tensor computed outside it, when an input or leaf was written before
    backward, or when the second run draws other random numbers, uses other leaves or returns other shapes.

    **See** Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016.
    """
    if not is_grad_enabled() or is_abstract_mode():
        return fn(*inputs)
    context = contextvars.copy_context()
    start = tape.Node("checkpoint", 0, (), (), lambda gy, needs: ())  # older nodes lie outside the block
    block = _Block(fn, tuple(_cut(x) if isinstance(x, Tensor) else x for x in inputs), context)
    with recorded_seeds() as block.seeds:
        result = fn(*block.inputs)
    outputs = _outputs(result)
    block.leaves = _outer_leaves(outputs, start, block.inputs)
    block.shapes = tuple(y.shape for y in outputs)
    arrays = tuple(y.data for y in outputs)
    several = isinstance(result, (tuple, list))
    del result, outputs  # the graph of the first run, and the activations with it
    recorded = record_several("checkpoint", arrays, (*inputs, *block.leaves), block.vjp)
    if recorded[0].node is not None:
        recorded[0].node.versions = tuple(_version(x) for x in (*block.inputs, *block.leaves) if isinstance(x, Tensor))
    return recorded if several else recorded[0]


class _Block:
    """What is kept of a checkpointed block: the function, its inputs without history, its leaves, its seeds."""

    seeds: list[int]
    leaves: list[Tensor]
    shapes: tuple[tuple[int, ...], ...]

    def __init__(self, fn: Callable[..., Any], inputs: tuple[Any, ...], context: contextvars.Context) -> None:
        self.fn, self.inputs, self.context = fn, inputs, context

    def again(self) -> list[Tensor]:
        """The second run, recorded, with the draws and without the side effects of the first."""
        with enable_grad(), recomputing(), listening(_ignore), replayed_seeds(self.seeds) as left:
            outputs = _outputs(self.fn(*self.inputs))
            if left:
                raise GradientError(
                    f"checkpoint: the block drew {len(left)} random seeds fewer when it was recomputed than in its "
                    "forward pass; fix: let it do the same work both times"
                )
        shapes = tuple(y.shape for y in outputs)
        if shapes != self.shapes:
            raise GradientError(f"checkpoint: the block returned shapes {shapes} when recomputed, first {self.shapes}")
        return outputs

    def vjp(self, gy: tuple[Array | None, ...], needs: tuple[bool, ...]) -> list[Array | None]:
        """Run the block again in the context of its first run, walk its own graph, and hand on what reaches its ends.

        ``tape.backward`` would write to the parameters' ``.grad`` in the middle of the outer walk, so the leaves of
        the inner graph are replaced by catchers first.
        """
        outputs = self.context.copy().run(self.again)
        wanted = [(y, g) for y, g in zip(outputs, gy, strict=True) if g is not None and y.edge is not None]
        ends = (*self.inputs, *self.leaves)
        catchers = {id(end): _Catcher() for end in ends if isinstance(end, Tensor)}
        # Closed over by the joint vjp, so the inner walk adds into none of them: they belong to the outer one.
        seeds = tuple(g for _, g in wanted)
        facts = tuple((y.shape, y.dtype) for y, _ in wanted)
        joint = tape.Node("checkpoint", 1, tuple(y.edge for y, _ in wanted), facts, lambda _, needs: seeds)
        _redirect(joint, catchers)
        tape.backward((joint, 0), np.zeros(()), sums=rows)
        return [_caught(catchers[id(end)], end) if needed else None for end, needed in zip(ends, needs, strict=True)]


class _Catcher:
    """Stands in for a leaf of the inner graph and keeps the gradient that arrives."""

    grad: Array | None = None

    def accumulate_grad(self, grad: Array, owned: bool) -> None:
        self.grad = grad if owned else grad.copy()


def _caught(catcher: _Catcher, end: Tensor) -> Array:
    return allocate(end.data, end.shape, fill=0) if catcher.grad is None else catcher.grad


def _ignore(op: str, macs: int) -> None:
    """The listener of the second run."""


def _cut(x: Tensor) -> Tensor:
    """The tensor as a leaf: same array and write count, no history."""
    leaf = x.detach()
    leaf.requires_grad = x.edge is not None
    return leaf


def _version(x: Tensor) -> tuple[Any, int, str, tuple[int, ...]]:
    return x.version, x.version[0], getattr(x, "name", "") or "an input or leaf", x.shape


def _outputs(result: Any) -> list[Tensor]:
    outputs = list(result) if isinstance(result, (tuple, list)) else [result]
    for y in outputs:
        if not isinstance(y, Tensor):
            raise ArgumentError(
                f"checkpoint: the block returned a {type(y).__name__}, expected a tensor or a tuple of tensors"
            )
    return outputs


def _walk(edges: Iterable[tape.Edge]) -> Iterator[tape.Node]:
    """Every node reachable from ``edges``, once."""
    waiting, seen = [edge[0] for edge in edges if isinstance(edge, tuple)], set()
    while waiting:
        node = waiting.pop()
        if node not in seen:
            seen.add(node)
            yield node
            waiting += [edge[0] for edge in node.edges if isinstance(edge, tuple)]


def _outer_leaves(outputs: list[Tensor], start: tape.Node, inputs: tuple[Any, ...]) -> list[Tensor]:
    """The leaves behind ``outputs`` that are not inputs, each once."""
    known = {id(x) for x in inputs}
    leaves: list[Tensor] = []
    for edges in ((y.edge for y in outputs), *(node.edges for node in _inside(outputs, start))):
        for edge in edges:
            if isinstance(edge, Tensor) and id(edge) not in known:
                known.add(id(edge))
                leaves.append(edge)
    return leaves


def _inside(outputs: list[Tensor], start: tape.Node) -> Iterator[tape.Node]:
    for node in _walk(y.edge for y in outputs):
        if node.sequence < start.sequence:
            raise GradientError(
                f"checkpoint: the block uses the result of {node.name}, computed outside it; "
                "fix: pass that tensor as an input"
            )
        yield node


def _redirect(joint: tape.Node, catchers: dict[int, _Catcher]) -> None:
    """Send to the catchers what would reach leaves."""
    for node in (joint, *_walk(joint.edges)):
        edges: list[tape.Edge] = []
        for edge in node.edges:
            if edge is None or isinstance(edge, tuple):
                edges.append(edge)
            elif id(edge) in catchers:
                edges.append(catchers[id(edge)])
            else:
                raise GradientError(
                    "checkpoint: the block used a leaf when it was recomputed that its forward pass did not use; "
                    "fix: let it do the same work both times"
                )
        node.edges = tuple(edges)
