"""Datasets by name."""

import difflib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from minicnn.data.dataset import Dataset
from minicnn.data.digit_addition import digit_addition, distorted_digits
from minicnn.data.digits import digits
from minicnn.data.shapes import shapes
from minicnn.errors import DataError

_DATASETS: dict[str, Callable[..., Dataset]] = {
    "digit_addition": digit_addition,
    "digits": digits,
    "distorted_digits": distorted_digits,
    "shapes": shapes,
}


def names() -> list[str]:
    """Return the names that `load` knows."""
    return sorted(_DATASETS)


def load(name: str | Path, split: str = "train", **options: Any) -> Dataset:
    """Return the ``"train"``, ``"val"`` or ``"test"`` split of a registered dataset, e.g. ``load("digits", size=32)``.

    **Raises** DataError for an unknown name, split or option, and for a folder.
    """
    if (
        isinstance(name, Path)
        or any(mark in name for mark in "/\\.~")
        or (name not in _DATASETS and Path(name).exists())
    ):
        raise DataError(_folder_problem(Path(name).expanduser()))
    if name not in _DATASETS:
        near = difflib.get_close_matches(name.lower(), _DATASETS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise DataError(f"data.load: there is no dataset {name!r}; available: {', '.join(names())}{hint}")
    make = _DATASETS[name]
    accepted = [option for option in inspect.signature(make).parameters if option != "split"]
    unknown = next((option for option in options if option not in accepted), None)
    if unknown is not None:
        raise DataError(f"data.load: dataset {name!r} has no option {unknown!r}; it takes {', '.join(accepted)}")
    return make(split=split, **options)


def _folder_problem(path: Path) -> str:
    """Say why ``path`` cannot be a dataset."""
    listed = f"registered datasets are {', '.join(names())}"
    if not path.exists():
        return f"data.load: the folder {str(path)!r} does not exist; check the path, or use a name: {listed}"
    if not path.is_dir():
        return f"data.load: {str(path)!r} is a file, expected a folder of images or a name; {listed}"
    if not any(path.iterdir()):
        return f"data.load: the folder {str(path)!r} is empty, expected one subfolder of images a class; {listed}"
    return (
        f"data.load: reading the folder {str(path)!r} is not supported in this version; wrap your arrays in "
        f"minicnn.data.ArrayDataset(images, labels, classes); {listed}"
    )
