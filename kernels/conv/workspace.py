"""Scratch memory of the convolutions: bounded, and kept between calls.

A fresh large array is mapped anew and page-faults on every first touch, so each thread keeps one buffer a purpose.
"""

import threading

from minicnn.kernels.arrays import Array, allocate, device_of

# Bytes of one chunk of columns: 2 to 8 MiB were within 10 % of each other; below, large filters are read too often.
WORKSPACE_BYTES = 4 << 20

_kept = threading.local()


def scratch(like: Array, purpose: str, shape: tuple[int, int]) -> Array:
    """An uninitialised matrix of the dtype and device of ``like``, valid until the next call for ``purpose``."""
    buffers: dict[tuple[str, str, str], Array] = _kept.__dict__.setdefault("buffers", {})
    key = (purpose, device_of(like), like.dtype.char)
    size = shape[0] * shape[1]
    if key not in buffers or buffers[key].size < size:
        buffers[key] = allocate(like, (size,))
    return buffers[key][:size].reshape(shape)


def positions_a_chunk(rows: int, itemsize: int, pixels: int, images: int) -> int:
    """How many output positions one chunk of ``rows`` rows holds.

    Either whole images (at most ``images``) or an even part of one image of ``pixels`` positions: a chunk never holds
    one image and a bit.
    """
    fitting = max(1, WORKSPACE_BYTES // max(1, rows * itemsize))
    if fitting >= pixels:
        return pixels * min(fitting // pixels, images)
    pieces = -(-pixels // fitting)
    return -(-pixels // pieces)
