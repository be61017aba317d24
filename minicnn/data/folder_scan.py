"""What a folder of pictures holds: classes, files, parts. Names only: no picture is opened here."""

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from minicnn.data.pictures import SUFFIXES, shown
from minicnn.errors import DataError

PARTS = ("train", "val", "test")
OTHER_NAMES = {"training": "train", "valid": "val", "validation": "val", "testing": "test"}
PASSED_OVER = {"__MACOSX", "@eaDir"}  # what other programs leave behind


class Entry(NamedTuple):
    """A picture file: its path below the folder, its class, and its part where the folder says so."""

    file: str  # with slashes on every machine
    label: int
    part: str | None = None


@dataclass
class Listing:
    """What `scan` found."""

    root: Path
    classes: tuple[str, ...]
    homes: tuple[str, ...]  # the folder of each class, that of its training pictures, below the root
    entries: list[Entry] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)  # file, why it cannot be read
    others: list[str] = field(default_factory=list)  # files that are no pictures by their names
    notes: list[str] = field(default_factory=list)
    missing: tuple[str, ...] = PARTS  # parts that are to be cut out of what is there


def scan(folder: Path) -> Listing:
    """List the pictures of a folder: ``train``, ``val`` and ``test`` with a folder a class in each, or class folders.

    Hidden files are passed over; links to folders and links that lead out of the folder are not followed.
    **Raises** DataError when there are no two classes, or the parts do not fit.
    """
    root = folder.resolve()
    try:
        top = _folders(root)
        parts = {OTHER_NAMES.get(name.lower(), name.lower()): path for name, path in top.items()}
        if "train" in parts and _folders(parts["train"]):
            return _scan_parts(root, {part: parts[part] for part in PARTS if part in parts}, top)
        return _scan_classes(root, top)
    except OSError as error:
        raise DataError(
            f"data: {shown(error.filename or root)} cannot be listed ({error.strerror or error})"
        ) from error


def _scan_classes(root: Path, top: Mapping[str, Path]) -> Listing:
    if len(top) < 2:
        raise DataError(_too_few_classes(root, top))
    listing = Listing(root, tuple(top), tuple(top))
    for label, path in enumerate(top.values()):
        _collect(listing, path, label, None)
    _finish(listing)
    return listing


def _scan_parts(root: Path, parts: Mapping[str, Path], top: Mapping[str, Path]) -> Listing:
    classes = _folders(parts["train"])
    if len(classes) < 2:
        raise DataError(_too_few_classes(parts["train"], classes))
    homes = tuple(path.relative_to(root).as_posix() for path in classes.values())
    listing = Listing(root, tuple(classes), homes, missing=tuple(part for part in PARTS if part not in parts))
    for part, path in parts.items():
        for name, folder in _folders(path).items():
            if name not in classes:
                raise DataError(
                    f"data: {shown(folder)} is a class that {shown(parts['train'].name)}/ lacks; "
                    "every part has the classes of the training part"
                )
            _collect(listing, folder, listing.classes.index(name), part)
    outside = [shown(name) for name, path in top.items() if path not in parts.values()]
    if outside:
        listing.notes.append(f"folders beside the parts are not read: {', '.join(outside[:3])}")
    _finish(listing)
    return listing


def _folders(path: Path) -> dict[str, Path]:
    """The folders in a folder that may be classes, by name, sorted."""
    found = (entry for entry in os.scandir(path) if entry.is_dir(follow_symlinks=False))
    names = sorted(entry.name for entry in found if not entry.name.startswith(".") and entry.name not in PASSED_OVER)
    return {name: path / name for name in names}


def _too_few_classes(root: Path, classes: Mapping[str, Path]) -> str:
    if not classes:
        pictures = any(is_picture(path.name) for path in root.iterdir())
        found = "pictures, but no folder of a class" if pictures else "no folder of pictures"
        return f"data: the folder {shown(root)} has {found}; expected two or more folders, each named after its class"
    ((name, path),) = classes.items()
    inner = _folders(path)
    hint = f"; did you mean {shown(path)}?" if len(inner) > 1 else ""
    return f"data: the folder {shown(root)} has one class, '{shown(name)}'; expected two or more{hint}"


def is_picture(name: str) -> bool:
    """Say whether a file's name is that of a picture."""
    return Path(name).suffix.lower() in SUFFIXES and not name.startswith(".")


