"""What every broken input is asked: an error of the right class that names the file, soon, in little memory."""

import contextlib
import json
import os
import time
from pathlib import Path

import pytest

SECONDS, MEGABYTES = 5, 500


def refused(call, error, path):
    """``call`` refuses the file at ``path`` as it should, and leaves its folder as it was."""
    before = sorted(file.name for file in path.parent.iterdir())
    started, held = time.monotonic(), _forget_peak()
    with pytest.raises(error) as caught:
        call()
    assert path.name in str(caught.value), f"{path.name} is not named: {caught.value}"
    assert len(str(caught.value)) < 3000
    assert time.monotonic() - started < SECONDS
    assert _memory("VmHWM") - held < MEGABYTES * 1000
    assert sorted(file.name for file in path.parent.iterdir()) == before
    return str(caught.value)


def _forget_peak():
    """Let Linux count the peak of memory from now on; returns the memory held now, kB (elsewhere 0)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return _memory("VmRSS")


def _memory(name):
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next(int(line.split()[1]) for line in lines if line.startswith(name))


# What may lie where a file is expected.
NO_FILES = ("missing", "folder", "pipe", "broken link", "loop", "link to folder", "zeros", "null")
unix_only = pytest.mark.skipif(os.name == "nt", reason="Windows has no pipes, devices and free links")


def no_file(path, kind):
    """Put at ``path`` something of a kind of ``NO_FILES``."""
    links = {"broken link": "nowhere", "loop": path, "link to folder": ".", "zeros": "/dev/zero", "null": "/dev/null"}
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind != "missing":
        path.symlink_to(links[kind])


def taken_apart(content):
    """Header (a dict) and data of a safetensors file."""
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def put_together(header, data):
    """The file of a header, which may be any bytes, and data."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data
