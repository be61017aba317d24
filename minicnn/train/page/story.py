"""What a run's page tells, as plain data: gathered from a trainer, or from the folder of a finished run."""

import json
import math
import platform
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import minicnn
from minicnn.data import Dataset
from minicnn.errors import ArgumentError
from minicnn.files import write_atomically
from minicnn.kernels.memory import readable
from minicnn.train.args import TrainArgs
from minicnn.train.evaluate import Evaluation, evaluate
from minicnn.train.page.pictures import data_uri
from minicnn.train.page.scores import worst_mistakes

MOST_MISTAKES = 24
FACTS = "facts.json"  # of a run folder: what cannot be found out later
PARTS = {"train": "training", "val": "validation", "test": "test images"}


class Mistake(NamedTuple):
    """A test image that was taken for another class."""

    number: int  # in the test part
    true: int
    answer: int
    confidence: float  # the probability of the answer
    probability: float  # the probability of the true class
    picture: str  # a data: URI


@dataclass(frozen=True)
class Story:
    """A run. ``test`` is None before its end; ``summary`` and ``facts`` are text for people, ``rows`` one an epoch."""

    args: TrainArgs
    folder: Path
    rows: Sequence[dict[str, float]]
    classes: Sequence[str]
    shape: tuple[int, ...]  # of an image, (C, H, W)
    summary: Sequence[str]
    facts: dict[str, str]
    test: Evaluation | None = None
    mistakes: Sequence[Mistake] = ()

    @property
    def title(self) -> str:
        return f"{self.args.model} on {self.args.data}"

    @property
    def repeat(self) -> str:
        """The command that trains the same again, into a new folder."""
        words = ["minicnn", "train"]
        for field in fields(self.args):
            value, flag = getattr(self.args, field.name), field.name.replace("_", "-")
            if isinstance(value, bool):
                words += [f"--{flag}" if value else f"--no-{flag}"] if value != field.default else []
            elif value != field.default or field.name in ("model", "data", "epochs", "seed"):
                words += [f"--{flag}", str(value)]
        return shlex.join(words)

    @property
    def go_on(self) -> str:
        return shlex.join(["minicnn", "train", "--resume", str(self.folder)])


def of_folder(folder: Path) -> Story:
    """The story of the run in ``folder``; a finished one is evaluated again.

    **Raises** ArgumentError for what is no run folder or was edited wrongly, CheckpointError when ``best`` cannot be
    read.
    """
    from minicnn.train.checkpoint import load_newest
    from minicnn.train.recipe import build_data, build_model
    from minicnn.train.run import RunFolder
    from minicnn.train.state import load_weights

    run = RunFolder.open(folder)
    args = TrainArgs.read(run.args)
    rows, data = run.read_metrics(), build_data(args)
    model, test = build_model(args, data["test"]), None
    if len(rows) >= args.epochs:
        load_weights(model, load_newest(run.best)[0].arrays)
        test = evaluate(model, data["test"])
    return tell(args, run.folder, rows, data, model_facts(model, data) | read_facts(run.folder), test)


def tell(
    args: TrainArgs,
    folder: Path,
    rows: Sequence[dict[str, float]],
    data: dict[str, Dataset],
    facts: dict[str, str],
    test: Evaluation | None,
) -> Story:
    """The story of the run with ``args`` in ``folder``; ``facts`` are its model's and, where known, its machine's."""
    counted = ", ".join(f"{len(data[part]):,} {name}" for part, name in PARTS.items())
    summary = (
        f"{facts['parameters']} parameters",
        f"{facts['multiply-adds an image']} multiply-adds an image",
        counted,
    )
    mistakes = [] if test is None else find_mistakes(data["test"], test)
    return Story(args, folder, rows, data["test"].classes, data["test"].shape, summary, facts, test, mistakes)


def find_mistakes(dataset: Dataset, test: Evaluation) -> list[Mistake]:
    """The wrong answers of the highest loss, with their pictures."""
    s = test.samples
    return [
        Mistake(
            number=int(k),
            true=int(s.labels[k]),
            answer=int(s.answers[k]),
            confidence=float(s.confidence[k]),
            probability=math.exp(-float(s.losses[k])),
            picture=data_uri(dataset, int(k)),
        )
        for k in worst_mistakes(s, MOST_MISTAKES)
    ]


def model_facts(model: Any, data: dict[str, Dataset]) -> dict[str, str]:
    """What the model and the data are, whatever ran them."""
    shape = data["test"].shape
    return {
        "parameters": f"{sum(p.size for p in model.parameters()):,}",
        "multiply-adds an image": f"{minicnn.summary(model, shape).macs:,}",
        "images": " x ".join(map(str, shape)),
        "classes": f"{len(data['test'].classes):,}",
    }


def run_facts(device: str) -> dict[str, str]:
    """The machine, the versions and the memory of this process, as far as they can be told."""
    import numba

    facts = {
        "peak memory": _peak_memory(),
        "device": device,
        "processor": _processor(),
        "threads": str(numba.get_num_threads()),
        "system": platform.platform(terse=True),
        "minicnn": minicnn.__version__,
        "Python": platform.python_version(),
        "NumPy": np.__version__,
        "Numba": numba.__version__,
    }
    return {name: text for name, text in facts.items() if text}


def read_facts(folder: Path) -> dict[str, str]:
    """The facts that the run in ``folder`` kept; of one that did not finish, or was written before, none.

    **Raises** ArgumentError for a file that is no such table.
    """
    kept = folder / FACTS
    if not kept.is_file():
        return {}
    try:
        return {str(name): str(text) for name, text in json.loads(kept.read_text(encoding="utf-8")).items()}
    except (ValueError, AttributeError, RecursionError) as error:
        raise ArgumentError(f"{kept}: is no table in JSON ({error}); fix: correct it, or remove it") from error


def write_facts(folder: Path, facts: dict[str, str]) -> None:
    """Keep what ``run_facts`` told. **Raises** OSError."""
    write_atomically(folder / FACTS, [(json.dumps(facts, indent=1) + "\n").encode()])


def _peak_memory() -> str:
    """The most this process ever held, where the system says so (Linux)."""
    status = Path("/proc/self/status")
    lines = status.read_text(encoding="utf-8").splitlines() if status.is_file() else []
    found = [int(line.split()[1]) for line in lines if line.startswith("VmHWM")]
    return readable(1024 * found[0]) if found else ""


def _processor() -> str:
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text(encoding="utf-8").splitlines() if facts.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
