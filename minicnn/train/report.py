"""What a training run tells its user, on stderr: a live line in a terminal, one line an epoch elsewhere."""

import sys
import time
from types import TracebackType
from typing import Any, Self


def duration(seconds: float) -> str:
    """``75`` -> ``1:15``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class Reporter:
    """Progress of ``epochs`` epochs of ``steps`` steps; ``quiet`` keeps silent (but for warnings)."""

    def __init__(self, epochs: int, steps: int, done: int = 0, quiet: bool = False) -> None:
        self.epochs, self.steps, self.quiet = epochs, steps, quiet
        self.done = done  # steps made before this start
        self.live = not quiet and sys.stderr.isatty()
        self.started = time.perf_counter()
        self._progress: Any = None
        self._task: Any = None

    def say(self, text: str) -> None:
        """One line that stays."""
        if self._progress is not None:
            self._progress.console.print(text, highlight=False)
        elif not self.quiet:
            sys.stderr.write(text + "\n")
            sys.stderr.flush()

    def __enter__(self) -> Self:
        if self.live:
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

            self._progress = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                TextColumn("{task.percentage:>3.0f} %"),
                TextColumn("{task.fields[facts]}"),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(elapsed_when_finished=False),
                console=Console(stderr=True),
                transient=True,
            )
            self._progress.start()
            total = self.epochs * self.steps
            self._task = self._progress.add_task("training", total=total, completed=self.done, facts="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def step(self, epoch: int, loss: float, accuracy: float, images_per_s: float) -> None:
        """After each training step: running means of the epoch."""
        if self._progress is not None:
            facts = f"loss {loss:.3f}  accuracy {100 * accuracy:5.2f} %  {images_per_s:,.0f} images/s"
            self._progress.update(self._task, advance=1, description=f"epoch {epoch}/{self.epochs}", facts=facts)

    def epoch(self, row: dict[str, float], best: bool) -> None:
        """After each epoch: one line of its metrics."""
        left = (time.perf_counter() - self.started) / max(row["epoch"] * self.steps - self.done, 1)
        remaining = left * (self.epochs - row["epoch"]) * self.steps
        self.say(
            f"epoch {row['epoch']:>3.0f}/{self.epochs}  loss {row['train_loss']:.4f}  "
            f"train {100 * row['train_accuracy']:6.2f} %  validation {100 * row['val_accuracy']:6.2f} %"
            f"{' *' if best else '  '}  {row['images_per_s']:,.0f} images/s  left {duration(remaining)}"
        )
