"""Kernels that are a column times a row: two thin convolutions in place of a square one.

**Math** the singular value decomposition ``kernel = sum_r columns[r] rows[r]^T`` with terms of falling size; keeping
the first r leaves the smallest error that any r terms can.
"""

from typing import Any, NamedTuple

import numpy as np

from minicnn.errors import ShapeError


class Separation(NamedTuple):
    """A kernel as a sum of columns times rows, the largest term first."""

    columns: np.ndarray  # (R, KH)
    rows: np.ndarray  # (R, KW)
    sizes: np.ndarray  # (R,) singular values

    @property
    def rank(self) -> int:
        """How many terms the kernel needs, up to rounding."""
        return int(np.count_nonzero(self.sizes > 1e-6 * self.sizes[0])) if self.sizes[0] else 0

    def error(self, terms: int) -> float:
        """What the first ``terms`` leave out, relative to the kernel (Frobenius norm)."""
        total = np.linalg.norm(self.sizes)
        return float(np.linalg.norm(self.sizes[terms:]) / total) if total else 0.0

    def kernel(self, terms: int) -> np.ndarray:
        """The sum of the first ``terms``: (KH, KW)."""
        return np.asarray(self.columns[:terms].T @ self.rows[:terms])


def separate(kernel: Any) -> Separation:
    """The terms of a kernel (KH, KW); each is shared evenly between its column and its row."""
    values = np.asarray(kernel, np.float64)
    if values.ndim != 2 or not values.size:
        raise ShapeError(f"separate: a kernel of shape {values.shape}, expected (KH, KW)")
    left, sizes, right = np.linalg.svd(values, full_matrices=False)
    share = np.sqrt(sizes)
    return Separation((left * share).T, right * share[:, None], sizes)
