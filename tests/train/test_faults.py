"""Saves that die or fail at every system call they make: the old checkpoint or the new one is there, complete.

The calls of a save are few (open, each write, fsync, rename, rename, open, fsync of the folder), so every one is tried:
a death after it, in a process of its own, and each way in which it can fail.
"""

import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from minicnn import files
from minicnn.errors import CheckpointError
from minicnn.train import load_checkpoint
from minicnn.train.checkpoint import load_newest, previous_of, save_checkpoint

CALLS = ("open", "write", "fsync", "replace", "close")
FAILURES = (errno.ENOSPC, errno.EIO, errno.EACCES)
PIECE = 1000  # bytes a write: the arrays below take several


def arrays_of(number):
    """Arrays that say in every value which save they are of."""
    return {"model/w": np.full((30, 20), number, np.float32), "model/n": np.array(number, np.int64)}


def save(path, number):
    save_checkpoint(path, arrays_of(number), {"epoch": number})


class Calls:
    """``os`` with its calls counted; after the one numbered ``at`` something happens."""

    def __init__(self, at, happens, before=False):
        self.at, self.happens, self.before, self.count = at, happens, before, 0

    def __getattr__(self, name):
        call = getattr(os, name)
        if name not in CALLS:
            return call
        if name == "fsync":  # counted, but no disk need be waited for
            call = int

        def counted(*args, **kwargs):
            self.count += 1
            if self.before and self.count == self.at:
                self.happens()
            result = call(*args, **kwargs)
            if not self.before and self.count == self.at:
                self.happens()
            return result

        return counted


def patched(at, happens, before=False):
    """`minicnn.files` makes its calls through these ``Calls``, and writes small pieces, until it is undone."""
    patch = pytest.MonkeyPatch()
    calls = Calls(at, happens, before)
    patch.setattr(files, "os", calls)
    patch.setattr(files, "PIECE", PIECE)
    return patch, calls


def count_of_calls(folder):
    """The system calls of a save over another, as `patched` counts them."""
    folder.mkdir(exist_ok=True)
    save(folder / "last.safetensors", 1)
    patch, calls = patched(0, lambda: None)
    save(folder / "last.safetensors", 2)
    patch.undo()
    return calls.count


def newest(path):
    """Which save is found, all of it."""
    found, _ = load_newest(path)
    number = found.state["epoch"]
    assert all(np.array_equal(found.arrays[name], array) for name, array in arrays_of(number).items())
    return number


def test_a_save_writes_in_pieces(tmp_path):
    assert count_of_calls(tmp_path) >= 1 + 4 + 1 + 1 + 2 + 3


@pytest.mark.parametrize("name", ["last", "best"])
def test_every_call_may_fail(tmp_path, name):
    path = tmp_path / f"{name}.safetensors"
    total = count_of_calls(tmp_path / "count")
    save(path, 0)
    save(path, 1)
    for code in FAILURES:
        for at in range(1, total + 1):
            before = newest(path)

            def fails(code=code):
                raise OSError(code, os.strerror(code))

            patch, calls = patched(at, fails, before=True)
            try:
                with pytest.raises(
                    CheckpointError, match=rf"{name}.safetensors: cannot be written .{os.strerror(code)}"
                ) as failed:
                    save(path, before + 1)
            finally:
                patch.undo()
            assert calls.count >= at
            assert newest(path) in (before, before + 1), (code, at)
            assert not [file for file in tmp_path.iterdir() if files.is_temporary(file)], (code, at)
            assert failed.value.__cause__.filename == str(path)
            save(path, before + 2)
            assert newest(path) == before + 2


# Dies after the n-th call of a save.
CHILD = """
import os, sys
from pathlib import Path
from tests.train.test_faults import patched, save
path, number, at = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
patched(at, lambda: os._exit(9))
save(path, number)
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no such renames")
@pytest.mark.parametrize("name", ["last", "best"])
def test_a_death_after_every_call(tmp_path, name):
    """What is found is the old save or the new one, whole; what is left over goes with the next start."""
    path = tmp_path / f"{name}.safetensors"
    total = count_of_calls(tmp_path / "count")
    root = Path(__file__).resolve().parents[2]
    save(path, 0)
    save(path, 1)
    for at in range(1, total + 1):
        before = newest(path)
        command = [sys.executable, "-c", CHILD, str(path), str(before + 1), str(at)]
        assert subprocess.run(command, cwd=root, timeout=60).returncode == 9
        assert newest(path) in (before, before + 1), at
        assert sum(files.is_temporary(file) for file in tmp_path.iterdir()) <= 1
        files.sweep(tmp_path)
        assert sorted(file.name for file in tmp_path.iterdir() if file.is_file()) in (
            sorted([path.name, previous_of(path).name]),
            [previous_of(path).name],
        ), at
        save(path, before + 2)
        assert newest(path) == before + 2


def test_a_torn_file_is_never_taken_for_a_checkpoint(tmp_path):
    """Were the rename to come before the data (a disk that lies about fsync), the reader would see it."""
    path = tmp_path / "last.safetensors"
    save(path, 0)
    save(path, 1)
    content = path.read_bytes()
    for length in range(0, len(content), 97):
        path.write_bytes(content[:length])
        assert newest(path) == 0
    for start in range(0, len(content), PIECE):  # a piece that never reached the disk
        path.write_bytes(content[:start] + bytes(min(PIECE, len(content) - start)) + content[start + PIECE :])
        assert newest(path) == 0


def test_sweeping_takes_only_what_saves_leave(tmp_path):
    kept = ("last.safetensors", ".hidden", "notes.tmp", ".notes.tmp", ".training.3.lock")
    for name in (*kept, ".last.safetensors.123.tmp", ".args.toml.7.tmp"):
        (tmp_path / name).touch()
    files.sweep(tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(kept)


def test_a_save_keeps_the_bytes_that_it_was_given(tmp_path, monkeypatch):
    """A disk that takes a part of each write, as a nearly full one does."""
    write = os.write
    monkeypatch.setattr(files.os, "write", lambda handle, data: write(handle, data[:7]))
    save(tmp_path / "a.safetensors", 5)
    assert load_checkpoint(tmp_path / "a.safetensors").state == {"epoch": 5} and newest(tmp_path / "a.safetensors") == 5
