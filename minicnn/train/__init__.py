"""Training: ``train(TrainArgs(...))`` does what ``minicnn train`` does."""

import dataclasses
import platform
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

import minicnn
from minicnn.errors import ArgumentError, DataError, DeviceError
from minicnn.train.args import TrainArgs
from minicnn.train.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from minicnn.train.evaluate import Evaluation, evaluate
from minicnn.train.interrupt import Interrupted
from minicnn.train.loop import Result, Trainer
from minicnn.train.recipes import origin_of, resolve
from minicnn.train.run import RunFolder

__all__ = [
    "Checkpoint",
    "Evaluation",
    "Interrupted",
    "Result",
    "RunFolder",
    "TrainArgs",
    "Trainer",
    "evaluate",
    "load_checkpoint",
    "new_run",
    "resolve",
    "resumed_run",
    "save_checkpoint",
    "train",
]


Make = Callable[[TrainArgs, RunFolder, bool], Trainer]


def train(args: TrainArgs | None = None, out: str | Path | None = None, quiet: bool = False) -> Result:
    """Train a registered model on a dataset and write the run folder ``out`` (by default a new one under ``runs/``).

    **Raises** ArgumentError for what are no options; `Trainer.fit` says what else.
    """
    if not isinstance(args, (TrainArgs, type(None))):
        raise ArgumentError(f'train: args is a {type(args).__name__}, expected TrainArgs(model="lenet5", epochs=3)')
    return new_run(args or TrainArgs(), out, quiet).fit()


def new_run(
    args: TrainArgs,
    out: str | Path | None = None,
    quiet: bool = False,
    origin: Mapping[str, str] | None = None,
    make: Make = Trainer,
) -> Trainer:
    """A trainer before its first step, its new folder made; no folder is left when the options do not fit.

    ``origin`` says where each option came from, as `resolve` tells it; it is saved with them. ``make`` is the kind of
    trainer.
    """
    run = RunFolder.create(out, args.model, Path(args.data).expanduser().resolve().name)  # of a folder, its last name
    try:
        trainer = make(args, run, quiet)
        with run.locked():
            if run.args.exists():
                raise ArgumentError(f"train: another run has just begun in {run.folder}; fix: another folder")
            write_args(trainer, origin)
    except BaseException:
        run.discard()
        raise
    return trainer


def resumed_run(folder: str | Path, quiet: bool = False, make: Make = Trainer, **changed: Any) -> tuple[Trainer, str]:
    """The trainer of the run in ``folder`` as its ``last`` checkpoint left it, and a note when that was damaged.

    ``changed`` replaces options; with other ``epochs`` the learning rates differ from those of an uninterrupted run.
    """
    run = RunFolder.open(folder)
    args = dataclasses.replace(TrainArgs.read(run.args), **changed)
    origin = origin_of(run.args)
    try:
        trainer = make(args, run, quiet)
    except (ArgumentError, DataError, DeviceError) as error:
        raise type(error)(f"{run.args}: {error}") from error
    note = trainer.resume()
    if changed:
        write_args(trainer, origin and origin | dict.fromkeys(changed, "flag"))
    return trainer, note


def write_args(trainer: Trainer, origin: Mapping[str, str] | None = None) -> None:
    """``args.toml``: the effective options, where they came from, and the versions they ran with."""
    versions = {"minicnn": minicnn.__version__, "python": platform.python_version(), "numpy": np.__version__}
    with trainer.run.writing(trainer.run.args):
        trainer.args.write(trainer.run.args, origin, device=trainer.device, **versions)
