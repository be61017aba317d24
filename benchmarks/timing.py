"""Where a benchmark runs: arrays to and from a device, times of calls, and the memory a call needs for itself.

Calls that are compared are timed in turns (ours, theirs, ours, ...), so that a slow spell of the machine meets both.
"""

import statistics
import time
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from minicnn.kernels.arena import own_memory
from minicnn.kernels.arrays import cupy

Call = Callable[[], Any]
Calls = dict[str, Call]

# Idle threads of BLAS and OpenMP spin a while (OpenBLAS: about 0.1 s) and take the cores from whoever is timed next.
# They are asleep when this process uses no processor time while it waits.
SETTLE_SECONDS = 0.01
QUIET_SECONDS = 0.001  # of processor time in SETTLE_SECONDS: nobody spins
SETTLE_AT_MOST = 1.0
WARM_SECONDS = 0.05
SAMPLE_SECONDS = 0.02  # a sample of the CPU repeats a short call for about this long
FLUSH_BYTES = 256 << 20  # more than the second-level cache of any GPU


class Times(NamedTuple):
    """Seconds a call."""

    median: float
    best: float
    worst: float
    samples: int

    @classmethod
    def of(cls, seconds: list[float]) -> "Times":
        return cls(statistics.median(seconds), min(seconds), max(seconds), len(seconds))


class Cpu:
    """This machine's processor, on its clock."""

    name = "cpu"
    samples = 7

    def put(self, host: np.ndarray) -> Any:
        return host

    def get(self, array: Any) -> np.ndarray:
        return array

    def times(self, calls: Calls, samples: int | None = None) -> dict[str, Times]:
        """The times of each of the calls, taken in turns; before every sample the call runs untimed for a while.

        Threads that slept may wake on one core, where they share it until the system spreads them.
        """
        repeats = {name: _repeats(call) for name, call in calls.items()}
        seconds: dict[str, list[float]] = {name: [] for name in calls}
        for _ in range(samples or self.samples):
            for name, call in calls.items():
                settle()
                end = time.perf_counter() + WARM_SECONDS
                call()
                while time.perf_counter() < end:
                    call()
                start = time.perf_counter()
                for _ in range(repeats[name]):
                    call()
                seconds[name].append((time.perf_counter() - start) / repeats[name])
        return {name: Times.of(values) for name, values in seconds.items()}

    def workspace(self, call: Call) -> int:
        """The most bytes of arrays that lived during the call, less its result.

        Taken in a new thread, whose scratch memory is not there yet, and without the arena, whose memory tracemalloc
        does not see used again.
        """

        def peak() -> int:
            tracemalloc.start()
            try:
                with own_memory():
                    result = call()
                return max(0, tracemalloc.get_traced_memory()[1] - result.nbytes)
            finally:
                tracemalloc.stop()

        with ThreadPoolExecutor(1) as thread:
            return thread.submit(peak).result()


def settle() -> None:
    """Wait until the threads that the last call left behind sleep, whatever library they are of."""
    end = time.perf_counter() + SETTLE_AT_MOST
    while time.perf_counter() < end:
        used = time.process_time()
        time.sleep(SETTLE_SECONDS)
        if time.process_time() - used <= QUIET_SECONDS:
            return


def _repeats(call: Call) -> int:
    call()  # compiles
    start = time.perf_counter()
    call()
    return max(1, min(1000, int(SAMPLE_SECONDS / max(1e-9, time.perf_counter() - start))))


class Gpu:
    """The first GPU, on the clock of its own events."""

    name = "gpu"
    samples = 20
    warm_up = 3

    def __init__(self) -> None:
        self._flush: Any = None

    def put(self, host: np.ndarray) -> Any:
        return cupy().asarray(host)

    def get(self, array: Any) -> np.ndarray:
        return array.get()

    def times(self, calls: Calls, samples: int | None = None) -> dict[str, Times]:
        """The times of each of the calls, taken in turns between two events.

        Before each the second-level cache is overwritten: nothing of the call before is left there, and while the GPU
        is busy with that, the host queues the call, so that its own time counts only where it is longer still.
        """
        cuda = cupy().cuda
        if self._flush is None:
            self._flush = cupy().empty(FLUSH_BYTES, np.uint8)
        for call in calls.values():
            for _ in range(self.warm_up):
                call()
        events: dict[str, list[tuple[Any, Any]]] = {name: [] for name in calls}
        for _ in range(samples or self.samples):
            for name, call in calls.items():
                start, stop = cuda.Event(), cuda.Event()
                self._flush.fill(0)
                start.record()
                call()
                stop.record()
                events[name].append((start, stop))
        cuda.Device().synchronize()
        return {
            name: Times.of([cuda.get_elapsed_time(start, stop) / 1000 for start, stop in pairs])
            for name, pairs in events.items()
        }

    def workspace(self, call: Call) -> int:
        """The bytes a memory pool of its own had to get from the GPU for the call, less the result's.

        Taken in a new thread, whose scratch memory is not there yet. The pool gives memory in pieces of 512 bytes.
        """
        cuda = cupy().cuda

        def pooled() -> int:
            pool = cuda.MemoryPool()
            with cuda.using_allocator(pool.malloc):
                result = call()
                cuda.Device().synchronize()
                return max(0, pool.total_bytes() - -(-result.nbytes // 512) * 512)

        with ThreadPoolExecutor(1) as thread:
            return thread.submit(pooled).result()
