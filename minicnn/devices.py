"""Which device work runs on, and why."""

import importlib.util
import re

from minicnn.errors import DeviceError
from minicnn.kernels.arrays import cupy


def gpu_trouble() -> str:
    """Why this machine cannot run minicnn on a GPU; empty when it can."""
    if importlib.util.find_spec("minicnn.kernels.conv.cuda") is None:
        return "this version of minicnn has no CUDA kernels yet"
    try:
        xp = cupy()
    except DeviceError as error:
        return str(error)
    return "" if xp.cuda.is_available() else "CuPy is installed but finds no usable GPU (driver missing or too old)"


def choose_device(wanted: str) -> tuple[str, str]:
    """The device for ``"auto"``, ``"cpu"``, ``"gpu"`` or ``"cuda:<index>"``, and why it was taken.

    **Raises** DeviceError when a GPU is asked for and cannot be had: never a silent fall-back.
    """
    if not re.fullmatch(r"auto|cpu|gpu|cuda(:\d+)?", wanted):
        raise DeviceError(f"device {wanted!r} is unknown; expected 'auto', 'cpu', 'gpu', 'cuda' or 'cuda:<index>'")
    if wanted == "cpu":
        return "cpu", "as asked"
    trouble = gpu_trouble()
    if wanted == "auto":
        return ("cpu", trouble) if trouble else ("gpu", "a GPU is here")
    if trouble:
        raise DeviceError(f"device {wanted!r}: {trouble}; fix: --device cpu")
    return wanted, "as asked"
