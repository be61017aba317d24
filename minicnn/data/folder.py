"""Your own pictures: a folder with a folder a class in it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from minicnn.data.byte_images import check_size, check_split, moments
from minicnn.data.dataset import Dataset, Images, Labels
from minicnn.data.folder_scan import PARTS, Entry, Listing, divide, scan
from minicnn.data.pictures import read_picture, shown
from minicnn.data.survey import Seen, survey
from minicnn.errors import DataError

SHOWN = 3  # names of bad files in one message


class ImageFolder(Dataset):
    """One part of a folder of pictures: JPEG, PNG, BMP, GIF, WebP, PPM or TIFF files in a folder a class.

    **Shapes**: images (N, C, size, size); C is 1 when every picture is grey and 3 otherwise, unless ``channels`` says.
    A picture is turned as its EXIF data say, its shorter side is scaled to ``size``, and the middle is cut out; it is
    decoded when its batch is asked for. **Math**: ``image = (pixel / 255 - mean) / std``, a channel each, of the
    training part.

    The parts are the folders ``train``, ``val`` and ``test`` where they exist. Otherwise each class is divided by a
    hash of the pictures' names, 60/20/20: which part a picture belongs to does not change when others are added.

    When the folder is opened, every picture is decoded once, to find those that cannot be read and the mean; that is
    remembered until a file changes. With ``on_error="skip"`` they are left out: ``skipped`` has each with its reason,
    ``notes`` what a person should know. With ``"raise"`` they are an error.
    **Raises** DataError, naming class and file.
    """

    def __init__(
        self,
        folder: str | Path,
        split: str = "train",
        size: int = 224,
        channels: int | None = None,
        on_error: str = "skip",
    ) -> None:
        _check_options(split, size, channels, on_error)
        listing = scan(Path(folder).expanduser())
        seen = survey(listing.root, [entry.file for entry in listing.entries], size, channels)
        problems = sorted(
            [*listing.problems, *((file, facts.problem) for file, facts in seen.items() if facts.problem)]
        )
        good = [entry for entry in listing.entries if not seen[entry.file].problem]
        _check_problems(listing, good, problems, on_error)
        parts = divide(good, listing.missing, listing.classes)
        count = max(len(seen[entry.file].sums) for entry in good)
        mean, std = _statistics([seen[entry.file] for entry in parts["train"]], count, size)
        name = f"folder {shown(listing.root.name)} {split}"
        super().__init__(name, listing.classes, (count, size, size), mean, std)
        self.root = listing.root
        self.files = tuple(entry.file for entry in parts[split])
        self.skipped = tuple(problems)
        self.notes = (*_notes(listing, parts, problems), _scale(mean, std))
        self._labels: Labels = np.array([entry.label for entry in parts[split]], np.int64)
        self._labels.flags.writeable = False

    def __len__(self) -> int:
        return len(self.files)

    @property
    def labels(self) -> Labels:
        """All labels, (N,), read-only."""
        return self._labels

    def batch(self, indices: NDArray[np.int64]) -> tuple[Images, Labels]:
        """Decode the pictures at ``indices``."""
        channels, size, _ = self.shape
        raw = np.empty((len(indices), *self.shape), np.float32)
        for image, i in zip(raw, indices.tolist(), strict=True):
            np.divide(read_picture(self.root / self.files[i], size, channels), np.float32(255), out=image)
        return self.normalise(raw), self._labels[indices]


def _check_options(split: str, size: int, channels: int | None, on_error: str) -> None:
    check_split("ImageFolder", split)
    check_size("ImageFolder", size)
    if channels not in (None, 1, 3):
        raise DataError(f"ImageFolder: channels must be 1 (grey), 3 (colour) or None (as the files), got {channels!r}")
    if on_error not in ("skip", "raise"):
        raise DataError(f"ImageFolder: on_error must be 'skip' or 'raise', got {on_error!r}")


def _check_problems(listing: Listing, good: list[Entry], problems: list[tuple[str, str]], on_error: str) -> None:
    """Raise DataError for a class without readable pictures, and for any bad file where that is asked for."""
    if problems and on_error == "raise":
        raise DataError(f"data: {shown(listing.root)}: {_summary(listing, problems)}; fix: mend or remove them")
    readable = {entry.label for entry in good if entry.part in (None, "train")}
    for label, name in enumerate(listing.classes):
        if label in readable:
            continue
        own = [(file, why) for file, why in problems if file.startswith(f"{listing.homes[label]}/")]
        why = "no picture in it can be read" if own else "it has no pictures"
        detail = f": {_listed(own)}" if own else ""
        raise DataError(
            f"data: {shown(listing.root)}: the class '{shown(name)}' is empty: {why}{detail}; "
            "fix: put some in, or take the folder away"
        )


def _summary(listing: Listing, problems: list[tuple[str, str]]) -> str:
    total = len(listing.entries) + len(listing.problems)
    return f"{len(problems):,} of {total:,} pictures cannot be read; {_listed(problems)}"


def _listed(problems: Sequence[tuple[str, str]]) -> str:
    """The first few bad files, each with its reason."""
    first = "; ".join(f"{shown(file)}: {shown(why)}" for file, why in problems[:SHOWN])
    return first if len(problems) <= SHOWN else f"the first {SHOWN}: {first}"


def _statistics(seen: Sequence[Seen], channels: int, size: int) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel; grey pictures among coloured ones count in all three."""
    count = len(seen) * size * size
    pairs = []
    for channel in range(channels):
        total = sum(facts.sums[min(channel, len(facts.sums) - 1)] for facts in seen)
        squares = sum(facts.squares[min(channel, len(facts.squares) - 1)] for facts in seen)
        pairs.append(moments(count, total, squares))
    return [mean for mean, _ in pairs], [std for _, std in pairs]


