"""The tests of a real GPU. ``MINICNN_GPU=emulated pytest -m gpu`` runs them, smaller, on the emulator."""

import contextlib

import pytest

from minicnn.devices import gpu_trouble
from minicnn.kernels import launch
from tests.emulator import emulated_gpu
from tests.gpu.either import EMULATED


@pytest.fixture(autouse=True)
def gpu(monkeypatch):
    """A GPU, real or emulated; without one the test is skipped and says why."""
    with emulated_gpu() if EMULATED else contextlib.nullcontext():
        if EMULATED:
            monkeypatch.setattr(launch, "THREADS", 64)
        elif trouble := gpu_trouble():
            pytest.skip(f"no GPU: {trouble}")
        yield
