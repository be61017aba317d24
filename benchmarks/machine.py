"""The machine, the versions, the threads and the load that every benchmark prints first."""

import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

from minicnn.errors import ArgumentError

LIBRARIES = ("numpy", "numba", "torch", "torchvision", "onnxruntime", "cupy-cuda13x", "cupy-cuda12x", "minicnn")


def machine(device: str = "cpu") -> dict[str, Any]:
    """Facts without which a figure means nothing; no names of hosts or folders."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in LIBRARIES if installed(name)},
        "blas_threads": os.environ.get("OPENBLAS_NUM_THREADS", "default"),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        **({} if device == "cpu" else _gpu()),
    }


def headline(facts: dict[str, Any] | None = None) -> str:
    """The facts in one line."""
    return ", ".join(f"{name} {value}" for name, value in (machine() if facts is None else facts).items())


def set_threads(count: int | None, with_torch: bool) -> dict[str, int]:
    """Give Numba, BLAS and PyTorch ``count`` threads, as many as Numba can by default; what each then says it has."""
    import numba
    import threadpoolctl

    most = numba.config.NUMBA_NUM_THREADS
    count = most if count is None else count
    if count > most:
        raise ArgumentError(f"threads: {count} is more than Numba started with, {most}; fix: NUMBA_NUM_THREADS={count}")
    numba.set_num_threads(count)
    threadpoolctl.threadpool_limits(count, "blas")
    blas = [pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]
    threads = {"numba": numba.get_num_threads(), "blas": max(blas, default=1)}
    if with_torch:
        import torch

        torch.set_num_threads(count)
        threads["torch"] = torch.get_num_threads()
    return threads


def positive(text: str) -> int:
    """The type of an argument of the command line that counts something."""
    value = int(text)
    if value < 1:
        raise ValueError(text)
    return value


def _processor() -> str:
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text(encoding="utf-8").splitlines() if facts.is_file() else []
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.processor())


def _gpu() -> dict[str, Any]:
    from minicnn.kernels.arrays import cupy

    runtime = cupy().cuda.runtime
    facts = runtime.getDeviceProperties(cupy().cuda.Device().id)
    name = facts["name"]
    return {
        "gpu": name.decode() if isinstance(name, bytes) else name,
        "gpu_memory_bytes": facts["totalGlobalMem"],
        "cuda": runtime.runtimeGetVersion(),
        "driver": runtime.driverGetVersion(),
    }


def installed(name: str) -> bool:
    """Whether the distribution is here, told without importing it."""
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
