"""Random masks: a decision is a hash of (seed, global index), so it is the same on every device and in every run.

**Math** ``key = mix64(seed)``; decision ``i`` is the upper 32 bits of ``mix64(key + i * golden)``, SplitMix64's i-th
output from state ``key``; it keeps when that number is at least ``round(p * 2**32)``. Only 64-bit integer
multiplications, additions and shifts, which CUDA repeats exactly. Nothing is stored: backward hashes again.
"""

import numpy as np

from minicnn.kernels.arrays import Array, allocate, twin
from minicnn.kernels.random.hashing import MASK64, mix64


def mask_forward(x: Array, seed: int, first: int, shared: int, p: float, scale: float) -> Array:
    """``y = x * scale`` where kept, exactly 0 where dropped (also where ``x`` is NaN or inf).

    Each run of ``shared`` elements is one decision; the first run has index ``first``, modulo 2**64. ``p`` is the
    probability of dropping, rounded to a multiple of 2**-32. Linear in ``x``: the gradient is the same function.
    """
    y = allocate(x, x.shape)
    if not x.size:
        return y
    key, start = np.uint64(mix64(seed)), np.uint64(first & MASK64)
    threshold = np.uint64(round(p * 2**32))
    twins = twin(__name__, x)
    if shared == 1:
        twins.mask_elements(x.reshape(-1), key, start, threshold, scale, y.reshape(-1))
    else:
        matrix = (x.size // shared, shared)
        twins.mask_forward(x.reshape(matrix), key, start, threshold, scale, y.reshape(matrix))
    return y
