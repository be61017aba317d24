"""What a training run tells its user, on stderr: a live line in a terminal, one line an epoch elsewhere."""

import os
import sys
import time
from collections import deque
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

if TYPE_CHECKING:
    from minicnn.train.loop import Trainer


def duration(seconds: float) -> str:
    """``75`` -> ``1:15``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def introduction(trainer: "Trainer") -> Iterator[str]:
    """What a run says of itself before its first step, line by line."""
    train, val, test = (len(trainer.data[part]) for part in ("train", "val", "test"))
    parameters = sum(p.size for p in trainer.model.parameters())
    shape = "x".join(map(str, trainer.data["train"].shape))
    yield f"model   {trainer.args.model}, {parameters:,} parameters, images {shape}"
    for note in trainer.notes:
        yield f"        {note}"
    yield f"data    {trainer.args.data}: {train:,} training, {val:,} validation, {test:,} test images"
    for note in trainer.data["train"].notes:
        yield f"        {note}"
    mixed = f", computing in {trainer.args.precision}" if trainer.precision.mixed else ""
    yield f"device  {trainer.device} ({trainer.device_reason}){mixed}"
    yield f"folder  {trainer.run.folder}"
    if trainer.epoch >= trainer.args.epochs:
        yield f"finished all {trainer.epoch} epochs before; testing the best again (--epochs N trains longer)"
    elif trainer.step:
        yield f"resumed after epoch {trainer.epoch}, {trainer.part.position} steps into the next"


class Sums(Protocol):
    """What the running epoch has summed up so far."""

    position: int
    seen: int
    correct: int
    loss_sum: float
    seconds: float


class Reporter:
    """Progress of ``epochs`` epochs of ``steps`` steps; ``quiet`` keeps silent."""

    def __init__(self, epochs: int, steps: int, done: int = 0, quiet: bool = False) -> None:
        self.epochs, self.steps, self.quiet = epochs, steps, quiet
        self.done = done
        self.live = not quiet and sys.stderr.isatty()
        self._progress: Any = None
        self._task: Any = None
        self._moments: deque[float] = deque(maxlen=max(2, 4 * steps))  # when the latest steps ended

    def say(self, text: str) -> None:
        """One line that stays."""
        if self._progress is not None:
            self._progress.console.print(text, highlight=False, markup=False, soft_wrap=True)
        elif not self.quiet:
            sys.stderr.write(text + "\n")
            sys.stderr.flush()

    def __enter__(self) -> Self:
        if self.live:
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn
            from rich.table import Column

            text = TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True))
            console = Console(stderr=True)
            columns = (BarColumn(bar_width=min(20, console.width - 66)), text) if console.width >= 76 else (text,)
            self._progress = Progress(*columns, console=console, transient=True)
            self._progress.start()
            total = self.epochs * self.steps
            self._task = self._progress.add_task("first step", total=total, completed=self.done)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def step(self, epoch: int, part: Sums) -> None:
        """After each training step: the running means of its epoch."""
        self.done += 1
        self._moments.append(time.perf_counter())
        if self._progress is None or not part.seen:  # on a GPU the first figures come a few steps later
            return
        facts = (
            f"epoch {epoch}/{self.epochs}",
            f"loss {part.loss_sum / part.seen:.3f}",
            f"{100 * part.correct / part.seen:.1f} %",
            f"left {self.left()}",
            f"{part.seen / part.seconds:,.0f} images/s",
        )
        self._progress.update(self._task, completed=self.done, description="  ".join(facts))

    def left(self) -> str:
        """Time to go at the pace of the latest epochs; the first step, which may compile kernels, does not count."""
        count = len(self._moments) - 1
        if count < 1:
            return "?"
        pace = (self._moments[-1] - self._moments[0]) / count
        return duration(pace * (self.epochs * self.steps - self.done))

    def epoch(self, row: dict[str, float], best: bool) -> None:
        """After each epoch: one line of its metrics; a star marks the best on validation so far."""
        line = (
            f"epoch {row['epoch']:>{len(str(self.epochs))}.0f}/{self.epochs}  loss {row['train_loss']:.4f}  "
            f"train {100 * row['train_accuracy']:6.2f} %  validation {100 * row['val_accuracy']:6.2f} %"
        )
        more = f"{' *' if best else '  '}  {row['images_per_s']:,.0f} images/s  left {self.left()}"
        self.say(line + (" *" if best else "") if self.live else line + more)

    def stopping(self) -> None:
        """Answer Ctrl-C at once; called from a signal handler, so nothing here waits for a lock of another thread."""
        if not self.quiet:
            # not sys.stderr.write: the signal may have come in the middle of one
            os.write(2, b"\nstopping after this step, to save it (Ctrl-C again: at once)\n")
