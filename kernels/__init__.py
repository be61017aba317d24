"""Hand-written kernels over raw arrays: pure functions that know no tensor, no tape and no module.

One folder a family. Its ``__init__`` is the gate: it documents the contract (shapes, formula, ties), computes the
output shape once, allocates, returns at once for a ``ShapeArray``, and otherwise dispatches by the type of the first
array to the *twins*: ``cpu.py`` (Numba) or ``cuda.py`` (CUDA C++ through CuPy).
"""
