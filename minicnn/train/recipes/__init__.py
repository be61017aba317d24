"""How the papers trained their networks, as data: a TOML file a family, its values those of `TrainArgs`.

A file has a ``[[recipe]]`` for each way of training: ``models``, globs of names of the catalog; ``source``; ``notes``,
what cannot be done as the authors did it; ``images``, how many they trained on; and ``args``. A length is in epochs, so
that it means the same on other data, or in ``iterations`` of the batch on ``images`` images. The first recipe that
names a model counts.
"""

import dataclasses
import difflib
import fnmatch
import math
import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from minicnn import models
from minicnn.errors import ArgumentError
from minicnn.train.args import TrainArgs, read_options

FOLDER = Path(__file__).parent
PAPER = "paper"
# What a paper does not speak of it did not do, whatever our defaults.
SILENT: Mapping[str, Any] = {
    **{"momentum": 0.0, "nesterov": False, "weight_decay": 0.0, "decay": "all", "warmup_epochs": 0},
    **{"label_smoothing": 0.0, "ema": 0.0},
}
OF_TIME = ("milestones", "decay_epochs")  # they stretch with the run


class Recipe(NamedTuple):
    """One way of training: ``args`` are options of `TrainArgs`."""

    file: str
    models: tuple[str, ...]
    source: str
    args: Mapping[str, Any]
    notes: str = ""


@cache
def recipes() -> tuple[Recipe, ...]:
    """All that are here, file by file."""
    return tuple(
        _recipe(path.name, entry)
        for path in sorted(FOLDER.glob("*.toml"))
        for entry in tomllib.loads(path.read_text(encoding="utf-8"))["recipe"]
    )


def _recipe(file: str, entry: dict[str, Any]) -> Recipe:
    args = {**SILENT, "augment": "augmentation" in entry["args"], **entry["args"]}
    if "iterations" in entry:
        args["epochs"] = math.ceil(entry["iterations"] * args["batch_size"] / entry["images"])
    return Recipe(file, tuple(entry["models"]), entry["source"], args, entry.get("notes", ""))


def paper(model: str) -> Recipe:
    """How the authors of ``model`` trained it. **Raises** ArgumentError where that is not known."""
    name = models.info(model).name
    for recipe in recipes():
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in recipe.models):
            return recipe
    known = [name for name in models.names() if any(fnmatch.fnmatchcase(name, p) for r in recipes() for p in r.models)]
    near = difflib.get_close_matches(name, known, 3, 0.5)
    hint = f"; nearest: {', '.join(near)}" if near else ""
    raise ArgumentError(
        f"train: how {name} was trained is not written down here{hint}; fix: a file of your own, --recipe FILE.toml"
    )


def resolve(given: Mapping[str, Any], names: Sequence[str] = ()) -> tuple[TrainArgs, dict[str, str]]:
    """The options of a run, and where each came from: ``given`` > recipe files, the last first > paper > default.

    ``names`` are ``"paper"`` and paths of TOML files with a table ``[args]``, as a run's ``args.toml`` is. What a lower
    layer says of times within the run stretches with the ``epochs`` of a higher one.
    **Raises** ArgumentError for files and values that do not fit.
    """
    files = [(name, _own(Path(name).expanduser())) for name in names if name != PAPER]
    layers = [*files, ("flag", dict(given))]
    if PAPER in names:
        model = next((layer["model"] for _, layer in reversed(layers) if "model" in layer), TrainArgs.model)
        found = paper(model)
        layers.insert(0, (f"{PAPER}, {found.file}", dict(found.args)))
    values: dict[str, Any] = {}
    origin = {field.name: "default" for field in dataclasses.fields(TrainArgs)}
    for name, layer in layers:
        for key in OF_TIME:
            if "epochs" in layer and "epochs" in values and key in values and key not in layer:
                values[key] = _stretched(values[key], layer["epochs"] / values["epochs"])
                origin[key] += f", stretched by {name}"
        values |= layer
        origin |= dict.fromkeys(layer, name)
    return TrainArgs.of(values), origin


def _own(path: Path) -> dict[str, Any]:
    """The options of a file, each checked."""
    if not path.is_file():
        raise ArgumentError(
            f"train: recipe {path}: there is no such file; expected {PAPER!r} or the path of a TOML file"
        )
    values = read_options(path)
    try:
        TrainArgs.of(values)
    except ArgumentError as error:
        raise ArgumentError(f"{path}: {error}") from error
    return values


def _stretched(value: Any, factor: float) -> Any:
    """Epochs, or a text of several, times ``factor``."""
    if isinstance(value, str):
        return ",".join(f"{float(word) * factor:.6g}" for word in value.split(",") if word.strip())
    return value * factor


def origin_of(path: Path) -> dict[str, str]:
    """Where the options in a run's ``args.toml`` came from, as far as the file says."""
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8")).get("from", {})
    except (OSError, ValueError):
        return {}
    known = {field.name for field in dataclasses.fields(TrainArgs)}
    entries = found.items() if isinstance(found, dict) else ()
    return {name: where for name, where in entries if name in known and isinstance(where, str)}
