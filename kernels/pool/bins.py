"""``Bins``: which pixels each output of a pool covers, as a start, an end and a divisor for every row and column.

Strided windows, adaptive pools and global pools differ only in their bins, so one kernel serves all three.
"""

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from minicnn.kernels.window import Window2d

Indices = np.ndarray
SLIDING = 4  # outputs of a plane from which they are worth being a vector


@dataclass(frozen=True, eq=False, slots=True)
class Bins:
    """Output (i, j) covers the pixels ``range(rows[0, i], rows[1, i], dh) x range(cols[0, j], cols[1, j], dw)``.

    Ends and starts lie inside the image; a bin without a pixel has start >= end. An average divides by
    ``rows[2, i] * cols[2, j]``. The other way round, only outputs ``range(row_readers[0, r], row_readers[1, r])`` can
    cover row r (all of them do unless dh > 1), and likewise for columns. ``window`` is what they were made of, with its
    padding; None for adaptive bins. ``sliding`` is the window that kernels may slide without asking where each bin
    lies: not dilated, every bin has a pixel, the outputs are no handful. Adaptive bins of one size are such a window.
    """

    h: int
    w: int
    rows: Indices  # (3, oh) int64: start, end, divisor
    cols: Indices  # (3, ow) int64
    dh: int = 1
    dw: int = 1
    window: Window2d | None = None
    sliding: Window2d | None = None
    is_plane: bool = field(init=False)  # there is one bin, and it has every pixel
    row_readers: Indices = field(init=False)  # (2, h) int64
    col_readers: Indices = field(init=False)  # (2, w) int64

    def __post_init__(self) -> None:
        whole = ((self.rows, self.h, self.dh), (self.cols, self.w, self.dw))
        is_plane = all(bins.shape[1] == step == 1 and (bins[:2, 0] == (0, size)).all() for bins, size, step in whole)
        object.__setattr__(self, "is_plane", is_plane)
        object.__setattr__(self, "row_readers", _readers(self.rows, self.h, self.dh))
        object.__setattr__(self, "col_readers", _readers(self.cols, self.w, self.dw))

    @property
    def out(self) -> tuple[int, int]:
        return self.rows.shape[1], self.cols.shape[1]


def _readers(bins: Indices, size: int, step: int) -> Indices:
    """For every pixel of one axis the first output whose bin has it, and one past the last; (0, 0) where none has."""
    readers = np.zeros((2, size), np.int64)
    spans = [slice(start, max(start, end), step) for start, end in bins[:2].T.tolist()]
    for i, span in enumerate(spans):
        readers[1, span] = i + 1
    for i, span in reversed(list(enumerate(spans))):
        readers[0, span] = i
    return readers


@lru_cache(maxsize=256)
def window_bins(window: Window2d, include_pad: bool = True, divisor: int | None = None) -> Bins:
    """The bins of a strided window; the divisor counts padding (but never beyond it) unless told otherwise."""

    def axis(size: int, out: int, k: int, s: int, before: int, after: int, d: int) -> Indices:
        first = np.arange(out, dtype=np.int64) * s - before
        start = first + d * -(np.minimum(first, 0) // d)  # the first tap at or after pixel 0
        end = np.minimum(first + d * (k - 1) + 1, size)
        extent = np.minimum(first + k, size + after) - first if include_pad else end - start
        return np.stack([start, end, extent])

    rows = axis(window.h, window.oh, window.kh, window.sh, window.top, window.bottom, window.dh)
    cols = axis(window.w, window.ow, window.kw, window.sw, window.left, window.right, window.dw)
    if divisor is not None:
        rows[2], cols[2] = divisor, 1
    plain = window.oh * window.ow >= SLIDING and window.dh == window.dw == 1
    slides = plain and all((bins[0] < bins[1]).all() for bins in (rows, cols))
    return Bins(window.h, window.w, rows, cols, window.dh, window.dw, window, window if slides else None)


@lru_cache(maxsize=256)
def adaptive_bins(h: int, w: int, oh: int, ow: int) -> Bins:
    """Bin i of n covers ``floor(i*size/n)`` to ``ceil((i+1)*size/n)``: none is empty, neighbours may share pixels."""

    def axis(size: int, out: int) -> Indices:
        i = np.arange(out, dtype=np.int64)
        start, end = i * size // out, -(-(i + 1) * size // out)
        return np.stack([start, end, end - start])

    kh, kw = h // oh, w // ow
    even = oh * ow >= SLIDING and (oh * kh, ow * kw) == (h, w)
    sliding = Window2d(h, w, kh, kw, kh, kw, 0, 0, 0, 0, 1, 1, oh, ow) if even else None
    return Bins(h, w, axis(h, oh), axis(w, ow), sliding=sliding)