def _scale(mean: Sequence[float], std: Sequence[float]) -> str:
    """The line that tells mean and standard deviation."""
    means, stds = (" ".join(f"{value:.3f}" for value in values) for values in (mean, std))
    return f"mean {means}, standard deviation {stds} of the training pictures"


def _notes(listing: Listing, parts: Mapping[str, Sequence[Entry]], problems: list[tuple[str, str]]) -> tuple[str, ...]:
    """What a person should know about a folder before training on it, a line each."""
    counts = {part: Counter(entry.label for entry in parts[part]) for part in PARTS}
    rows = [(name, [counts[part][label] for part in PARTS]) for label, name in enumerate(listing.classes)]
    if len(rows) > 8:
        rows.sort(key=lambda row: row[1][0])
        rows = [rows[0], rows[-1]]
    each = ", ".join(f"{shown(name)} {'/'.join(map(str, numbers))}" for name, numbers in rows)
    heading = (
        "classes" if len(rows) == len(listing.classes) else f"{len(listing.classes)} classes, smallest and largest"
    )
    notes = [f"{heading} (training/validation/test): {each}"]
    if 0 < len(listing.missing) < 3:
        notes.append(f"there is no {' and no '.join(listing.missing)} folder: taken from the training pictures")
    for part in ("val", "test"):
        absent = [shown(name) for label, name in enumerate(listing.classes) if not counts[part][label]]
        if absent:
            notes.append(f"no {part} pictures of {', '.join(absent[:SHOWN])}{' and others' * (len(absent) > SHOWN)}")
    notes += listing.notes
    if problems:
        notes.append(f"left out: {_summary(listing, problems)}")
    if listing.others:
        first = ", ".join(map(shown, listing.others[:SHOWN]))
        count = "1 other file is" if len(listing.others) == 1 else f"{len(listing.others):,} other files are"
        notes.append(f"{count} not read: {first}{', ...' * (len(listing.others) > SHOWN)}")
    return tuple(notes)
