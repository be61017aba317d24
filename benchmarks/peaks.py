"""What the device can do at best, measured: a large matrix product and a large copy, the two roofs of every figure."""

import itertools
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from timing import Call, Cpu, Gpu

from minicnn.kernels.arrays import array_module

# Rows and columns of the product, bytes of the copy.
SIZES = {"cpu": (2048, 256 << 20), "gpu": (8192, 1 << 30)}


class Peaks(NamedTuple):
    """The control rows: the best of their samples."""

    flops_per_second: float
    bytes_per_second: float

    def roof(self, flops: float, moved: float) -> float:
        """FLOP/s within reach of something with ``flops`` operations on ``moved`` bytes."""
        return min(self.flops_per_second, flops / moved * self.bytes_per_second)


def measure(device: Cpu | Gpu, dtype: np.dtype[Any], threads: int, samples: int | None = None) -> Peaks:
    """Multiply two square matrices of ``dtype``; read and write a large array (both count)."""
    size, copied = SIZES[device.name]
    rng = np.random.default_rng(0)
    a, b = (device.put(rng.standard_normal((size, size), np.float32).astype(dtype)) for _ in range(2))
    xp, product = array_module(a), device.put(np.empty((size, size), dtype))
    gemm = device.times({"gemm": lambda: xp.matmul(a, b, out=product)}, samples)["gemm"]
    with ThreadPoolExecutor(threads) as pool:
        moved = device.times({"copy": copier(device, 2 * copied, pool, threads)}, samples)["copy"]
    return Peaks(2 * size**3 / gemm.best, 2 * copied / moved.best)


def copier(device: Cpu | Gpu, moved: int, pool: ThreadPoolExecutor, threads: int) -> Call:
    """A copy that reads and writes ``moved`` bytes in all; on the CPU each thread has its part."""
    count = max(1, moved // 8)
    source, target = device.put(np.ones(count, np.float32)), device.put(np.zeros(count, np.float32))
    if device.name == "gpu":
        return lambda: target.__setitem__(..., source)
    parts = [slice(*pair) for pair in itertools.pairwise(count * part // threads for part in range(threads + 1))]
    return lambda: list(pool.map(lambda part: np.copyto(target[part], source[part]), parts))
