"""Ranks that talk through MPI: mpi4py with whatever MPI it finds (``pip install 'minicnn[mpi]'`` brings MPICH)."""

import os
import pickle
import time
from typing import Any

import numpy as np

from minicnn.errors import ArgumentError, RankError
from minicnn.kernels.arrays import Array, is_cupy
from minicnn.parallel.communicator import Communicator

TIMEOUT_SECONDS = 600.0  # a rank that has not come by then never will
SPIN_SECONDS = 0.002  # a waiting rank asks again and again for so long, then sleeps in between
SLEEP_SECONDS = 0.0001


def timeout_seconds() -> float:
    """How long a rank waits for the others; the variable MINICNN_RANK_TIMEOUT says otherwise."""
    text = os.environ.get("MINICNN_RANK_TIMEOUT", "")
    try:
        seconds = float(text or TIMEOUT_SECONDS)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e9:
        raise ArgumentError(f"MINICNN_RANK_TIMEOUT={text!r}, expected a number of seconds such as 600")
    return seconds


class Request:
    """A call of MPI under way, and the arrays that it reads and writes."""

    def __init__(self, request: Any, what: str, seconds: float) -> None:
        self.request, self.what, self.seconds = request, what, seconds
        self.done = False

    def advance(self) -> None:
        """MPI moves data only while somebody calls it."""
        self.done = self.done or self.request.Test()

    def wait(self) -> None:
        """**Raises** RankError when the others have not come in time."""
        began = time.monotonic()
        self.advance()
        while not self.done:
            waited = time.monotonic() - began
            if waited > self.seconds:
                raise RankError(
                    f"ranks: waited {self.seconds:g} s for the others in {self.what}; one of them hangs or has left; "
                    "fix: look at what it does, or more patience with MINICNN_RANK_TIMEOUT=<seconds>"
                )
            if waited > SPIN_SECONDS:  # long enough to leave the core to others
                time.sleep(SLEEP_SECONDS)
            self.advance()


class Mpi(Communicator):
    """The ranks of ``mpiexec -n``; arrays are NumPy's."""

    def __init__(self) -> None:
        try:
            from mpi4py import MPI
        except (ImportError, RuntimeError) as error:
            raise ArgumentError(f"ranks need mpi4py and MPI ({error}); fix: pip install 'minicnn[mpi]'") from error
        self._mpi, self._world = MPI, MPI.COMM_WORLD
        self.rank, self.size = self._world.Get_rank(), self._world.Get_size()
        self.seconds = timeout_seconds()

    def _request(self, request: Any, what: str) -> Request:
        return Request(request, what, self.seconds)

    def start_sum(self, array: Array) -> Request:
        _check_host(array)
        return self._request(self._world.Iallreduce(self._mpi.IN_PLACE, array, op=self._mpi.SUM), "sum")

    def gather(self, array: Array) -> Array:
        _check_host(array)
        result = np.empty((self.size, *array.shape), array.dtype)
        self._request(self._world.Iallgather(np.ascontiguousarray(array), result), "gather").wait()
        return result

    def share(self, value: Any) -> Any:
        message = pickle.dumps(value, protocol=5) if self.rank == 0 else b""
        length = np.array([len(message)], np.int64)
        self._request(self._world.Ibcast(length, root=0), "share").wait()
        data = np.frombuffer(message, np.uint8).copy() if self.rank == 0 else np.empty(length[0], np.uint8)
        self._request(self._world.Ibcast(data, root=0), "share").wait()
        return value if self.rank == 0 else pickle.loads(data.data)

    def collect(self, value: Any) -> list[Any]:
        message = pickle.dumps(value, protocol=5)
        lengths = self.gather(np.array([len(message)], np.int64))[:, 0].tolist()
        padded = np.zeros(max(lengths), np.uint8)
        padded[: len(message)] = np.frombuffer(message, np.uint8)
        rows = self.gather(padded)
        return [pickle.loads(row[:length].data) for row, length in zip(rows, lengths, strict=True)]

    def neighbours(self) -> tuple[int, int]:
        """This rank's number among those on the same machine, and how many these are."""
        beside = self._world.Split_type(self._mpi.COMM_TYPE_SHARED)
        try:
            return beside.Get_rank(), beside.Get_size()
        finally:
            beside.Free()


def _check_host(array: Array) -> None:
    if is_cupy(array):
        raise ArgumentError("ranks: MPI here moves NumPy arrays only, got one of a GPU; fix: parallel.Nccl")
