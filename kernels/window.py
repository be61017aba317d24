"""``Window2d``: the geometry of a sliding window, worked out once and shared by convolution, pooling and unfold."""

from typing import NamedTuple


class Window2d(NamedTuple):
    """A kh x kw window sliding over an h x w image.

    Tap (p, q) of output (i, j) reads pixel ``(i*sh + p*dh - top, j*sw + q*dw - left)``; outside the image is padding.
    """

    h: int
    w: int
    kh: int
    kw: int
    sh: int
    sw: int
    top: int
    bottom: int
    left: int
    right: int
    dh: int
    dw: int
    oh: int
    ow: int

    @property
    def taps(self) -> int:
        return self.kh * self.kw

    @property
    def out(self) -> tuple[int, int]:
        return self.oh, self.ow

    @property
    def is_pointwise(self) -> bool:
        """1x1, stride 1, no padding: every output pixel reads exactly its own input pixel, and there is one each.

        A transposed convolution with output padding has an image larger than its output.
        """
        return self[2:10] == (1, 1, 1, 1, 0, 0, 0, 0) and (self.h, self.w) == self.out
