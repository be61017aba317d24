"""Datasets by name, and folders of pictures by path."""

import difflib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from minicnn.data.cifar import cifar10, cifar100
from minicnn.data.dataset import Dataset
from minicnn.data.digit_addition import digit_addition, distorted_digits
from minicnn.data.digits import digits
from minicnn.data.folder import ImageFolder
from minicnn.data.idx import fashion_mnist, mnist
from minicnn.data.shapes import shapes
from minicnn.data.svhn import svhn
from minicnn.errors import DataError

_DATASETS: dict[str, Callable[..., Dataset]] = {
    "cifar10": cifar10,
    "cifar100": cifar100,
    "digit_addition": digit_addition,
    "digits": digits,
    "distorted_digits": distorted_digits,
    "fashion_mnist": fashion_mnist,
    "mnist": mnist,
    "shapes": shapes,
    "svhn": svhn,
}


def names() -> list[str]:
    """Return the names that `load` knows."""
    return sorted(_DATASETS)


def load(name: str | Path, split: str = "train", **options: Any) -> Dataset:
    """Return the ``"train"``, ``"val"`` or ``"test"`` split of a registered dataset, e.g. ``load("digits", size=32)``.

    A path, e.g. ``load("./pets", size=224)``, is a folder of pictures (`ImageFolder`); a registered name comes first.
    **Raises** DataError for an unknown name, split or option, and for a folder that is none.
    """
    if not isinstance(name, (str, Path)):
        raise DataError(f"data.load: name is a {type(name).__name__}, expected one of {', '.join(names())}, or a path")
    if is_path(name):
        path = Path(name).expanduser()
        if not path.is_dir():
            raise DataError(_no_folder(path))
        _check_options("a folder", ImageFolder, "folder", options)
        return ImageFolder(path, split, **options)
    if name not in _DATASETS:
        near = difflib.get_close_matches(str(name).lower(), [*_DATASETS, *_folders(Path())], n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise DataError(
            f"data.load: there is no dataset and no folder {name!r}; available: {', '.join(names())}, "
            f"or the path of a folder of pictures{hint}"
        )
    make = _DATASETS[str(name)]
    _check_options(f"dataset {name!r}", make, "split", options)
    return make(split=split, **options)


def is_path(name: str | Path) -> bool:
    """Say whether ``name`` is taken for the path of a folder, not the name of a dataset."""
    if isinstance(name, Path) or any(mark in name for mark in "/\\.~"):
        return True
    return name not in _DATASETS and Path(name).exists()


def _check_options(what: str, make: Callable[..., Dataset], first: str, options: dict[str, Any]) -> None:
    """Raise DataError for an option that ``make`` does not take."""
    accepted = [option for option in inspect.signature(make).parameters if option not in ("split", first)]
    unknown = next((option for option in options if option not in accepted), None)
    if unknown is not None:
        raise DataError(f"data.load: {what} has no option {unknown!r}; it takes {', '.join(accepted)}")


def _folders(parent: Path) -> list[str]:
    try:
        return [path.name for path in parent.iterdir() if path.is_dir()]
    except OSError:
        return []


def _no_folder(path: Path) -> str:
    """Say why ``path`` cannot be a dataset."""
    listed = f"a folder of pictures or one of {', '.join(names())}"
    if path.exists():
        return f"data.load: {str(path)!r} is a file, expected {listed}; an archive must be unpacked first"
    near = difflib.get_close_matches(path.name, _folders(path.parent), n=1)
    hint = f"; did you mean {str(path.parent / near[0])!r}?" if near else ""
    return f"data.load: the folder {str(path)!r} does not exist, expected {listed}{hint}"
