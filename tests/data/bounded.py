"""What every reader of hostile files is held to: soon done, in little memory, and nothing on the disk is changed."""

import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SECONDS, BYTES = 5, 500_000_000


@contextmanager
def bounded(path: Path) -> Iterator[None]:
    """Hold what runs inside to that; ``path`` is the file that it reads."""
    content, beside = path.read_bytes(), sorted(path.parent.iterdir())
    tracemalloc.start()
    started = time.perf_counter()
    try:
        yield
    finally:
        seconds, (_, peak) = time.perf_counter() - started, tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert seconds < SECONDS and peak < BYTES
    assert sorted(path.parent.iterdir()) == beside and path.read_bytes() == content
