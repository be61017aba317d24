"""CUDA twin of adding at positions: one thread a position that is added to."""

from minicnn.kernels.arrays import Array
from minicnn.kernels.launch import CudaSource

SOURCE = CudaSource(__file__)


def add_at(gy: Array, order: Array, positions: Array, gx: Array) -> None:
    """``gx.flat[positions[i]] += gy.flat[order[i]]``; positions are sorted, gy has as many elements as they."""
    SOURCE.launch("add_at", gx.dtype, positions.size, gy, order, positions, positions.size, gx)
