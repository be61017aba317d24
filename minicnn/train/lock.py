"""One process a run folder: a lock file with the process's number, which dies with it.

Each process makes a file of its own, ``.training.<number>.lock``, and then looks for others: of two that start at once
at least one sees the other, and none needs to remove a file that may just have become somebody else's.
"""

import contextlib
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from minicnn.errors import ArgumentError

PATTERN = ".training.*.lock"
_held: set[Path] = set()  # by this process


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Inside, no other process trains in ``folder``; a lock whose process is dead is taken away.

    **Raises** ArgumentError naming the process that does; OSError for a folder that cannot be written.
    """
    own = folder.resolve() / f".training.{os.getpid()}.lock"
    if own in _held:
        raise _in_use(folder, own, "this process itself")
    # Open for as long as it is held: Windows then refuses to remove it.
    with own.open("w", encoding="utf-8") as file:
        _held.add(own)
        try:
            json.dump({"host": socket.gethostname(), "started": _start_of(os.getpid())}, file)
            file.flush()
            for other in folder.glob(PATTERN):
                if other.name != own.name and _alive(other):
                    raise _in_use(folder, other, _owner(other))
            yield
        finally:
            _held.discard(own)
            if os.name == "nt":
                file.close()
            with contextlib.suppress(OSError):
                own.unlink()


def is_lock(path: Path) -> bool:
    return path.match(PATTERN)


def _in_use(folder: Path, lock: Path, owner: str) -> ArgumentError:
    return ArgumentError(
        f"train: {folder} is in use: {owner} trains in it; fix: wait for its end or stop it, or use another folder "
        f"(if that process is gone for good, delete {lock})"
    )


def _alive(lock: Path) -> bool:
    """Whether the process of ``lock`` may still run; when it cannot, the lock is removed."""
    facts = _facts(lock)
    number = int(lock.name.split(".")[2]) if lock.name.split(".")[2].isdecimal() else 0
    if facts.get("host", socket.gethostname()) != socket.gethostname():
        return True  # nobody can tell from here
    if os.name != "nt" and number and _exists(number):
        started = _start_of(number)  # the number may have been given to another process since
        if not started or facts.get("started", started) == started:
            return True
    try:
        lock.unlink(missing_ok=True)
    except PermissionError:  # on Windows: open, so its process lives
        return os.name == "nt"
    return False


def _exists(number: int) -> bool:
    """Whether a process has this number (not on Windows, where this call would end it)."""
    try:
        os.kill(number, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # another user's
        return True
    return True


def _start_of(number: int) -> str:
    """When the process began, in Linux's own count; empty where that cannot be known."""
    try:
        status = Path(f"/proc/{number}/stat").read_text(encoding="utf-8", errors="replace")
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""
    return f"{boot}/{status.rpartition(')')[2].split()[19]}"


def _facts(lock: Path) -> dict[str, str]:
    """What the lock says; nothing, when its process died before it was written."""
    try:
        found = json.loads(lock.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _owner(lock: Path) -> str:
    return f"process {lock.name.split('.')[2]} on {_facts(lock).get('host', 'this machine')}"
