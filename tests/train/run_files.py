"""What two runs have in common: everything they wrote, but for the clock."""

import csv
from pathlib import Path
from typing import Any

import numpy as np

from minicnn.train import RunFolder, load_checkpoint

CLOCK = ("seconds", "images_per_s", "waited")


def everything(folder: Path) -> dict[str, Any]:
    """Every number that the files of a run hold, but for what was measured with a clock, by file and name."""
    run = RunFolder(folder)
    found: dict[str, Any] = {}
    for path in (run.best, run.last):
        arrays, state = load_checkpoint(path)
        for row in state["rows"]:
            for name in CLOCK:
                del row[name]
        for name in ("seconds", "waited"):
            state.get("part", {}).pop(name, None)
        del state["args"]["workers"], state["args"]["checkpoint_every"]
        found |= {f"{path.name} {name}": value for name, value in (arrays | state).items()}
    with run.metrics.open(encoding="utf-8", newline="") as file:
        found["metrics"] = [{k: v for k, v in row.items() if k not in CLOCK} for row in csv.DictReader(file)]
    return found


def differences(found: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    """The names of what differs in a single bit."""
    assert found.keys() == expected.keys()
    return [name for name, value in expected.items() if not _same(found[name], value)]


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray):
        return bool(one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes())
    return bool(one == other)
