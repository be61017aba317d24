"""A GPU made of g++ and NumPy: the CUDA sources of ``kernels/`` run on any machine, launched as on a GPU.

* ``include/``: CUDA's threads, barriers, warps and types in C++ (start at ``cuda_emu.h``).
* ``raw_module.py``: compiles a source with g++, checks every launch, runs it on host memory.
* ``pretend_cupy.py``: the part of CuPy that minicnn uses, over NumPy arrays; refuses what CuPy refuses.

``with emulated_gpu():`` makes ``tensor.to("gpu")`` and everything after it use them.
"""

from tests.emulator.pretend_cupy import emulated_gpu, synchronisations
from tests.emulator.raw_module import EmulatorError, emulator_options

__all__ = ["EmulatorError", "emulated_gpu", "emulator_options", "synchronisations"]
