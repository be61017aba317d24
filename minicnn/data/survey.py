"""One look at every picture of a folder: which can be read, and their sums; remembered until a file changes."""

import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from minicnn.data.download import cache_folder
from minicnn.data.pictures import read_picture
from minicnn.errors import DataError
from minicnn.files import write_atomically

MANY = 2000  # pictures that take some seconds: time to say so


class Seen(NamedTuple):
    """What one picture showed at the size it is used in: sums over the pixels of each channel, or what is wrong."""

    sums: tuple[int, ...] = ()  # one a channel: 1 for grey, 3 for colour
    squares: tuple[int, ...] = ()
    problem: str = ""


def survey(root: Path, files: Sequence[str], size: int, channels: int | None) -> dict[str, Seen]:
    """Decode every picture at ``size``, in threads, or remember what was seen of an unchanged file.

    What was seen is kept in the cache folder, never beside the pictures; where it cannot be kept, nothing is.
    """
    memory = _memory(root, size, channels)
    known = _recall(memory)
    stamps = {file: _stamp(root / file) for file in files}
    found = {file: known[file][1] for file in files if file in known and known[file][0] == stamps[file]}
    unseen = [file for file in files if file not in found]
    if unseen:
        if len(unseen) >= MANY:
            sys.stderr.write(f"minicnn: looking at {len(unseen):,} pictures once; remembered in {memory.parent}\n")
        with ThreadPoolExecutor(min(os.cpu_count() or 1, 8), "minicnn-survey") as pool:
            looks = pool.map(lambda file: _look(root / file, size, channels), unseen)
            found |= dict(zip(unseen, looks, strict=True))
        _remember(memory, {file: (stamps[file], found[file]) for file in files})
    return {file: found[file] for file in files}


def _look(path: Path, size: int, channels: int | None) -> Seen:
    try:
        pixels = read_picture(path, size, channels)
    except DataError as error:
        return Seen(problem=str(error).removeprefix(f"{path}: "))
    planes = pixels.reshape(len(pixels), -1).astype("int64")
    return Seen(tuple(planes.sum(axis=1).tolist()), tuple((planes**2).sum(axis=1).tolist()))


def _stamp(path: Path) -> str:
    """What changes when a file does."""
    try:
        facts = path.stat()
    except OSError:
        return ""
    return f"{facts.st_mtime_ns} {facts.st_size}"


def _memory(root: Path, size: int, channels: int | None) -> Path:
    key = f"1\0{root}\0{size}\0{channels}".encode("utf-8", "surrogateescape")
    return cache_folder() / "folders" / f"{hashlib.sha256(key).hexdigest()[:24]}.json"


def _recall(memory: Path) -> dict[str, tuple[str, Seen]]:
    """What was kept; nothing where the file is missing or damaged."""
    try:
        kept: dict[str, Any] = json.loads(memory.read_text(encoding="utf-8"))
        return {
            file: (str(stamp), Seen(_whole(sums), _whole(squares), str(problem)))
            for file, (stamp, sums, squares, problem) in kept.items()
            if len(sums) == len(squares) and (len(sums) in (1, 3) or problem)
        }
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return {}


def _whole(numbers: list[int]) -> tuple[int, ...]:
    return tuple(int(number) for number in numbers)


def _remember(memory: Path, seen: dict[str, tuple[str, Seen]]) -> None:
    text = json.dumps({file: (stamp, *facts) for file, (stamp, facts) in seen.items()})
    with contextlib.suppress(OSError):
        memory.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(memory, [text.encode()])
