"""Ranks as threads of this process, for the logic of what they do together."""

import pickle
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from minicnn.parallel.communicator import Communicator, Done

TIMEOUT_SECONDS = 20


class ThreadRank(Communicator):
    """A rank among threads; each call meets the others at a barrier and notes its name and shape."""

    def __init__(self, rank: int, size: int, meeting: threading.Barrier, table: list[Any]) -> None:
        self.rank, self.size, self.meeting, self.table = rank, size, meeting, table
        self.calls: list[tuple[str, Any]] = []

    def _exchange(self, name: str, value: Any) -> list[Any]:
        self.calls.append((name, getattr(value, "shape", None)))
        self.table[self.rank] = value
        self.meeting.wait()
        everything = list(self.table)
        self.meeting.wait()
        return everything

    def start_sum(self, array: Any) -> Done:
        arrays = self._exchange("sum", array.copy())
        array[...] = arrays[0]
        for other in arrays[1:]:
            array += other
        return Done()

    def gather(self, array: Any) -> Any:
        return np.stack(self._exchange("gather", array.copy()))

    def share(self, value: Any) -> Any:
        return pickle.loads(self._exchange("share", pickle.dumps(value))[0])

    def collect(self, value: Any) -> list[Any]:
        return [pickle.loads(text) for text in self._exchange("collect", pickle.dumps(value))]


def on_ranks(size: int, work: Callable[[Communicator], Any]) -> list[Any]:
    """What ``work(rank)`` returns on each of ``size`` ranks; the first error of any of them is raised."""
    meeting, table = threading.Barrier(size, timeout=TIMEOUT_SECONDS), [None] * size
    results: list[Any] = [None] * size
    errors: list[BaseException] = []

    def run(rank: int) -> None:
        try:
            results[rank] = work(ThreadRank(rank, size, meeting, table))
        except BaseException as error:
            if not isinstance(error, threading.BrokenBarrierError):
                errors.append(error)
            meeting.abort()

    threads = [threading.Thread(target=run, args=(rank,), daemon=True) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT_SECONDS)
    if errors:
        raise errors[0]
    assert not any(thread.is_alive() for thread in threads) and not meeting.broken, "the ranks do not fit together"
    return results
