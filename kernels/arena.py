"""Memory of large CPU arrays, used again.

The system maps a fresh large array page by page as it is first written, which takes ten to forty times as long as
the writing. A training step makes the same arrays each time, so what one step freed serves the next.

Memory comes in *blocks*. An array lies in a block and its ``base`` is a *lease* of it: views keep the array alive, the
array keeps the lease, and when the lease dies the block is free. A free block serves an array that is at most an
eighth smaller, the youngest first (it may still be in a cache). Blocks in use and free ones together are at most an
eighth more than what was lately in use at once; beyond that the block that has been idle longest goes back to the
system. ``MINICNN_ARENA=off`` in the environment gives every array memory of its own.
"""

import math
import os
import threading
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import numpy as np

SMALLEST = 64 << 10  # bytes; the C library itself reuses smaller ones
ALIGNMENT = 64  # bytes: a line of the cache, the widest vector
GRAIN = 4 << 10  # sizes of blocks are multiples of it
SPARE = 8  # a block may be one part in so many too large, and so much more than in use may be held
PERIOD = 1 << 14  # arrays after which an old peak begins to be forgotten


class Block(np.ndarray[Any, Any]):
    """Bytes that are handed out again and again; ``home`` is where they return to. NumPy asks for huge pages."""

    home: "deque[Block]"


class Lease(np.ndarray[Any, Any]):
    """The base of an array that lies in a block, which no other array does while this lives."""

    __slots__ = ()
    sole = True  # to the tape: an array with this base is nobody's view

    def __del__(self) -> None:
        """Runs in any thread, amid anything: an append to a deque needs no lock."""
        home = getattr(self.base, "home", None)  # a view of a lease has none
        if home is not None:
            home.append(self.base)


class Arena:
    """Blocks in use and free ones; ``used`` and ``held`` (both kinds) are in bytes."""

    def __init__(self) -> None:
        self.used = self.held = 0
        self._peak = self._peak_before = 0  # the most that was used at once, in this period and in the last
        self._clock = 0  # arrays so far
        self._returned: deque[Block] = deque()  # by leases, not yet sorted in
        self._free: dict[int, deque[tuple[int, Block]]] = {}  # by size: (when it was sorted in, block), oldest first
        self._sizes: list[int] = []  # the sizes in _free, ascending
        self._lock = threading.Lock()

    def empty(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
        """An uninitialised array, aligned to 64 bytes where it is large."""
        size = math.prod(shape) * dtype.itemsize
        # Nobody waits for the lock, so nothing can hang: a finaliser that runs amid this and makes an array, another
        # thread, or a forked child whose parent's thread had it.
        if size < SMALLEST or not self._lock.acquire(blocking=False):
            return np.empty(shape, dtype)
        try:
            self._sort_in()
            size += -size % GRAIN
            block = self._fitting(size)
            if block is None:
                block = self._fresh(size)
            self.used += block.nbytes
            self._peak = max(self._peak, self.used)
        finally:
            self._lock.release()
        return np.ndarray(shape, dtype, block.view(Lease))

    def clear(self) -> None:
        """Give every free block back to the system and forget the peaks."""
        if not self._lock.acquire(timeout=1):
            return
        try:
            self._sort_in()
            self._peak = self._peak_before = self.used
            self._shrink(0)
        finally:
            self._lock.release()

    def _sort_in(self) -> None:
        self._clock += 1
        if self._clock % PERIOD == 0:
            self._peak, self._peak_before = self.used, self._peak
            self._shrink(self._bound())
        while self._returned:
            block = self._returned.popleft()
            self.used -= block.nbytes
            if block.nbytes not in self._free:
                insort(self._sizes, block.nbytes)
                self._free[block.nbytes] = deque()
            self._free[block.nbytes].append((self._clock, block))

    def _fitting(self, size: int) -> Block | None:
        place = bisect_left(self._sizes, size)
        if place == len(self._sizes) or self._sizes[place] > size + size // SPARE:
            return None
        return self._taken(self._sizes[place], youngest=True)

    def _fresh(self, size: int) -> Block:
        self._shrink(self._bound(size) - size)
        try:
            memory = Block(size + ALIGNMENT, np.uint8)
        except MemoryError:
            self._shrink(0)
            memory = Block(size + ALIGNMENT, np.uint8)
        start = -memory.ctypes.data % ALIGNMENT
        block = cast(Block, memory[start : start + size])
        block.home = self._returned
        self.held += size
        return block

    def _bound(self, more: int = 0) -> int:
        peak = max(self._peak, self._peak_before, self.used + more)
        return peak + peak // SPARE

    def _shrink(self, bound: int) -> None:
        while self.held > bound and self._free:
            oldest = min(self._free, key=lambda size: self._free[size][0][0])
            self.held -= self._taken(oldest, youngest=False).nbytes

    def _taken(self, size: int, youngest: bool) -> Block:
        blocks = self._free[size]
        block = (blocks.pop() if youngest else blocks.popleft())[1]
        if not blocks:
            del self._free[size], self._sizes[bisect_left(self._sizes, size)]
        return block


arena = Arena()
_off = os.environ.get("MINICNN_ARENA", "").lower() == "off"


def empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
    """An uninitialised NumPy array, in memory that was used before where it is large."""
    return np.empty(shape, dtype) if _off else arena.empty(shape, dtype)


@contextmanager
def own_memory() -> Iterator[None]:
    """Every array made meanwhile, by any thread, gets memory of its own, as tracemalloc expects that counts it."""
    global _off
    before, _off = _off, True
    try:
        yield
    finally:
        _off = before
