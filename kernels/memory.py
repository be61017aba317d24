"""GPU memory: what is in use, and an error that says so when there is too little.

Every array of CuPy, in whatever operation, comes from one allocator, so that is where its error is explained. CuPy's
own memory pool stays in place underneath.
"""

from types import ModuleType
from typing import Any, NamedTuple

from minicnn.errors import OutOfMemoryError


class Memory(NamedTuple):
    """Bytes of one GPU: of the whole device, and of CuPy's pool in this process (``held`` includes ``used``)."""

    total: int
    free: int
    used: int
    held: int


def memory(xp: ModuleType) -> Memory:
    """The figures of the current device."""
    free, total = xp.cuda.Device().mem_info
    pool = xp.get_default_memory_pool()
    return Memory(total, free, pool.used_bytes(), pool.total_bytes())


def readable(count: int) -> str:
    """``1572864`` -> ``1.5 MiB``."""
    size, units = float(count), ["bytes", "KiB", "MiB", "GiB", "TiB"]
    while size >= 1024 and len(units) > 1:
        size, units = size / 1024, units[1:]
    return f"{count:,} {units[0]}" if units[0] == "bytes" else f"{size:.1f} {units[0]}"


def explain_shortage(xp: ModuleType) -> None:
    """Let CuPy's allocator raise minicnn's OutOfMemoryError, after freeing what its pool keeps for later.

    The error is CuPy's own OutOfMemoryError too, for code that expects that.
    """
    theirs, allocator = xp.cuda.memory.OutOfMemoryError, xp.cuda.get_allocator()
    if hasattr(allocator, "explains"):
        return
    explained: Any = type("OutOfMemoryError", (OutOfMemoryError, theirs), {"__module__": OutOfMemoryError.__module__})

    def allocate(size: int) -> Any:
        try:
            return allocator(size)
        except theirs:
            xp.get_default_memory_pool().free_all_blocks()
        try:
            return allocator(size)
        except theirs:
            raise explained(readable(size), _shortage(xp)) from None

    allocate.explains = True  # type: ignore[attr-defined]
    xp.cuda.set_allocator(allocate)


def _shortage(xp: ModuleType) -> str:
    now, limit = memory(xp), xp.get_default_memory_pool().get_limit()
    return (
        f"cuda:{xp.cuda.Device().id}: of {readable(now.total)} there, {readable(now.used)} are in use by this process "
        f"and {readable(now.free + now.held - now.used)} are free"
        + (f"; its pool has a limit of {readable(limit)}" if limit else "")
    )
