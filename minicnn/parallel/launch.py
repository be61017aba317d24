"""How a job of several ranks begins and ends: ``mpiexec`` around the same command, and no rank left behind."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from minicnn.errors import ArgumentError
from minicnn.kernels.arrays import cupy
from minicnn.parallel.communicator import ALONE, Communicator
from minicnn.threads import get_num_threads, set_num_threads

SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "PMIX_SIZE", "MV2_COMM_WORLD_SIZE")  # how MPIs tell a process of its job
GRACE_SECONDS = 3.0  # an error that all ranks share is told by rank 0, which then ends the others


def started_by_mpiexec() -> bool:
    """Whether this process is one of several ranks."""
    return any(os.environ.get(name, "").isdecimal() and int(os.environ[name]) > 1 for name in SIZES)


def start(ranks: int, arguments: list[str]) -> int:
    """Run ``minicnn`` with ``arguments`` on so many ranks of this machine; returns the exit code of the job.

    The cores are dealt out among the ranks, unless NUMBA_NUM_THREADS says how many threads each has. Ctrl-C reaches the
    ranks, which save and stop; this process waits for them.

    **Raises** ArgumentError without mpi4py or mpiexec.
    """
    command = [mpiexec(), "-n", str(ranks), sys.executable, "-m", "mpi4py", "-m", "minicnn", *arguments]
    threads = str(max(1, (os.cpu_count() or 1) // ranks))
    environment = {"NUMBA_NUM_THREADS": threads} | os.environ
    before = signal.signal(signal.SIGINT, lambda number, frame: None)  # mpiexec has heard it too and tells the ranks
    try:
        code = subprocess.run(command, env=environment, check=False).returncode
    finally:
        signal.signal(signal.SIGINT, before)
    # a signal's number as MPICH gives it, as a shell and Open MPI do, or as Python does; our own codes end at 2
    killed = -code if code < 0 else code - 128 if code > 128 else code
    if killed > 2 and killed in set(signal.Signals):
        sys.stderr.write(
            f"minicnn: a rank was ended by {signal.Signals(killed).name}, and mpiexec has ended the others; what was "
            f"saved last is in the run folder: minicnn train --ranks {ranks} --resume <folder>\n"
        )
        return 1
    return code


def flags(options: dict[str, Any]) -> list[str]:
    """Options as they are typed: ``{"sync_bn": True, "recipe": ("a", "b")}`` -> ``--sync-bn --recipe a --recipe b``."""
    words: list[str] = []
    for name, value in options.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        elif value is not None:
            for item in value if isinstance(value, tuple) else (value,):
                words += [f"--{flag}", str(item)]
    return words


def mpiexec() -> str:
    """The program that starts ranks: beside this Python, where MPICH's wheel puts it, else on the PATH."""
    try:
        import mpi4py  # noqa: F401
    except ImportError as error:
        raise ArgumentError(f"--ranks needs mpi4py ({error}); fix: pip install 'minicnn[mpi]'") from error
    beside = shutil.which("mpiexec", path=str(Path(sys.executable).parent))
    found = beside or shutil.which("mpiexec")
    if found is None:
        raise ArgumentError("--ranks needs the program mpiexec, which is not on the PATH; fix: pip install mpich")
    return found


def communicator(device: str = "auto") -> Communicator:
    """The ranks of this job; `ALONE` in a process that no mpiexec started.

    Threads: the cores of the machine are dealt out among its ranks, unless NUMBA_NUM_THREADS is set.

    **Raises** ArgumentError for ranks that were not started by ``python -m mpi4py``: an error in one would leave the
    others waiting.
    """
    if not started_by_mpiexec():
        return ALONE
    if "mpi4py.run" not in sys.modules:
        raise ArgumentError("ranks: fix: mpiexec -n <ranks> python -m mpi4py -m minicnn train ...")
    from minicnn.parallel.mpi import Mpi

    world = Mpi()
    place, beside = world.neighbours()
    if "NUMBA_NUM_THREADS" not in os.environ:
        set_num_threads(max(1, get_num_threads() // beside))
    return world if device == "cpu" else _on_gpu(world, place)


def _on_gpu(world: Communicator, place: int) -> Communicator:
    """The same ranks with a GPU each, where every machine has as many as ranks; else as they are."""
    from minicnn.devices import gpu_facts

    enough = gpu_facts() is not None and cupy().cuda.runtime.getDeviceCount() > place
    if not all(world.collect(enough)):
        return world
    from minicnn.parallel.nccl import Nccl

    cupy().cuda.Device(place).use()
    return Nccl(world)


@contextmanager
def together(ranks: Communicator) -> Iterator[None]:
    """Inside, an error of one rank ends the job; one that all share is told once, by rank 0."""
    try:
        yield
    except BaseException:
        if ranks.rank:
            time.sleep(GRACE_SECONDS)
        raise