def _collect(listing: Listing, folder: Path, label: int, part: str | None) -> None:
    """Add the files of a class, at any depth."""
    for path in _walk(listing, folder):
        file = path.relative_to(listing.root).as_posix()
        if not is_picture(path.name):
            listing.others.append(file)
            continue
        problem = _not_readable(path, listing.root)
        if problem:
            listing.problems.append((file, problem))
        else:
            listing.entries.append(Entry(file, label, part))


def _walk(listing: Listing, folder: Path) -> Iterator[Path]:
    """Yield the files below a folder, in the order of their names."""
    for path, folders, files in os.walk(folder, onerror=_raise):
        here = Path(path)
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in PASSED_OVER)
        for name in folders:
            if (here / name).is_symlink():  # os.walk does not go into it
                linked = (here / name).relative_to(listing.root).as_posix()
                listing.problems.append((linked, "a link to a folder, which is not followed"))
        yield from (here / name for name in sorted(files) if not name.startswith("."))


def _raise(error: OSError) -> None:
    raise error


def _not_readable(path: Path, root: Path) -> str:
    """Why a path must not be opened, or an empty text."""
    try:
        if path.is_symlink() and not path.resolve(strict=True).is_relative_to(root):
            return "a link that leads out of the folder"
        mode = path.stat().st_mode
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle
        return f"cannot be reached ({getattr(error, 'strerror', None) or error})"
    return "" if stat.S_ISREG(mode) else "a device, pipe or socket"  # opening a pipe would wait for ever


def _finish(listing: Listing) -> None:
    """Note and refuse what only shows once everything is listed."""
    lower: dict[str, str] = {}
    for name in listing.classes:
        twin = lower.setdefault(name.lower(), name)
        if twin != name:
            listing.notes.append(f"the classes '{shown(twin)}' and '{shown(name)}' differ in upper and lower case only")


def divide(entries: Sequence[Entry], missing: Sequence[str], classes: Sequence[str]) -> dict[str, list[Entry]]:
    """Give every picture its part: its folder's, or one chosen by a hash of its class and name.

    Each class is divided by itself: 60 % train, 20 % val, 20 % test where no part has a folder, or only train has; a
    fifth of the training pictures where one is missing. Other pictures never change a picture's part, except in a
    class so small that a part of it would be empty.
    """
    given = [entry for entry in entries if entry.part in ("val", "test")]
    parts = {part: [entry for entry in given if entry.part == part] for part in PARTS}
    targets = ("train", *(part for part in missing if part != "train"))
    shares = {3: (0.6, 0.8), 2: (0.8,), 1: ()}[len(targets)]
    open_: list[list[tuple[float, Entry]]] = [[] for _ in classes]
    for entry in entries:
        if entry.part in (None, "train"):
            open_[entry.label].append((place(classes[entry.label], entry.file), entry))
    for name, own in zip(classes, open_, strict=True):
        if len(own) < len(targets):
            raise DataError(
                f"data: the class '{shown(name)}' has {len(own)} readable picture{'s' * (len(own) != 1)}, "
                f"expected at least {len(targets)}: one each for {', '.join(targets)}; "
                "fix: add pictures, or take the folder away"
            )
        own.sort()
        cuts = [0, *_cuts([at for at, _ in own], shares), len(own)]
        for part, start, stop in zip(targets, cuts[:-1], cuts[1:], strict=True):
            parts[part] += (entry for _, entry in own[start:stop])
    empty = [part for part in PARTS if not parts[part]]
    if empty:
        raise DataError(f"data: the folder {empty[0]}/ has no readable pictures; put some in, or take it away")
    return {part: sorted(found, key=lambda entry: (entry.label, entry.file)) for part, found in parts.items()}


def _cuts(places: Sequence[float], shares: Sequence[float]) -> list[int]:
    """Where sorted places are cut at ``shares``, moved as little as leaves no piece empty."""
    cuts: list[int] = []
    for i, share in enumerate(shares):
        low = (cuts[-1] if cuts else 0) + 1
        high = len(places) - (len(shares) - i)
        cuts.append(min(max(sum(place < share for place in places), low), high))
    return cuts


def place(name: str, file: str) -> float:
    """A number in [0, 1) that a picture's class and name fix, on every machine and for ever."""
    text = f"{name}/{file.rsplit('/', 1)[-1]}".encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.sha256(text).digest()[:6], "big") / 2**48
