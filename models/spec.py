"""What a row of the catalog holds: the facts of a published network, and the options that rebuild it."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from minicnn.nn import Module


class Published(NamedTuple):
    """Figures as the authors print them, rounded as they did; empty or None where they give none."""

    params: str = ""  # "60M"
    macs: str = ""  # multiply-adds of one input, whatever the paper calls them: "1.5G"
    top1_error: float | None = None  # per cent, on the data set of the row
    top5_error: float | None = None
    protocol: str = ""  # what the errors were measured with: "single crop, validation", "ensemble of 7"
    source: str = ""  # table or section of the paper, or the file that was opened


class Recipe(NamedTuple):
    """How the authors trained it. Rates change at ``milestones`` (in epochs) by the factor ``gamma``."""

    optimizer: str  # "sgd", "rmsprop", "adam", ...
    lr: float
    batch: int  # 0 where none is printed
    epochs: float | None = None
    momentum: float = 0.0
    weight_decay: float = 0.0
    schedule: str = "steps"  # "steps", "plateau", "exponential", "polynomial", "cosine", "constant"
    milestones: tuple[float, ...] = ()
    gamma: float = 0.1
    augmentation: tuple[str, ...] = ()
    options: tuple[tuple[str, Any], ...] = ()  # what else: ("nesterov", True), ("warmup_epochs", 5), ("dropout", 0.5)
    source: str = ""
    notes: str = ""  # what the paper leaves open, and misprints of lectures that quote it


class ModelInfo(NamedTuple):
    """What is known of a model without building it."""

    name: str
    family: str
    year: int
    paper: str
    input_shape: tuple[int, ...]  # (C, H, W)
    num_classes: int
    form: str = "paper"  # or whose version of it: "torchvision", "Caffe", "lecture"
    published: Published = Published()
    recipe: Recipe | None = None
    torchvision: str = ""  # the name of the same network there, with the same weight names
    timm: str = ""
    deviations: str = ""  # where this differs from the paper, or the paper from itself


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
    input_shape: tuple[int, ...],
    num_classes: int,
    form: str = "paper",
    published: Published = Published(),  # noqa: B008  # a NamedTuple does not change
    recipe: Recipe | None = None,
    torchvision: str = "",
    timm: str = "",
    deviations: str = "",
    **options: Any,
) -> ModelSpec:
    """A row; families bind what their rows share with ``functools.partial``."""
    info = ModelInfo(
        name, family, year, paper, input_shape, num_classes, form, published, recipe, torchvision, timm, deviations
    )
    return ModelSpec(info, build, options)
