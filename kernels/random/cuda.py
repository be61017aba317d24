"""CUDA twins of the random masks: the same integers as the CPU's, so the same decisions."""

import numpy as np

from minicnn.kernels.arrays import Array
from minicnn.kernels.launch import CudaSource, row_groups

SOURCE = CudaSource(__file__)


def mask_forward(x: Array, key: np.uint64, start: np.uint64, threshold: np.uint64, scale: float, y: Array) -> None:
    """x, y (decisions, shared)."""
    groups = row_groups(*x.shape)
    options = (*x.shape, groups, key, start, threshold, float(scale))
    SOURCE.launch("mask_forward", x.dtype, groups * x.shape[1], x, *options, y)


def mask_elements(x: Array, key: np.uint64, start: np.uint64, threshold: np.uint64, scale: float, y: Array) -> None:
    """x, y (size,); a thread takes 16 bytes (``map.cuh``)."""
    SOURCE.launch("mask_elements", x.dtype, -(-x.nbytes // 16), x, x.size, key, start, threshold, float(scale), y)
