"""``Taps``: which two pixels of one axis each output position reads, and the weight of the second."""

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

Indices = np.ndarray


@dataclass(frozen=True, eq=False, slots=True)
class Taps:
    """Output i reads ``(1 - weight[i]) * x[first[i]] + weight[i] * x[second[i]]``; a weight of 0 reads one pixel.

    ``first`` never falls and ``second`` is at most 1 more, so the other way round the outputs that read pixel p are
    ``range(readers[0, p], readers[1, p])``, the k-th of them with weight ``shares[p, k]``.
    """

    size: int
    first: Indices  # int64
    second: Indices  # int64
    weight: np.ndarray  # float64
    readers: Indices = field(init=False)  # (2, size) int64
    shares: np.ndarray = field(init=False)  # (size, most readers) float64

    def __post_init__(self) -> None:
        outputs = np.arange(len(self))
        read = np.concatenate([self.first, self.second[self.weight != 0]])
        by = np.concatenate([outputs, outputs[self.weight != 0]])
        weight = np.concatenate([1 - self.weight, self.weight[self.weight != 0]])
        readers = np.zeros((2, self.size), np.int64)
        readers[0] = len(self)
        np.minimum.at(readers[0], read, by)
        np.maximum.at(readers[1], read, by + 1)
        shares = np.zeros((self.size, max(1, int((readers[1] - readers[0]).max()))))
        shares[read, by - readers[0, read]] = weight
        object.__setattr__(self, "readers", readers)
        object.__setattr__(self, "shares", shares)

    @property
    def arrays(self) -> tuple[Indices, Indices, np.ndarray]:
        return self.first, self.second, self.weight

    @property
    def back(self) -> tuple[Indices, np.ndarray]:
        return self.readers, self.shares

    def __len__(self) -> int:
        return len(self.first)


@lru_cache(maxsize=256)
def nearest_taps(size: int, out: int, factor: float | None) -> Taps:
    """Output i reads pixel ``floor(i * size / out)``, exact in integers; with a factor ``floor(i / factor)``.

    As in PyTorch the factor does not count when the size stays or doubles.
    """
    i = np.arange(out, dtype=np.int64)
    source = i * size // out if factor is None or out in (size, 2 * size) else np.floor(i / factor).astype(np.int64)
    source = np.minimum(source, size - 1)
    return Taps(size, source, source, np.zeros(out))


@lru_cache(maxsize=256)
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
    return Taps(size, first, second, np.where(second > first, position - first, 0.0))
