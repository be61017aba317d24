"""How many threads the CPU's kernels use."""

import importlib
from typing import Any

from minicnn.errors import ArgumentError


def set_num_threads(count: int) -> None:
    """Give kernels and BLAS ``count`` threads: 1 to as many as Numba started with, all cores unless told otherwise.

    Kernels that the calling Python thread starts use so many (a new Python thread begins with all), BLAS in the whole
    process. No result depends on it: work is cut into pieces by shape.

    **Raises** ArgumentError for anything else than such a number; ``NUMBA_NUM_THREADS`` in the environment of the
    process allows more than there are cores.
    """
    numba = _numba()
    most = numba.config.NUMBA_NUM_THREADS
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= most:
        raise ArgumentError(
            f"set_num_threads: count={count!r} is not usable, expected an integer from 1 to {most}; "
            "fix: NUMBA_NUM_THREADS=<count> in the environment before Python starts allows more"
        )
    numba.set_num_threads(count)
    for pool in importlib.import_module("threadpoolctl").ThreadpoolController().select(user_api="blas").lib_controllers:
        pool.set_num_threads(count)


def get_num_threads() -> int:
    """The number of threads that kernels started by the calling Python thread use."""
    return int(_numba().get_num_threads())


def _numba() -> Any:
    """Numba with its threading layer chosen, which is what ``kernels/jit.py`` does."""
    importlib.import_module("minicnn.kernels.jit")
    return importlib.import_module("numba")
