"""The catalog: ``minicnn.models.resnet34()``, ``create(name, ...)``, ``names(pattern)``, ``info(name)``.

A name is a network. A family is one file with a ``TABLE`` of rows; ``index.py`` says which file holds which names. A
name with a dot is a function with an underscore; ``create("torchvision/alexnet")`` finds the network by the name
another library gives it. ``Ensemble`` makes one network of several, ``identity_insert`` a deeper one of a trained one.
"""

import difflib
import fnmatch
import importlib
import inspect
import sys
from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import Any, NamedTuple

from minicnn.context import abstract, no_grad
from minicnn.errors import ArgumentError
from minicnn.kernels.counting import listening
from minicnn.kernels.shape_array import ShapeArray
from minicnn.models.deepen import identity_insert
from minicnn.models.ensemble import Crops, Ensemble, Scales, average_weights
from minicnn.models.index import ALIASES, INDEX
from minicnn.models.pretrained import load_into
from minicnn.models.spec import ModelInfo, ModelSpec
from minicnn.nn import Module
from minicnn.random import Generator
from minicnn.tensor import Tensor

__all__ = [
    "Counts",
    "Crops",
    "Ensemble",
    "ModelInfo",
    "Scales",
    "average_weights",
    "counts",
    "create",
    "identity_insert",
    "info",
    "names",
]

LIBRARIES = ("torchvision", "timm")


class Counts(NamedTuple):
    """Parameters that are trained, and multiply-adds of one input in eval mode."""

    params: int
    macs: int


_FAMILY = {name: family for family, members in INDEX.items() for name in members}
_FUNCTIONS = {name.replace(".", "_"): name for name in (*_FAMILY, *ALIASES)}


def names(pattern: str | None = None) -> list[str]:
    """The registered names, all or those that match a glob or contain ``pattern``; aliases are left out."""
    if pattern is None:
        return list(_FAMILY)
    wanted = pattern.lower() if any(sign in pattern for sign in "*?[") else f"*{pattern.lower()}*"
    return [name for name in _FAMILY if fnmatch.fnmatchcase(name, wanted)]


def _table(family: str) -> tuple[ModelSpec, ...]:
    table: tuple[ModelSpec, ...] = importlib.import_module(f"minicnn.models.{family}").TABLE
    return table


def _named_elsewhere(name: str) -> str:
    """The catalog's name for ``"torchvision/alexnet"``."""
    library, _, theirs = name.partition("/")
    if library not in LIBRARIES:
        raise ArgumentError(f"models: {name!r}: unknown library {library!r}, expected one of {', '.join(LIBRARIES)}")
    known = {getattr(row.info, library): row.info.name for family in INDEX for row in _table(family)}
    if not theirs or theirs not in known:
        close = difflib.get_close_matches(theirs, [key for key in known if key], 3, 0.5)
        hint = f"; nearest: {', '.join(close)}" if close else ""
        raise ArgumentError(f"models: no model of the catalog is {library}'s {theirs!r}{hint}")
    return known[theirs]


def _spec(name: str) -> ModelSpec:
    name = _named_elsewhere(name) if isinstance(name, str) and "/" in name else name
    known = ALIASES.get(name, name)
    known = known if known in _FAMILY else ALIASES.get(_FUNCTIONS.get(known, ""), _FUNCTIONS.get(known, known))
    if known not in _FAMILY:
        close = difflib.get_close_matches(str(name), [*_FAMILY, *ALIASES], 3, 0.5)
        hint = f"nearest: {', '.join(close)}" if close else "minicnn.models.names() lists all"
        raise ArgumentError(f"models: no model is called {name!r}; {hint}")
    return next(row for row in _table(_FAMILY[known]) if row.info.name == known)


def info(name: str) -> ModelInfo:
    """What is known of a model, without building it."""
    return _spec(name).info


def create(
    name: str,
    num_classes: int | None = None,
    in_channels: int | None = None,
    generator: Generator | None = None,
    weights: Any = None,
    **options: Any,
) -> Module:
    """Build a registered model with new weights drawn from ``generator`` (default: the default generator), or with
    those of the file ``weights`` (safetensors or PyTorch's ``.pth``, with torchvision's names where it has the model).

    ``num_classes``, ``in_channels`` (default: as published) and the family's own ``options`` override the row.
    **Raises** ArgumentError for an unknown name or option, naming the nearest.
    """
    row = _spec(name)
    known = [key for key in inspect.signature(row.build).parameters if key != "generator"]
    for key in options:
        if key not in known:
            close = difflib.get_close_matches(key, known, 1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise ArgumentError(f"models.create: {name} has no option {key!r}; {hint}its options: {', '.join(known)}")
    shape = {
        "num_classes": row.info.num_classes if num_classes is None else num_classes,
        "in_channels": row.info.input_shape[0] if in_channels is None else in_channels,
    }
    net = row.build(**{**row.options, **options, **shape, "generator": generator})
    if hasattr(net, "info"):
        net.info = row.info
    if weights is not None:
        load_into(net, weights)
    return net


@cache
def counts(name: str) -> Counts:
    """Parameters and multiply-adds of a model as published, by shapes alone: no weight is drawn."""
    total = 0

    def add(op: str, macs: int) -> None:
        nonlocal total
        total += macs

    with abstract(), no_grad(), listening(add):
        net = create(name).eval()
        net(Tensor(ShapeArray((1, *info(name).input_shape), "float32")))
    return Counts(sum(p.size for p in net.parameters() if p.requires_grad), total)


def _constructor(name: str) -> Callable[..., Module]:
    facts = info(name)

    def build(
        num_classes: int = facts.num_classes,
        in_channels: int = facts.input_shape[0],
        generator: Generator | None = None,
        weights: Any = None,
        **options: Any,
    ) -> Module:
        return create(name, num_classes, in_channels, generator, weights, **options)

    build.__name__ = build.__qualname__ = name
    shape = "x".join(map(str, facts.input_shape))
    build.__doc__ = (
        f"{facts.family} ({facts.year}, {facts.paper}), {facts.form} form: {shape} to {facts.num_classes} classes."
    )
    return build


def __getattr__(name: str) -> Callable[..., Module]:
    """``minicnn.models.<name>`` builds that model."""
    if name in _FUNCTIONS:
        function = globals()[name] = _constructor(_FUNCTIONS[name])
        return function
    close = [] if name.startswith("__") else difflib.get_close_matches(name, _FUNCTIONS, 3, 0.6)
    hint = f"; nearest models: {', '.join(close)}" if close else ""
    raise AttributeError(f"module 'minicnn.models' has no attribute {name!r}{hint}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_FUNCTIONS])


class _Catalog(ModuleType):
    """Importing a family file does not hide the model of its name: ``models.googlenet`` stays the function."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (isinstance(value, ModuleType) and name in _FUNCTIONS):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Catalog
