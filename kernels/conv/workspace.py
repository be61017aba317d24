"""Scratch memory of the convolutions, bounded.

On the CPU each thread keeps one buffer a purpose, whose addresses are still in the cache when the next convolution
writes there; a large one, which no cache holds, goes back to the arena. On the GPU CuPy's pool hands out memory at
once; it reuses memory in the order of the stream that freed it, which makes scratch safe with any number of streams
and threads.
"""

import threading

from minicnn.kernels.arrays import Array, allocate, is_cupy

# Bytes of one chunk of columns on a GPU, which wants few launches and large products. Two chunks are alive where one
# follows another.
GPU_WORKSPACE_BYTES = 256 << 20
# A larger buffer is not kept.
KEPT_BYTES = 8 << 20

_kept = threading.local()


def scratch(like: Array, purpose: str, shape: tuple[int, int]) -> Array:
    """An uninitialised matrix of the dtype and device of ``like``, valid until the next call for ``purpose``."""
    size = shape[0] * shape[1]
    if is_cupy(like) or size * like.itemsize > KEPT_BYTES:
        return allocate(like, shape)
    buffers: dict[tuple[str, str], Array] = _kept.__dict__.setdefault("buffers", {})
    key = (purpose, like.dtype.char)
    if key not in buffers or buffers[key].size < size:
        buffers[key] = allocate(like, (size,))
    return buffers[key][:size].reshape(shape)


def positions_a_chunk(allowed: int, rows: int, itemsize: int, pixels: int, images: int) -> int:
    """How many output positions one chunk of ``rows`` rows and ``allowed`` bytes holds.

    Either whole images (at most ``images``) or an even part of one image of ``pixels`` positions: a chunk never holds
    one image and a bit.
    """
    fitting = max(1, allowed // max(1, rows * itemsize))
    if fitting >= pixels:
        return pixels * min(fitting // pixels, images)
    pieces = -(-pixels // fitting)
    return -(-pixels // pieces)
