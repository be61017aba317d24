"""A run folder: ``args.toml``, ``metrics.csv``, ``best`` and ``last`` checkpoints, pictures, the page."""

import contextlib
import csv
import io
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from minicnn.errors import ArgumentError, CheckpointError
from minicnn.files import is_temporary, write_atomically
from minicnn.train.lock import is_lock, locked
from minicnn.train.plots import draw_confusion, draw_curves

COLUMNS = (
    *("epoch", "lr", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "images_per_s", "seconds"),
    "waited",  # of the seconds, for batches
)
LATER: dict[str, Any] = {"waited": 0.0}  # what the rows of older runs lack


class RunFolder:
    """The files of one run, by name."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.args = self.folder / "args.toml"
        self.metrics = self.folder / "metrics.csv"
        self.steps = self.folder / "steps.csv"
        self.report = self.folder / "report.html"
        self.best = self.folder / "best.safetensors"
        self.last = self.folder / "last.safetensors"
        self.curves = self.folder / "curves.png"
        self.confusion = self.folder / "confusion.png"
        self._made: list[Path] = []  # folders that `create` made, innermost first

    @classmethod
    def create(cls, folder: str | Path | None, model: str, data: str) -> "RunFolder":
        """A new folder; without a name ``runs/<model>-<data>-<number>``. An existing run is never written over."""
        path = Path("runs") / f"{model}-{data}-1" if folder is None else Path(folder)
        if folder is not None and path.exists() and not path.is_dir():  # a device or a pipe is one, too
            raise ArgumentError(f"train: --out {path} is a file; fix: name a folder")
        with _writing(path, ArgumentError, "fix: --out with a folder that you may write to"):
            if folder is not None and path.is_dir() and any(not _is_passing(file) for file in path.iterdir()):
                resumable = f", or --resume {path}" if cls(path).args.is_file() else ""
                raise ArgumentError(f"train: --out {path} is not empty; fix: another folder{resumable}")
            missing = [parent for parent in (path, *path.parents) if not parent.exists()]
            path.parent.mkdir(parents=True, exist_ok=True)
            number = 1
            while True:  # two runs that start together get two folders
                try:
                    path.mkdir(exist_ok=folder is not None)
                    break
                except FileExistsError:  # a name that somebody gave is never exchanged for another
                    if folder is not None:
                        raise
                    number += 1
                    path = path.with_name(f"{model}-{data}-{number}")
        run = cls(path)
        run._made = [path, *(parent for parent in missing if parent in path.parents)] if missing or number > 1 else []
        return run

    @classmethod
    def open(cls, folder: str | Path) -> "RunFolder":
        """An existing run."""
        run = cls(folder)
        if not run.args.is_file():
            raise ArgumentError(f"{run.folder} is not a run folder: it has no args.toml")
        return run

    def discard(self) -> None:
        """Take away the folders that `create` made, when nothing was put into them."""
        for folder in self._made:
            with contextlib.suppress(OSError):  # somebody put a file into it: it stays
                folder.rmdir()

    def write_metrics(self, rows: list[dict[str, float]]) -> None:
        """All epochs so far, one line each (a resumed run keeps exactly the epochs its checkpoint knew)."""
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: _short(row[name]) for name in COLUMNS} for row in rows)
        with self.writing(self.metrics):
            write_atomically(self.metrics, [text.getvalue().encode()])

    def read_metrics(self) -> list[dict[str, float]]:
        """The epochs of metrics.csv, none without such a file. **Raises** ArgumentError for what is no number."""
        if not self.metrics.is_file():
            return []
        with self.metrics.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            try:
                rows = [{name: float((LATER | row)[name]) for name in COLUMNS} for row in reader]
            except (ValueError, KeyError, TypeError, csv.Error) as error:
                raise ArgumentError(
                    f"{self.metrics}: line {reader.line_num} does not have a number each of {', '.join(COLUMNS)} "
                    f"({error}); fix: correct it, or remove the file (--resume writes it anew)"
                ) from error
        return rows

    def draw(self, rows: list[dict[str, float]], confusion: Any, classes: Any, title: str, result: str) -> None:
        """``curves.png`` and ``confusion.png``."""
        if rows:
            with self.writing(self.curves):
                draw_curves(rows, self.curves, title)
        with self.writing(self.confusion):
            draw_confusion(confusion, classes, self.confusion, title, result)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Inside, this process alone trains in the folder. **Raises** ArgumentError naming the one that does."""
        with ExitStack() as stack:
            with self.writing(self.folder):
                stack.enter_context(locked(self.folder))
            yield

    @contextmanager
    def writing(self, path: Path) -> Iterator[None]:
        """Inside, a full disk or a folder without permission becomes an error that says how to go on."""
        with _writing(path, CheckpointError, f"fix: mend that, then minicnn train --resume {self.folder}"):
            yield


@contextmanager
def _writing(path: Path, kind: type[ArgumentError] | type[CheckpointError], fix: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise kind(f"train: {path} cannot be written ({error.strerror or error}); {fix}") from error


def _is_passing(file: Path) -> bool:
    """Whether a file is the lock of a run or what it has not finished writing."""
    return is_lock(file) or is_temporary(file)


def _short(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else f"{value:.6g}"
