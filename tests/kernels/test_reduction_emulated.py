"""The sum that leaves one number a channel: both twins, every kind of shape, float64 sums whatever the dtype."""

import ml_dtypes
import numpy as np
import pytest

from minicnn.kernels import launch
from minicnn.kernels.reduction import channel_sum
from tests.close import assert_close
from tests.emulator import emulated_gpu, emulator_options

# Matrices and images; rows shorter and longer than a warp and than a block; batches of several blocks of rows.
SHAPES = [(0, 3, 5), (1, 1, 1), (5, 7, 1), (70, 3, 1), (33, 5, 4), (3, 2, 31), (2, 3, 32), (4, 5, 1000), (2, 3, 9, 11)]
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)
TOLERANCES = {"float64": 1e-14, "float32": 1e-7, "float16": 5e-4, "bfloat16": 4e-3}  # one rounding of the result
DTYPES = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16, "float32": np.float32, "float64": np.float64}


@pytest.fixture(autouse=True)
def gpu(monkeypatch):
    monkeypatch.setattr(launch, "THREADS", 64)
    with emulated_gpu() as cupy:
        yield cupy


def drawn(shape, dtype):
    return np.random.default_rng(1).standard_normal(shape).astype(DTYPES[dtype])


def reference(x):
    return x.astype(float).sum((0, *range(2, x.ndim)))


@every_shape
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("blocks", [1, 1 << 20])
def test_on_the_gpu(gpu, monkeypatch, shape, dtype, blocks):
    monkeypatch.setattr(launch, "MAX_BLOCKS", blocks)
    x = drawn(shape, dtype)
    with emulator_options(order=7, write_sets=True):
        y = channel_sum(gpu.asarray(x))
    assert y.dtype == x.dtype
    assert_close(y.get().astype(float), reference(x), TOLERANCES[dtype])


@every_shape
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_on_the_cpu(shape, dtype):
    x = drawn(shape, dtype)
    y = channel_sum(x)
    assert y.dtype == x.dtype
    assert_close(y, reference(x), TOLERANCES[dtype])


def test_columns_of_several_blocks_on_the_cpu():
    x = drawn((70, 5000), "float32")
    assert_close(channel_sum(x), reference(x), 1e-7)


@pytest.mark.parametrize("shape", [(1 << 15, 1), (1, 1, 1 << 15)], ids=str)
def test_many_small_numbers_beside_a_large_one(gpu, shape):
    """In float32 every single addition would be lost."""
    x = np.full(shape, 2.0**-11, np.float32)
    x.flat[0] = 2.0**14
    expected = np.float32(2.0**14 + (2.0**15 - 1) * 2.0**-11)
    assert channel_sum(x) == expected
    assert channel_sum(gpu.asarray(x)).get() == expected
