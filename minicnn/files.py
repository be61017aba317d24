"""Files written so that whoever reads finds the old file or the new one, and never half of one.

A temporary file beside the target, fsync, a rename, fsync of the folder: at any moment at which the process or the
machine may die, the name stands for a complete file. What a dead process leaves behind is a temporary file, which the
next start sweeps away.
"""

import contextlib
import errno
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

PIECE = 1 << 20  # bytes a write: a large file needs no second copy of itself
TEMPORARY = re.compile(r"\..+\.\d+\.tmp")


def write_atomically(path: Path, pieces: Iterable[Any], keep: Path | None = None) -> None:
    """Write the buffers ``pieces`` to ``path``; what was there before goes to ``keep``, if that is named.

    **Raises** OSError naming ``path``, with the old file at ``path`` or ``keep``, and no temporary file left.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        _write(temporary, pieces)
        if keep is not None and path.exists():
            os.replace(path, keep)  # noqa: PTH105  (same call as below: atomic, overwrites on Windows)
        os.replace(temporary, path)  # noqa: PTH105
        _sync_folder(path.parent)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = str(path)  # nobody knows the temporary one
        raise


def _write(path: Path, pieces: Iterable[Any]) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0), 0o666)
    try:
        for piece in pieces:
            rest = memoryview(piece)
            while len(rest):
                rest = rest[os.write(handle, rest[:PIECE]) :]  # a nearly full disk takes a part
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync_folder(folder: Path) -> None:
    """Make the renames durable; Windows has no such call and needs none, and some network folders refuse it."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


def is_temporary(path: Path) -> bool:
    """Whether ``path`` is named as `write_atomically` names what it has not finished."""
    return TEMPORARY.fullmatch(path.name) is not None


def sweep(folder: Path) -> None:
    """Remove the temporary files that a process left which died while writing; nobody else may be writing."""
    for path in folder.iterdir():
        if is_temporary(path):
            with contextlib.suppress(OSError):  # a folder that cannot be written: the next save says so
                path.unlink()
