"""The catalog: ``minicnn.models.resnet34()``, ``create(name, ...)``, ``names(pattern)``, ``info(name)``.

A family is one file with a ``TABLE`` of rows; the index below says which file holds which names, so that a family is
imported when one of its models is asked for.
"""

import difflib
import fnmatch
import importlib
import inspect
from collections.abc import Callable
from typing import Any

from minicnn.errors import ArgumentError
from minicnn.models.spec import ModelInfo, ModelSpec
from minicnn.nn import Module
from minicnn.random import Generator

__all__ = ["ModelInfo", "create", "info", "names"]

# family file -> the names in its TABLE, in the same order
INDEX: dict[str, tuple[str, ...]] = {
    "lenet": ("lenet5", "lenet_caffe"),
    "resnet": (
        *("plain18", "resnet18_a", "resnet18", "resnet18_c", "plain34", "resnet34_a", "resnet34", "resnet34_c"),
        *("resnet50_v1", "resnet101_v1", "resnet152_v1", "resnet50", "resnet101", "resnet152", "resnet200"),
    ),
    "resnet_cifar": (
        *("plain20_cifar10", "plain32_cifar10", "plain44_cifar10", "plain56_cifar10", "plain110_cifar10"),
        *("resnet20_cifar10", "resnet32_cifar10", "resnet44_cifar10", "resnet56_cifar10", "resnet110_cifar10"),
        "resnet1202_cifar10",
    ),
}
# short name -> name
ALIASES: dict[str, str] = {
    name.removesuffix("_cifar10"): name for name in INDEX["resnet_cifar"] if name.endswith("_cifar10")
}
_FAMILY = {name: family for family, members in INDEX.items() for name in members}


def names(pattern: str | None = None) -> list[str]:
    """The registered names, all or those that match a glob or contain ``pattern``; aliases are left out."""
    if pattern is None:
        return list(_FAMILY)
    wanted = pattern.lower() if any(sign in pattern for sign in "*?[") else f"*{pattern.lower()}*"
    return [name for name in _FAMILY if fnmatch.fnmatchcase(name, wanted)]


def _spec(name: str) -> ModelSpec:
    known = ALIASES.get(name, name)
    if known not in _FAMILY:
        close = difflib.get_close_matches(str(name), [*_FAMILY, *ALIASES], 3, 0.5)
        hint = f"nearest: {', '.join(close)}" if close else "minicnn.models.names() lists all"
        raise ArgumentError(f"models: no model is called {name!r}; {hint}")
    table: tuple[ModelSpec, ...] = importlib.import_module(f"minicnn.models.{_FAMILY[known]}").TABLE
    return next(row for row in table if row.info.name == known)


def info(name: str) -> ModelInfo:
    """What is known of a model, without building it."""
    return _spec(name).info


def create(
    name: str,
    num_classes: int | None = None,
    in_channels: int | None = None,
    generator: Generator | None = None,
    **options: Any,
) -> Module:
    """Build a registered model with new weights drawn from ``generator`` (default: the default generator).

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
    return row.build(**{**row.options, **options, **shape, "generator": generator})


def _constructor(name: str) -> Callable[..., Module]:
    facts = info(name)

    def build(
        num_classes: int = facts.num_classes,
        in_channels: int = facts.input_shape[0],
        generator: Generator | None = None,
        **options: Any,
    ) -> Module:
        return create(name, num_classes, in_channels, generator, **options)

    build.__name__ = build.__qualname__ = name
    build.__doc__ = (
        f"{facts.family} ({facts.year}, {facts.paper}): {facts.params:,} parameters and {facts.macs:,} multiply-adds "
        f"at {'x'.join(map(str, facts.input_shape))} with {facts.num_classes} classes."
    )
    return build


def __getattr__(name: str) -> Callable[..., Module]:
    """``minicnn.models.<name>`` builds that model."""
    if name in _FAMILY or name in ALIASES:
        function = globals()[name] = _constructor(name)
        return function
    close = difflib.get_close_matches(name, [*_FAMILY, *ALIASES], 3, 0.6)
    hint = f"; nearest models: {', '.join(close)}" if close and not name.startswith("__") else ""
    raise AttributeError(f"module 'minicnn.models' has no attribute {name!r}{hint}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_FAMILY, *ALIASES])
