"""Which device work runs on, and why."""

import os
import re
import sys
from typing import Any, NamedTuple

from minicnn.errors import DeviceError
from minicnn.kernels.arena import arena
from minicnn.kernels.arrays import cupy
from minicnn.kernels.memory import Memory, memory

# All of them install the same folder `cupy`, each over the other.
WHEELS = ("cupy", "cupy-cuda11x", "cupy-cuda12x", "cupy-cuda13x", "cupy-rocm-6-0", "cupy-rocm-7-0", "amd-cupy")


class Gpu(NamedTuple):
    """What there is to know about the current GPU."""

    name: str
    capability: str
    multiprocessors: int
    memory: Memory
    driver: str
    runtime: str
    nvrtc: str
    cupy: str


def gpu_index(device: str) -> int | None:
    """The number in ``"cuda:<index>"``, -1 for the current GPU (``"gpu"``, ``"cuda"``), None for ``"cpu"``.

    **Raises** DeviceError for any other name.
    """
    found = re.fullmatch(r"(cpu)|gpu|cuda(?::(\d+))?", device) if isinstance(device, str) else None
    if not found:
        raise DeviceError(f"device {device!r} is unknown; expected 'cpu', 'gpu', 'cuda' or 'cuda:<index>'")
    return None if found[1] else int(found[2] or -1)


def gpu(device: str, index: int) -> Any:
    """CuPy's device of that ``gpu_index``. **Raises** DeviceError when this machine has none such."""
    xp = cupy()
    if not xp.cuda.is_available():
        raise DeviceError(f"device {device!r}: {gpu_trouble()}")
    if index >= (count := xp.cuda.runtime.getDeviceCount()):
        raise DeviceError(f"device {device!r}: this machine has {count} GPU(s); fix: 'cuda:0' to 'cuda:{count - 1}'")
    return xp.cuda.Device(None if index < 0 else index)


def gpu_trouble() -> str:
    """Why this machine cannot run minicnn on a GPU and what to do; empty when it can."""
    installed = [name for name in WHEELS if _version(name)]
    if len(installed) > 1:
        return (
            f"several CuPy packages are installed ({', '.join(installed)}), each over the other; "
            f"fix: pip uninstall -y {' '.join(installed)}, then pip install 'minicnn[cuda13]' (or 'minicnn[cuda12]')"
        )
    try:
        xp = cupy()
    except DeviceError as error:
        return str(error)
    wheel = "12" if "cupy-cuda12x" in installed else "13"
    return _driver_trouble(xp, wheel) or _compiler_trouble(xp, wheel)


def _driver_trouble(xp: Any, wheel: str) -> str:
    if xp.cuda.is_available():
        return ""
    driver = xp.cuda.runtime.driverGetVersion()
    if not driver:
        return "CuPy is installed, but there is no NVIDIA driver; fix: install it (nvidia-smi must list the GPU)"
    if driver // 1000 < int(wheel):
        other = "; fix: update the driver" + (", or pip install 'minicnn[cuda12]' instead" if wheel == "13" else "")
        return f"the NVIDIA driver is for CUDA {_dotted(driver)}, but CuPy for CUDA {wheel}{other}"
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    shown = "" if hidden is None else f" (CUDA_VISIBLE_DEVICES={hidden!r})"
    return (
        f"CuPy and an NVIDIA driver are installed, but no GPU is visible{shown}; fix: see whether nvidia-smi lists it"
    )


def _compiler_trouble(xp: Any, wheel: str) -> str:
    """Kernels are compiled on the machine that runs them, by NVRTC."""
    try:
        xp.cuda.nvrtc.getVersion()
    except Exception:  # CuPy raises even AssertionError when the library is missing
        return (
            "CuPy finds no NVRTC, the compiler of CUDA kernels; "
            f"fix: pip install 'minicnn[cuda{wheel}-ctk]', or install the CUDA toolkit {wheel}"
        )
    return ""


def gpu_facts() -> Gpu | None:
    """The current GPU, or None when there is no usable one."""
    if gpu_trouble():
        return None
    xp = cupy()
    device, runtime = xp.cuda.Device(), xp.cuda.runtime
    properties = runtime.getDeviceProperties(device.id)
    return Gpu(
        name=properties["name"].decode(),
        capability=".".join((device.compute_capability[:-1], device.compute_capability[-1])),
        multiprocessors=int(properties["multiProcessorCount"]),
        memory=memory(xp),
        driver=_dotted(runtime.driverGetVersion()),
        runtime=_dotted(runtime.runtimeGetVersion()),
        nvrtc=".".join(map(str, xp.cuda.nvrtc.getVersion())),
        cupy=xp.__version__,
    )


def choose_device(wanted: str) -> tuple[str, str]:
    """The device for ``"auto"``, ``"cpu"``, ``"gpu"`` or ``"cuda:<index>"``, and why it was taken.

    **Raises** DeviceError when a GPU is asked for and cannot be had: never a silent fall-back.
    """
    if wanted == "auto":
        trouble = gpu_trouble()
        return ("cpu", trouble) if trouble else ("gpu", "a GPU is here")
    index = gpu_index(wanted)
    if index is not None:
        trouble = gpu_trouble()
        if trouble:
            raise DeviceError(f"device {wanted!r}: {trouble}; or go without: --device cpu")
        gpu(wanted, index)
    return wanted, "as asked"


def empty_cache() -> None:
    """Give back to the system what is kept of freed arrays, on the CPU and on the current GPU.

    Large arrays of a training step lie in the memory of the step before, which is several times as fast as fresh
    memory; until this is called, about as much stays held as was lately in use at once.
    """
    arena.clear()
    if "cupy" in sys.modules and not gpu_trouble():
        cupy().get_default_memory_pool().free_all_blocks()


def _dotted(version: int) -> str:
    """CUDA's ``13020`` -> ``13.2``."""
    return f"{version // 1000}.{version % 1000 // 10}"


def _version(distribution: str) -> str | None:
    import importlib.metadata  # takes longer to load than all of this file

    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
