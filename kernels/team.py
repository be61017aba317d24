"""How many threads share a row on the GPU; the kernels' side of it is ``team.cuh``."""

from typing import Any

from minicnn.kernels import launch
from minicnn.kernels.launch import CudaSource


def lanes_of(size: int) -> int:
    """The team for a row of ``size`` values: a power of two up to a warp, a block, or four for a very long row."""
    if size < 4 * launch.THREADS:
        return 1 << min(max(size, 1).bit_length() - 1, 5)
    return min(1024, launch.THREADS if size < 64 * launch.THREADS else 4 * launch.THREADS)


def launch_teams(source: CudaSource, kernel: str, dtype: Any, rows: int, size: int, *arguments: Any) -> None:
    """Run ``kernel``, whose last parameter is ``lanes``, with a team for each of ``rows`` rows of ``size`` values."""
    lanes = lanes_of(size)
    threads = max(lanes, launch.THREADS)
    source.launch_blocks(kernel, dtype, -(-rows * lanes // threads), *arguments, lanes, threads=threads, count=rows)
