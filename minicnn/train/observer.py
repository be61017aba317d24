"""Who watches a run and writes about it: the names in ``TrainArgs.log``, each an `Observer`.

To add one: a subclass of `Observer` anywhere, and its name with ``"module:Class"`` in ``OBSERVERS``. Its module is
imported when a run asks for it. Name it in the default of ``TrainArgs.log`` when every run shall have it.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from minicnn.train.loop import Result, Trainer

OBSERVERS = {
    "csv": "minicnn.train.observer:Metrics",
    "steps": "minicnn.train.logs:Steps",
    "report": "minicnn.train.logs:Page",
    "tensorboard": "minicnn.train.tensorboard:TensorBoard",
}


class Observer:
    """What a run tells those who watch it; every method may be left out.

    They are called in the thread that trains, between its steps, after what they are told about was saved: what they
    raise stops the run and loses nothing. They change nothing of the trainer, and draw no random numbers from the
    default generator, or the run would no longer repeat.
    """

    def started(self, trainer: "Trainer") -> None:
        """Before the first step. A resumed run has ``trainer.step > 0`` and ``trainer.rows``.

        A run that was killed may have told of steps after ``trainer.step``: they come again, with the same figures.
        """

    def step(self, figures: dict[str, float]) -> None:
        """After a step: ``step`` (from 1), ``lr``, ``loss``, ``accuracy``, ``images`` (of the batch).

        On the CPU after every step, on a GPU, whose figures are read back together, up to 16 steps later, in order.
        """

    def epoch(self, row: dict[str, float], best: bool) -> None:
        """After an epoch, validated and saved: its row of metrics.csv, and whether none before was better.

        The parameters still have the gradients of the last step.
        """

    def finished(self, result: "Result") -> None:
        """At the end; the model holds the best weights."""

    def close(self) -> None:
        """Last, however the run ended: close files."""


class Metrics(Observer):
    """``csv``: ``metrics.csv``, a line an epoch; a resumed run has exactly the epochs that its checkpoint knew."""

    def started(self, trainer: "Trainer") -> None:
        self.trainer = trainer
        if trainer.rows:  # the run may have died between its checkpoint and this file
            trainer.run.write_metrics(trainer.rows)

    def epoch(self, row: dict[str, float], best: bool) -> None:
        self.trainer.run.write_metrics(self.trainer.rows)


def names_of(log: str) -> list[str]:
    """``"csv,report"`` -> ``["csv", "report"]``."""
    return [name.strip() for name in log.split(",") if name.strip()]


def observers_of(log: str) -> list[Observer]:
    """The observers that ``log`` names, in its order."""
    found = []
    for name in names_of(log):
        module, _, kind = OBSERVERS[name].partition(":")
        observer: Observer = getattr(importlib.import_module(module), kind)()
        found.append(observer)
    return found
