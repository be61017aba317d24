"""Training: ``train(TrainArgs(...))`` does what ``minicnn train`` does."""

from pathlib import Path

from minicnn.train.args import TrainArgs
from minicnn.train.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from minicnn.train.evaluate import Evaluation, evaluate
from minicnn.train.loop import Interrupted, Result, Trainer
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
    "save_checkpoint",
    "train",
]


def train(args: TrainArgs | None = None, out: str | Path | None = None, quiet: bool = False) -> Result:
    """Train a registered model on a dataset and write the run folder ``out`` (by default a new one under ``runs/``)."""
    args = args or TrainArgs()
    run = RunFolder.create(out, args.model, args.data)
    trainer = Trainer(args, run, quiet)
    write_args(trainer)
    return trainer.fit()


def write_args(trainer: Trainer) -> None:
    """``args.toml``: the effective options, and the versions they ran with."""
    import platform

    import numpy as np

    import minicnn

    trainer.run.folder.mkdir(parents=True, exist_ok=True)
    versions = {"minicnn": minicnn.__version__, "python": platform.python_version(), "numpy": np.__version__}
    trainer.args.write(trainer.run.args, device=trainer.device, **versions)
