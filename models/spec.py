"""One row of a family's table: what was published, and the options that rebuild it."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from minicnn.nn import Module


class ModelInfo(NamedTuple):
    """What is known of a model; ``params`` and ``macs`` (multiply-adds of one input) are exact."""

    name: str
    family: str
    year: int
    paper: str
    input_shape: tuple[int, int, int]  # (C, H, W)
    num_classes: int
    params: int
    macs: int
    source: str  # where the two counts come from


class ModelSpec(NamedTuple):
    """A model of the catalog: its facts, its class, and the options that make the class this model."""

    info: ModelInfo
    build: type[Module]
    options: Mapping[str, Any]


def spec(
    build: type[Module],
    name: str,
    *,
    family: str,
    year: int,
    paper: str,
    input_shape: tuple[int, int, int],
    num_classes: int,
    params: int,
    macs: int,
    source: str,
    **options: Any,
) -> ModelSpec:
    """A row; families bind what their rows share with ``functools.partial``."""
    info = ModelInfo(name, family, year, paper, input_shape, num_classes, params, macs, source)
    return ModelSpec(info, build, options)
