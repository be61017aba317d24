"""The machine, the versions and the load that every benchmark prints first."""

import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any


def machine() -> dict[str, Any]:
    """Facts without which a figure means nothing; no names of hosts or folders."""
    libraries = ("numpy", "numba", "minicnn")
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in libraries if _installed(name)},
        "blas_threads": os.environ.get("OPENBLAS_NUM_THREADS", "default"),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }


def headline() -> str:
    """The facts in one line."""
    return ", ".join(f"{name} {value}" for name, value in machine().items())


def _processor() -> str:
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text(encoding="utf-8").splitlines() if facts.is_file() else []
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.processor())


def _installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
