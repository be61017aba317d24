"""``cupy.cuda`` for a machine without a GPU: one device, events, and memory that is counted and can run out."""

import contextlib
import time
import types
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

synchronisations: Counter[str] = Counter()  # what made the host wait, since the last clear()


class Device:
    """The one device there is."""

    def __init__(self, device: int | None = None) -> None:
        self.id = device or 0
        self.compute_capability = "90"

    @property
    def mem_info(self) -> tuple[int, int]:
        """(free, total)."""
        return pool.total - pool.total_bytes(), pool.total

    def __enter__(self) -> "Device":
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to go back to."""

    def use(self) -> None:
        """Already in use."""

    def synchronize(self) -> None:
        synchronisations["synchronize"] += 1

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Device) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)


class OutOfMemoryError(MemoryError):
    """What CuPy raises when an allocation does not fit; its arguments are CuPy's."""

    def __init__(self, size: int, total: int, limit: int = 0) -> None:
        super().__init__(f"Out of memory allocating {size:,} bytes (allocated so far: {total:,} bytes).")


class Stream:
    """A queue of work; here everything is done at once."""

    null: "Stream"

    def synchronize(self) -> None:
        synchronisations["synchronize"] += 1


Stream.null = Stream()


class Event:
    """A moment in the queue, on the clock of the host."""

    def __init__(self) -> None:
        self.moment: float | None = None

    def record(self, stream: Stream | None = None) -> None:
        self.moment = time.perf_counter()

    def synchronize(self) -> None:
        synchronisations["synchronize"] += 1


def get_elapsed_time(start: Event, stop: Event) -> float:
    """Milliseconds."""
    if start.moment is None or stop.moment is None:
        raise RuntimeError("cudaErrorInvalidResourceHandle: invalid resource handle")  # an event never recorded
    return 1000 * (stop.moment - start.moment)


class MemoryPointer:
    """A piece of the pool, given back when nobody holds it."""

    def __init__(self, pool: "MemoryPool", size: int) -> None:
        self.pool, self.size = pool, size

    def __del__(self) -> None:
        self.pool.used -= self.size


class MemoryPool:
    """Counts bytes; what is given back stays held until ``free_all_blocks``, as in CuPy."""

    def __init__(self) -> None:
        self.total, self.used, self.held, self.limit = 80 << 30, 0, 0, 0

    def malloc(self, size: int) -> MemoryPointer:
        if self.used + size > (self.limit or self.total):
            raise OutOfMemoryError(size, self.held, self.limit)
        self.used += size
        self.held = max(self.held, self.used)
        return MemoryPointer(self, size)

    def used_bytes(self) -> int:
        return self.used

    def total_bytes(self) -> int:
        return self.held

    def free_all_blocks(self) -> None:
        self.held = self.used

    def set_limit(self, size: int = 0) -> None:
        self.limit = size

    def get_limit(self) -> int:
        return self.limit


pool = MemoryPool()
_allocator: list[Callable[[int], Any]] = [pool.malloc]


def get_allocator() -> Callable[[int], Any]:
    return _allocator[0]


def set_allocator(allocator: Callable[[int], Any]) -> None:
    _allocator[0] = allocator


@contextlib.contextmanager
def using_allocator(allocator: Callable[[int], Any]) -> Iterator[None]:
    """CuPy's is the thread's own; this one holds for all, so run one thread at a time."""
    before = get_allocator()
    set_allocator(allocator)
    try:
        yield
    finally:
        set_allocator(before)


def cuda_module() -> types.ModuleType:
    cuda: Any = types.ModuleType("cupy.cuda")
    cuda.is_available = lambda: True
    cuda.Device, cuda.Stream = Device, Stream
    cuda.get_current_stream = lambda: Stream.null
    cuda.Event, cuda.get_elapsed_time = Event, get_elapsed_time
    cuda.get_allocator, cuda.set_allocator, cuda.using_allocator = get_allocator, set_allocator, using_allocator
    cuda.MemoryPool = MemoryPool
    cuda.runtime = types.SimpleNamespace(
        getDeviceCount=lambda: 1,
        runtimeGetVersion=lambda: 13000,
        driverGetVersion=lambda: 13000,
        getDeviceProperties=lambda index: {
            "name": b"emulated GPU",
            "totalGlobalMem": pool.total,
            "multiProcessorCount": 4,
        },
    )
    cuda.nvrtc = types.SimpleNamespace(getVersion=lambda: (13, 0))
    cuda.memory = types.SimpleNamespace(OutOfMemoryError=OutOfMemoryError)
    return cuda  # type: ignore[no-any-return]
