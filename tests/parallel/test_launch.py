"""How a job begins and what is refused, without starting one; NCCL's calls against its documented interface."""

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from minicnn.errors import ArgumentError, DeviceError, RankError
from minicnn.parallel import ALONE, communicator, flags, launch, nccl, start, started_by_mpiexec
from minicnn.parallel.mpi import Request, timeout_seconds


def test_options_become_flags_again():
    options = {"sync_bn": True, "augment": False, "lr": 0.1, "out": None, "recipe": ("a", "b c")}
    assert flags(options) == ["--sync-bn", "--no-augment", "--lr", "0.1", "--recipe", "a", "--recipe", "b c"]


def test_alone_without_mpiexec(monkeypatch):
    for name in launch.SIZES:
        monkeypatch.delenv(name, raising=False)
    assert not started_by_mpiexec()
    assert communicator() is ALONE
    monkeypatch.setenv("PMI_SIZE", "1")
    assert not started_by_mpiexec()


def test_ranks_that_nobody_would_abort_are_refused(monkeypatch):
    monkeypatch.setenv("PMI_SIZE", "2")
    monkeypatch.delitem(sys.modules, "mpi4py.run", raising=False)
    with pytest.raises(ArgumentError, match="python -m mpi4py -m minicnn"):
        communicator()


@pytest.mark.parametrize(("code", "told"), [(9, 1), (137, 1), (-9, 1), (0, 0), (1, 1), (2, 2), (130, 130)])
def test_a_killed_rank_is_told_from_an_error(monkeypatch, capsys, code, told):
    seen = {}

    def run(command, env, check):
        seen.update(command=command, threads=env["NUMBA_NUM_THREADS"])
        return SimpleNamespace(returncode=code)

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(launch, "mpiexec", lambda: "mpiexec")
    monkeypatch.setattr(launch.os, "cpu_count", lambda: 8)
    monkeypatch.delenv("NUMBA_NUM_THREADS", raising=False)
    assert start(4, ["train", "--lr", "0.1"]) == told
    assert seen["command"][:3] == ["mpiexec", "-n", "4"]
    assert seen["command"][4:] == ["-m", "mpi4py", "-m", "minicnn", "train", "--lr", "0.1"]
    assert seen["threads"] == "2"
    assert ("ended by SIGKILL" in capsys.readouterr().err) == (code in (9, 137, -9))


def test_without_mpiexec_the_fix_is_named(monkeypatch):
    monkeypatch.setattr(launch.shutil, "which", lambda *_, **__: None)
    with pytest.raises(ArgumentError, match="pip install"):
        launch.mpiexec()


def test_nobody_waits_for_ever(monkeypatch):
    never = Request(SimpleNamespace(Test=lambda: False), "sum", 0.05)
    with pytest.raises(RankError, match=r"waited 0\.05 s for the others in sum"):
        never.wait()
    monkeypatch.setenv("MINICNN_RANK_TIMEOUT", "soon")
    with pytest.raises(ArgumentError, match="number of seconds"):
        timeout_seconds()


class PretendedNccl:
    """What NcclCommunicator is documented to take; sums and gathers nothing, notes everything."""

    available, NCCL_SUM = True, 0
    NCCL_FLOAT32, NCCL_FLOAT64, NCCL_FLOAT16, NCCL_INT64 = 7, 8, 6, 4

    def __init__(self, notes):
        self.notes = notes

    def get_unique_id(self):
        return b"id"

    def NcclCommunicator(self, ndev, commId, rank):
        self.notes.append(("begin", ndev, commId, rank))

        def all_reduce(sendbuf, recvbuf, count, datatype, op, stream):
            self.notes.append(("allReduce", sendbuf == recvbuf, count, datatype, op, stream))

        def all_gather(sendbuf, recvbuf, count, datatype, stream):
            self.notes.append(("allGather", sendbuf != recvbuf, count, datatype, stream))

        return SimpleNamespace(allReduce=all_reduce, allGather=all_gather)


class GpuArray(np.ndarray):
    """An array with CuPy's pointer."""

    @property
    def data(self):
        return SimpleNamespace(ptr=self.ctypes.data)


def test_nccl_is_called_as_documented(monkeypatch):
    notes = []

    def stream(name):
        return SimpleNamespace(
            ptr=name,
            record=lambda: notes.append(("record", name)) or f"event of {name}",
            wait_event=lambda event: notes.append(("wait", name, event)),
        )

    cuda = SimpleNamespace(
        nccl=PretendedNccl(notes), Stream=lambda non_blocking: stream("own"), get_current_stream=lambda: stream("main")
    )
    monkeypatch.setattr(
        nccl, "cupy", lambda: SimpleNamespace(cuda=cuda, empty=lambda s, d: np.empty(s, d).view(GpuArray))
    )
    monkeypatch.setattr(nccl, "is_cupy", lambda array: isinstance(array, GpuArray))
    ranks = nccl.Nccl(ALONE)
    array = np.ones(5, np.float32).view(GpuArray)
    ranks.sum(array)
    assert ranks.gather(array).shape == (1, 5)
    assert notes == [
        ("begin", 1, b"id", 0),
        ("record", "main"),  # the sum comes after what the main stream computes,
        ("wait", "own", "event of main"),
        ("allReduce", True, 5, 7, 0, "own"),
        ("record", "own"),
        ("wait", "main", "event of own"),  # and what comes after it waits on the GPU
        ("record", "main"),
        ("wait", "own", "event of main"),
        ("allGather", True, 5, 7, "own"),
        ("record", "own"),
        ("wait", "main", "event of own"),
    ]
    ranks.sum(np.ones(3))  # on the host
    cuda.nccl.available = False
    with pytest.raises(DeviceError, match="nvidia-nccl"):
        nccl.Nccl(ALONE)
