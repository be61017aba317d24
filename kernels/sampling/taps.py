"""``Taps``: which two pixels of one axis each output position reads, and the weight of the second."""

from dataclasses import dataclass

import numpy as np

Indices = np.ndarray


@dataclass(frozen=True, eq=False, slots=True)
class Taps:
    """Output i reads ``(1 - weight[i]) * x[first[i]] + weight[i] * x[second[i]]``; a weight of 0 reads one pixel."""

    first: Indices  # int64
    second: Indices  # int64
    weight: np.ndarray  # float64

    @property
    def arrays(self) -> tuple[Indices, Indices, np.ndarray]:
        return self.first, self.second, self.weight

    def __len__(self) -> int:
        return len(self.first)


def nearest_taps(size: int, out: int, factor: float | None) -> Taps:
    """Output i reads pixel ``floor(i * size / out)``, exact in integers; with a factor ``floor(i / factor)``.

    As in PyTorch the factor does not count when the size stays or doubles.
    """
    i = np.arange(out, dtype=np.int64)
    source = i * size // out if factor is None or out in (size, 2 * size) else np.floor(i / factor).astype(np.int64)
    source = np.minimum(source, size - 1)
    return Taps(source, source, np.zeros(out))


def bilinear_taps(size: int, out: int, factor: float | None, align_corners: bool) -> Taps:
    """Output i reads position ``(i + 0.5) * size/out - 0.5``, clamped at 0; ``i * (size-1)/(out-1)`` with corners.

    As in PyTorch a factor takes the place of ``out/size`` unless the size stays.
    """
    i = np.arange(out, dtype=np.float64)
    if align_corners:
        position = i * (size - 1) / max(out - 1, 1)
    else:
        scaled = (i + 0.5) * size / out if factor is None or out == size else (i + 0.5) / factor
        position = np.maximum(scaled - 0.5, 0.0)
    first = np.minimum(np.floor(position).astype(np.int64), size - 1)
    second = np.minimum(first + 1, size - 1)
    return Taps(first, second, np.where(second > first, position - first, 0.0))
