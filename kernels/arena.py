"""Memory of large CPU arrays, used again.

The system maps a fresh large array page by page as it is first written, which takes ten to forty times as long as
the writing. A training step makes the same arrays each time, so what one step freed serves the next.

An array's ``base`` is a *lease*: views keep the array alive, the array keeps the lease, and when the lease dies its
memory becomes a *hole*, one with the holes beside it. A new array takes the low end of the smallest hole that holds it;
where none does, a new *region* is mapped, whose pages become real only when written. A training step needs a few per
cent more than is in use at once; a store of freed arrays, each for its own size, needs up to half as much again.
``MINICNN_ARENA=off`` in the environment gives every array memory of its own.
"""

import math
import mmap
import os
import threading
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np

SMALLEST = 64 << 10  # bytes; the C library itself reuses smaller ones
GRAIN = max(4096, mmap.PAGESIZE)  # sizes are multiples of it, and so are addresses
REGION = 64 << 20  # bytes of the first region; a later one is as large as all before it
PERIOD = 1 << 14  # arrays after which an old peak begins to be forgotten

Returned = deque[tuple[int, int]]  # (place, size) of what leases held


def grained(size: int) -> int:
    """The bytes that an array of ``size`` bytes takes."""
    return size + -size % GRAIN


class Region(np.ndarray[Any, Any]):
    """Bytes that the system mapped at once; ``pages`` is the mapping."""

    pages: mmap.mmap


class Lease(np.ndarray[Any, Any]):
    """The base of an array: bytes of a region that no other array has while this lives."""

    __slots__ = ("home", "place")
    home: Returned
    place: tuple[int, int]
    sole = True  # to the tape: an array with this base is nobody's view

    def __del__(self) -> None:
        """Runs in any thread, amid anything: an append to a deque needs no lock."""
        home = getattr(self, "home", None)  # a view of a lease has none
        if home is not None:
            home.append(self.place)


class Places:
    """Which bytes of an arena are taken, without the memory itself; ``used`` is how many, ``held`` how many there are.

    A place is a number: the regions lie on one line, with a gap before each, so that holes of two never become one.
    """

    def __init__(self) -> None:
        self.used = self.held = 0
        self.returned: Returned = deque()
        self._lengths: dict[int, int] = {}  # of the regions, by the place where they begin
        self._begins: list[int] = []  # those places, ascending
        self._holes: list[tuple[int, int]] = []  # (size, place), ascending
        self._size_at: dict[int, int] = {}  # of the hole that begins at a place
        self._hole_before: dict[int, int] = {}  # where the hole begins that ends at a place

    def take(self, size: int) -> int | None:
        """A place of ``size`` bytes, a multiple of GRAIN; None where there is no memory."""
        self._collect()
        index = bisect_left(self._holes, (size, 0))
        if index == len(self._holes):
            if not self._grow(size):
                return None
            index = bisect_left(self._holes, (size, 0))
        hole, place = self._holes[index]
        self._close(place)
        if hole > size:
            self._open(place + size, hole - size)
        self.used += size
        return place

    def begin_of(self, place: int) -> int:
        """Where the region begins that a place lies in."""
        return self._begins[bisect_right(self._begins, place) - 1]

    def _grow(self, size: int) -> bool:
        """Add a region that holds ``size`` bytes; whether that was possible."""
        self._add(max(size, self.held, REGION))
        return True

    def _add(self, size: int) -> int:
        begin = GRAIN + (self._begins[-1] + self._lengths[self._begins[-1]] if self._begins else 0)
        self._begins.append(begin)
        self._lengths[begin] = size
        self._open(begin, size)
        self.held += size
        return begin

    def _collect(self) -> None:
        """Make holes of what was returned, each one with its neighbours."""
        while self.returned:
            place, size = self.returned.popleft()
            self.used -= size
            if place + size in self._size_at:
                size += self._close(place + size)
            if place in self._hole_before:
                before = self._hole_before[place]
                size += self._close(before)
                place = before
            self._open(place, size)

    def _open(self, place: int, size: int) -> None:
        self._holes.insert(bisect_left(self._holes, (size, place)), (size, place))
        self._size_at[place], self._hole_before[place + size] = size, place

    def _close(self, place: int) -> int:
        size = self._size_at.pop(place)
        del self._hole_before[place + size], self._holes[bisect_left(self._holes, (size, place))]
        return size


