"""Observers that write files: ``steps.csv``, a line a step, and ``report.html``, the page of the run."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from minicnn.files import write_atomically
from minicnn.train import page
from minicnn.train.evaluate import Evaluation
from minicnn.train.observer import Observer

if TYPE_CHECKING:
    from minicnn.train.loop import Result, Trainer

COLUMNS = ("step", "epoch", "lr", "loss", "accuracy")


class Steps(Observer):
    """``steps``: ``steps.csv``; a resumed run has each step once, as one that nobody stopped."""

    file: TextIO | None = None

    def started(self, trainer: "Trainer") -> None:
        self.trainer, path = trainer, trainer.run.steps
        with trainer.run.writing(path):
            if path.is_file():
                _keep_steps(path, trainer.step)
            # line by line: a run that is killed has written every step it told of
            self.file = path.open("a", encoding="utf-8", newline="", buffering=1)
            if not self.file.tell():
                self.file.write(",".join(COLUMNS) + "\n")

    def step(self, figures: dict[str, float]) -> None:
        assert self.file is not None
        step = int(figures["step"])
        epoch = (step - 1) // len(self.trainer.loader) + 1
        with self.trainer.run.writing(self.trainer.run.steps):
            self.file.write(f"{step},{epoch},{figures['lr']:.6g},{figures['loss']:.6g},{figures['accuracy']:.6g}\n")

    def close(self) -> None:
        if self.file is not None:
            self.file.close()


def _keep_steps(path: Path, last: int) -> None:
    """Take out the steps after ``last``, which come again, and a line that a crash cut."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")]
    numbers = [line.partition(",")[0] for line in lines]
    kept = [line for line, n in zip(lines, numbers, strict=True) if not n.isdecimal() or int(n) <= last]
    write_atomically(path, ["".join(kept).encode()])


class Ration:
    """Work that takes at most a hundredth of the time: it is left out where it would come too soon."""

    SHARE = 0.01

    def __init__(self) -> None:
        self.next = 0.0

    def use(self, work: Callable[[], None]) -> None:
        """Do ``work``, unless it was done less than a hundred times its own length ago."""
        began = time.perf_counter()
        if began >= self.next:
            work()
            now = time.perf_counter()
            self.next = now + (now - began) / self.SHARE


class Page(Observer):
    """``report``: ``report.html``, at the end and, as long as that is cheap, after an epoch."""

    def started(self, trainer: "Trainer") -> None:
        self.trainer = trainer
        self.trains = trainer.epoch < trainer.args.epochs
        self.ration = Ration()
        self.model_facts: dict[str, str] = {}

    def epoch(self, row: dict[str, float], best: bool) -> None:
        self.ration.use(lambda: self._write(None))

    def finished(self, result: "Result") -> None:
        self._write(result.test)

    def _write(self, test: Evaluation | None) -> None:
        trainer, run = self.trainer, self.trainer.run
        self.model_facts = self.model_facts or page.model_facts(trainer.model, trainer.data)
        # a finished run that is tested again keeps what was measured while it trained
        ran = page.run_facts(trainer.device) if self.trains else page.read_facts(run.folder)
        with run.writing(run.report):
            told = page.tell(trainer.args, run.folder, trainer.rows, trainer.data, self.model_facts | ran, test)
            page.write(run.report, told)
            if test is not None:
                page.write_facts(run.folder, ran)
