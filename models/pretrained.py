"""Weights from a file into a model of the catalog; when they do not fit, the name of the model they do fit."""

from functools import cache
from typing import Any

from minicnn import weights
from minicnn.context import abstract
from minicnn.errors import CheckpointError
from minicnn.nn import Module

Shapes = dict[str, tuple[int, ...]]


def load_into(net: Module, path: Any) -> None:
    """Load the file at ``path`` (safetensors, ``.pth``) into ``net``.

    **Raises** CheckpointError listing what does not fit, and which registered models the file does fit.
    """
    values: Any = weights.load(path)
    if hasattr(net, "adapt_state"):
        values = net.adapt_state(values)
    try:
        net.load_state_dict(values)
    except CheckpointError as error:
        fits = fitting({name: tuple(array.shape) for name, array in values.items()})
        hint = f"the file fits {', '.join(fits[:4])}" if fits else "it fits no other model of the catalog either"
        raise CheckpointError(f"{error}\n  {path}: {hint}") from None


def fitting(shapes: Shapes) -> list[str]:
    """The registered models whose state has these names and shapes; failing that, those with these names."""
    from minicnn import models

    trained = {name: shape for name, shape in shapes.items() if not name.endswith("num_batches_tracked")}
    same = [name for name in models.names() if set(_shapes(name)) == set(trained)]
    exact = [name for name in same if _shapes(name) == trained]
    return exact or [f"{name} with other sizes (num_classes, in_channels?)" for name in same]


@cache
def _shapes(name: str) -> Shapes:
    from minicnn import models

    with abstract():
        state = models.create(name).state_dict()
    return {key: tuple(array.shape) for key, array in state.items() if not key.endswith("num_batches_tracked")}
