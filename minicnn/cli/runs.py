"""Trained runs as networks: one, several as one, looking once or several times."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np

from minicnn.errors import ArgumentError, CheckpointError

AVERAGES = ("probabilities", "weights")


class Loaded(NamedTuple):
    """The best weights of a run, and what it takes to show pictures to them."""

    path: Path
    model: Any
    args: dict[str, Any]  # that it was trained with
    facts: dict[str, Any]  # of its data: name, shape, classes, mean, std

    @property
    def size(self) -> int:
        """The side of its images."""
        return int(self.facts["shape"][1])


def is_run(path: Path) -> bool:
    """Whether ``path`` is taken for a run and not for a picture or a folder of them."""
    return (path / "args.toml").is_file() or path.suffix == ".safetensors"


def load_run(run: Path, command: str) -> Loaded:
    """The model of a run folder or a checkpoint file, with its best weights."""
    from minicnn import models
    from minicnn.train.checkpoint import load_newest, previous_of
    from minicnn.train.recipe import model_options
    from minicnn.train.run import RunFolder
    from minicnn.train.state import load_weights

    path = RunFolder.open(run).best if run.is_dir() else run
    if run.is_dir() and not path.exists() and not previous_of(path).exists():
        raise ArgumentError(f"{command}: {run} has no {path.name}: no epoch is finished yet")
    saved, fell_back = load_newest(path)
    if fell_back:
        click.echo(f"minicnn: {fell_back}", err=True)
    if not {"data", "args"} <= saved.state.keys():
        raise CheckpointError(f"checkpoint {path}: not one of a training run; fix: give the folder of a run")
    facts, args = saved.state["data"], saved.state["args"]
    shape = {"num_classes": len(facts["classes"]), "in_channels": facts["shape"][0]}
    model = models.create(args["model"], **{**model_options(args.get("options", "")), **shape})
    load_weights(model, saved.arrays)
    return Loaded(run, model, args, facts)


def together(
    runs: Sequence[Loaded], command: str, crops: int = 1, scales: Sequence[int] = (), average: str = "probabilities"
) -> tuple[Any, dict[str, Any]]:
    """One network in eval mode of one run or more, and the facts of the pictures it takes.

    It looks at ``crops`` crops (1, 5, 10) of the picture at each of ``scales``, sizes of the shorter side; with more
    than one crop and no scales, at 8/7 of the size it was trained with, as 256 is of 224. ``average``: the mean of the
    answers, or one network with the mean of the weights.

    **Raises** ArgumentError when the runs were not made for the same pictures and classes, or are too different.
    """
    from minicnn.models import Crops, Ensemble, Scales, average_weights

    first = runs[0]
    for run in runs[1:]:
        for name in ("classes", "mean", "std"):
            if run.facts[name] != first.facts[name]:
                raise ArgumentError(
                    f"{command}: {run.path} and {first.path} differ in {name}, so that their answers cannot be "
                    "averaged; fix: runs on the same data"
                )
    if average == "weights" and len(runs) > 1:
        first.model.load_state_dict(average_weights([run.model for run in runs]))
        runs = [first]
    sizes = [tuple(scales) or (run.size * 8 // 7 if crops > 1 else run.size,) for run in runs]
    side = max(max(each) for each in sizes)
    if crops > 1 and min(min(each) - run.size for run, each in zip(runs, sizes, strict=True)) < 0:
        raise ArgumentError(
            f"{command}: --scales {min(min(s) for s in sizes)} has no crop of {max(r.size for r in runs)}"
        )
    facts = {**first.facts, "shape": [first.facts["shape"][0], side, side]}
    if len(runs) == 1 and sizes[0] == (first.size,) and crops == 1:
        return first.model.eval(), facts
    views = [
        Scales(each, Crops(run.size, crops)) if crops > 1 else Scales(each)
        for run, each in zip(runs, sizes, strict=True)
    ]
    return Ensemble([run.model for run in runs], views=views).eval(), facts


class _Renormalised:
    """Images normalised by one mean and deviation, as if by others."""

    def __init__(self, mean: Any, std: Any, facts: dict[str, Any]) -> None:
        wanted_mean, wanted_std = (np.asarray(facts[key], np.float32).reshape(-1, 1, 1) for key in ("mean", "std"))
        self.scale, self.shift = std / wanted_std, (mean - wanted_mean) / wanted_std

    def __call__(self, images: Any) -> Any:
        return images * self.scale + self.shift

    def undo(self, images: Any) -> Any:
        return (images - self.shift) / self.scale


def dataset_for(name: str, split: str, facts: dict[str, Any], command: str) -> Any:
    """A part of a dataset as the network of ``facts`` saw its own: its size, its mean and deviation.

    **Raises** DataError when its channels are others.
    """
    from minicnn import data
    from minicnn.data.prepare import Prepared
    from minicnn.errors import DataError

    dataset = data.load(name, split, size=facts["shape"][1])
    if list(dataset.shape) != list(facts["shape"]):
        raise DataError(f"{command}: {name} has images of {dataset.shape}, expected {tuple(facts['shape'])}")
    if dataset.mean.ravel().tolist() == facts["mean"] and dataset.std.ravel().tolist() == facts["std"]:
        return dataset
    return Prepared(dataset, _Renormalised(dataset.mean, dataset.std, facts))


def sizes_of(text: str) -> tuple[int, ...]:
    """``"224,256"`` -> ``(224, 256)``."""
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not all(word.isdecimal() and 0 < int(word) <= 4096 for word in words):
        raise click.BadParameter(f"{text!r}, expected sizes in pixels such as 224,256", param_hint="--scales")
    return tuple(int(word) for word in words)


def look_options(command: Any) -> Any:
    """The options of `together`."""
    for option in (
        click.option("--average", type=click.Choice(AVERAGES), default=AVERAGES[0], show_default=True, help="Of what."),
        click.option("--scales", default="", help="Sizes at which pictures are looked at, as 224,256."),
        click.option("--crops", type=click.Choice(["1", "5", "10"]), default="1", show_default=True, help="Of each."),
    ):
        command = option(command)
    return command
