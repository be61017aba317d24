"""Ranks with a GPU each: arrays go through NCCL by CuPy's binding, Python values through MPI.

Written against the documented interface of ``cupy.cuda.nccl.NcclCommunicator`` (allReduce, allGather) and of NCCL's
stream semantics; not yet run on GPUs.
"""

from typing import Any

from minicnn.errors import DeviceError
from minicnn.kernels.arrays import Array, cupy, is_cupy
from minicnn.parallel.communicator import Communicator, Pending


class Summing:
    """A sum on the stream of the communicator; nobody on the host waits for it."""

    def __init__(self, done: Any) -> None:
        self.done = done

    def advance(self) -> None:
        """NCCL needs no help."""

    def wait(self) -> None:
        """What is launched from now on, on the current stream, comes after the sum."""
        cupy().cuda.get_current_stream().wait_event(self.done)


class Nccl(Communicator):
    """The ranks of ``host`` (an `Mpi`), each with its own GPU, which is the current device."""

    def __init__(self, host: Communicator) -> None:
        xp = cupy()
        nccl = xp.cuda.nccl
        if not nccl.available:
            raise DeviceError("ranks on GPUs need NCCL; fix: pip install nvidia-nccl-cu13 (or -cu12, as CuPy's wheel)")
        self._host, self._nccl = host, nccl
        self.rank, self.size = host.rank, host.size
        key = host.share(nccl.get_unique_id() if host.rank == 0 else None)
        self._ranks = nccl.NcclCommunicator(self.size, key, self.rank)
        self._stream = xp.cuda.Stream(non_blocking=True)
        self._types = {"f": nccl.NCCL_FLOAT32, "d": nccl.NCCL_FLOAT64, "e": nccl.NCCL_FLOAT16, "l": nccl.NCCL_INT64}

    def start_sum(self, array: Array) -> Pending:
        if not is_cupy(array):
            return self._host.start_sum(array)
        stream = self._after_what_is_launched()
        place, kind = array.data.ptr, self._types[array.dtype.char]
        self._ranks.allReduce(place, place, array.size, kind, self._nccl.NCCL_SUM, stream.ptr)
        return Summing(stream.record())

    def gather(self, array: Array) -> Array:
        if not is_cupy(array):
            return self._host.gather(array)
        result = cupy().empty((self.size, *array.shape), array.dtype)
        stream = self._after_what_is_launched()
        kind = self._types[array.dtype.char]
        self._ranks.allGather(array.data.ptr, result.data.ptr, array.size, kind, stream.ptr)
        Summing(stream.record()).wait()
        return result

    def share(self, value: Any) -> Any:
        return self._host.share(value)

    def collect(self, value: Any) -> list[Any]:
        return self._host.collect(value)

    def _after_what_is_launched(self) -> Any:
        self._stream.wait_event(cupy().cuda.get_current_stream().record())
        return self._stream
