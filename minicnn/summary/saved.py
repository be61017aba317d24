"""The memory of a training step's forward pass, read off the tape: which arrays the backward pass will want."""

from collections.abc import Iterable, Iterator
from typing import Any

from minicnn.kernels.shape_array import ShapeArray
from minicnn.summary.receptive_field import held_by, reachable
from minicnn.tape import Node


def saved_bytes(ends: Iterable[Node], known: Iterable[Any]) -> dict[int, int]:
    """Bytes that the operations behind ``ends`` keep, by the id of the layer whose operation wanted them first.

    An array and its views count once; the arrays ``known`` (weights) do not. Under key 0: outside every layer.
    """
    counted = {id(owner(array)) for array in known}
    kept: dict[int, int] = {}
    for node in reachable(ends):
        layer = id(node.layers[-1]) if node.layers else 0
        for array in map(owner, _arrays(held_by(node.vjp).values())):
            if id(array) not in counted:
                counted.add(id(array))
                kept[layer] = kept.get(layer, 0) + array.nbytes
    return kept


def owner(array: Any) -> Any:
    """The array whose memory this is: itself, unless it is a view."""
    return array if array.base is None else array.base


def _arrays(values: Iterable[Any]) -> Iterator[ShapeArray]:
    for value in values:
        if isinstance(value, ShapeArray):
            yield value
        elif isinstance(value, (tuple, list)):
            yield from _arrays(value)
