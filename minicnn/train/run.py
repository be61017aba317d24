"""A run folder: ``args.toml``, ``metrics.csv``, ``best`` and ``last`` checkpoints, ``curves.png``, ``confusion.png``."""

import csv
from pathlib import Path
from typing import Any

from minicnn.errors import ArgumentError
from minicnn.train.plots import draw_confusion, draw_curves

COLUMNS = ("epoch", "lr", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "images_per_s", "seconds")


class RunFolder:
    """The files of one run, by name."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.args = self.folder / "args.toml"
        self.metrics = self.folder / "metrics.csv"
        self.best = self.folder / "best.safetensors"
        self.last = self.folder / "last.safetensors"
        self.curves = self.folder / "curves.png"
        self.confusion = self.folder / "confusion.png"

    @classmethod
    def create(cls, folder: str | Path | None, model: str, data: str) -> "RunFolder":
        """A new folder; without a name ``runs/<model>-<data>-<number>``. An existing run is never written over."""
        if folder is None:
            number = 1
            while (path := Path("runs") / f"{model}-{data}-{number}").exists():
                number += 1
        else:
            path = Path(folder)
            if path.is_file() or (path.is_dir() and any(path.iterdir())):
                raise ArgumentError(f"train: --out {path} is not empty; fix: another folder, or --resume {path}")
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ArgumentError(
                f"train: cannot make the folder {path} ({error.strerror}); fix: --out FOLDER"
            ) from error
        return cls(path)

    @classmethod
    def open(cls, folder: str | Path) -> "RunFolder":
        """An existing run."""
        run = cls(folder)
        if not run.args.is_file():
            raise ArgumentError(f"{run.folder} is not a run folder: it has no args.toml")
        return run

    def write_metrics(self, rows: list[dict[str, float]]) -> None:
        """All epochs so far, one line each (a resumed run keeps exactly the epochs its checkpoint knew)."""
        with self.metrics.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows({name: _short(row[name]) for name in COLUMNS} for row in rows)

    def draw(self, rows: list[dict[str, float]], confusion: Any, classes: Any, title: str, result: str) -> None:
        """``curves.png`` and ``confusion.png``."""
        if rows:
            draw_curves(rows, self.curves, title)
        draw_confusion(confusion, classes, self.confusion, f"{title}: {result}")


def _short(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else f"{value:.6g}"