class Arena(Places):
    """Regions of memory, and arrays in them; ``used`` is how many bytes leases have, ``held`` how many are mapped."""

    def __init__(self) -> None:
        super().__init__()
        # The most used at once: in this period, in the last, and since memory was given back until then.
        self._peak = self._peak_before = self._peak_ever = 0
        self._clock = 0  # arrays so far
        self._regions: dict[int, Region] = {}  # by the place where they begin
        self._lock = threading.Lock()

    def empty(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
        """An uninitialised array; NumPy's own where it is small, where there is no memory, or while the lock is taken.

        Nobody waits for the lock, so nothing can hang: a finaliser that makes an array amid this, another thread, or a
        forked child whose parent's thread had it.
        """
        size = math.prod(shape) * dtype.itemsize
        if size < SMALLEST or not self._lock.acquire(blocking=False):
            return np.empty(shape, dtype)
        try:
            lease = self._lease(grained(size))
        finally:
            self._lock.release()
        return np.empty(shape, dtype) if lease is None else np.ndarray(shape, dtype, lease)

    def clear(self) -> None:
        """Give the memory of all holes back to the system, and forget the peaks."""
        if self._lock.acquire(timeout=1):
            try:
                self._collect()
                self._give_back()
            finally:
                self._lock.release()

    def _lease(self, size: int) -> Lease | None:
        self._clock += 1
        if self._clock % PERIOD == 0:
            self._collect()
            self._forget()
        place = self.take(size)
        if place is None:
            return None
        if self.used > self._peak:
            self._peak = self.used
        begin = self.begin_of(place)
        lease = Lease((size,), np.uint8, self._regions[begin], place - begin)
        lease.home, lease.place = self.returned, (place, size)
        return lease

    def _grow(self, size: int) -> bool:
        """Map a region, larger than needed if that can be had."""
        for bytes_ in (max(size, self.held, REGION), size):
            with suppress(OSError, OverflowError, ValueError):
                pages = _mapped(bytes_ - bytes_ % GRAIN, huge=self.held > 0)
                break
        else:
            return False
        region = np.frombuffer(pages, np.uint8).view(Region)
        region.pages = pages
        self._regions[self._add(region.nbytes)] = region
        return True

    def _forget(self) -> None:
        """Begin a period; when the last two used less than half of the peak before them, give back."""
        self._peak_ever = max(self._peak_ever, self._peak)
        if max(self._peak, self._peak_before) < self._peak_ever // 2:
            self._give_back()
        self._peak, self._peak_before = self.used, self._peak

    def _give_back(self) -> None:
        self._peak = self._peak_before = self._peak_ever = self.used
        for size, place in list(self._holes):
            begin = self.begin_of(place)
            region = self._regions[begin]
            if size == region.nbytes:
                self._close(place)
                self._begins.remove(begin)
                del self._regions[begin], self._lengths[begin]
                self.held -= size
            elif hasattr(mmap, "MADV_DONTNEED"):
                region.pages.madvise(mmap.MADV_DONTNEED, place - begin, size)


def _mapped(size: int, huge: bool) -> mmap.mmap:
    """Fresh private memory, on demand in huge pages where the system has such.

    The first region goes without: a program that needs no second one would only hold up to 2 MiB more.
    """
    if not hasattr(mmap, "MAP_PRIVATE"):  # Windows
        return mmap.mmap(-1, size)
    pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if huge and hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):
            pages.madvise(mmap.MADV_HUGEPAGE)
    return pages


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
