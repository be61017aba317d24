"""CUDA twins of the random masks on the emulator: the CPU's bits, whatever the dtype, the grid and the sizes."""

import ml_dtypes
import numpy as np
import pytest

import minicnn
from minicnn import Tensor, ops
from minicnn.kernels import launch
from minicnn.kernels import random as K
from minicnn.kernels.random.hashing import GOLDEN, MASK64, mix64
from tests.emulator import emulated_gpu, emulator_options, synchronisations

DTYPES = (np.float16, ml_dtypes.bfloat16, np.float32, np.float64)
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)


@pytest.fixture(autouse=True, params=["a row a thread", "16 rows a thread"])
def gpu(monkeypatch, request):
    monkeypatch.setattr(launch, "THREADS", 64)
    if request.param == "16 rows a thread":
        monkeypatch.setattr(launch, "BUSY", 1)
    with emulated_gpu() as cupy:
        yield cupy


def masked(gpu, x, *options):
    y = K.mask_forward(gpu.asarray(x), *options)
    assert y.dtype == x.dtype
    return y.get()


# seeds, first indices (those of a far sample wrap round 2**64) and probabilities, 0 and 1 among them
DRAWS = [
    (0, 0, 0.5),
    (1, 2**32 - 5, 0.1),
    (2**64 - 1, 2**63 - 3, 0.9),
    (12345678901234567890, 2**64 - 7, 0.3),
    (7, 2**70 + 11, 2**-32),
    (3, 9, 0.0),
    (3, 9, 1.0),
]


@every_dtype
@pytest.mark.parametrize(("seed", "first", "p"), DRAWS)
@pytest.mark.parametrize(("size", "shared"), [(1, 1), (1001, 1), (1200, 5), (1200, 400), (390, 390), (0, 1), (512, 2)])
def test_masks_have_the_bits_of_the_cpu(gpu, seed, first, p, size, shared, dtype):
    """Half and bfloat16 are scaled in float32 and rounded once, so the CPU's float32 rounded is the same."""
    x = np.random.default_rng(1).standard_normal(size).astype(dtype)
    options = (seed, first, shared, p, 1 / (1 - p) if p < 1 else 0.0)
    expected = K.mask_forward(x if dtype == np.float64 else x.astype(np.float32), *options).astype(dtype)
    assert np.array_equal(masked(gpu, x, *options), expected)


@pytest.mark.parametrize("shared", [1, 3])
def test_a_decision_at_the_threshold_keeps(gpu, shared):
    word = mix64(mix64(6) + 2 * GOLDEN & MASK64) >> 32  # of decision 2
    x = np.ones(4 * shared, np.float32)
    for drop, kept in ((word, 1.0), (word + 1, 0.0)):
        assert (masked(gpu, x, 6, 0, shared, drop / 2**32, 1.0)[2 * shared : 3 * shared] == kept).all()


def test_what_is_dropped_is_zero_whatever_it_was(gpu):
    x = np.array([np.nan, np.inf, -np.inf, -1.0] * 16, np.float32)
    for shared in (1, 4):
        expected, y = K.mask_forward(x, 5, 0, shared, 0.5, 2.0), masked(gpu, x, 5, 0, shared, 0.5, 2.0)
        assert np.array_equal(y, expected, equal_nan=True) and (y == 0).any()
        assert not np.signbit(y[y == 0]).any()


@pytest.mark.parametrize("order", [0, 1, 7])
@pytest.mark.parametrize("narrow", [-1, 1 << 30])
def test_the_grid_and_the_width_of_indices_change_nothing(gpu, monkeypatch, order, narrow):
    x = np.random.default_rng(2).standard_normal(1300).astype(np.float32)
    monkeypatch.setattr(launch, "NARROW", narrow)
    for blocks in (1, 3, 1 << 20):
        monkeypatch.setattr(launch, "MAX_BLOCKS", blocks)
        for shared in (1, 13, 650):
            with emulator_options(order, write_sets=True):
                y = masked(gpu, x, 8, 2**40, shared, 0.4, 1.7)
            assert np.array_equal(y, K.mask_forward(x, 8, 2**40, shared, 0.4, 1.7))


LAYERS = {
    "dropout": lambda x: ops.dropout(x, 0.4, seed=9),
    "dropout2d": lambda x: ops.dropout2d(x, 0.4, seed=9),
    "drop_connect": lambda x: ops.drop_connect(x, 0.4, seed=9),
    "rows": lambda x: ops.stochastic_depth(x, 0.4, "row", seed=9),
    "batch": lambda x: ops.stochastic_depth(x, 0.4, "batch", seed=3),
    "alpha_dropout": lambda x: ops.alpha_dropout(x, 0.4, training=True, seed=9),
    "drop_path": lambda x: ops.drop_path([x, x * 2.0, x - 1.0], 0.7, seed=9),
    "one column": lambda x: ops.drop_path([x, x * 2.0], column=1, seed=9),
}


@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)
def test_layers_equal_the_cpu_and_never_wait(gpu, layer):
    x = np.random.default_rng(4).standard_normal((8, 3, 5, 2)).astype(np.float32)

    def run(device):
        leaf = Tensor(x, requires_grad=True, device=device)
        gy = Tensor(np.ones_like(x), device=device)
        synchronisations.clear()
        with minicnn.random.sample_offset(5):
            y = layer(leaf)
        y.backward(gy)
        assert not synchronisations
        return y.numpy(), leaf.grad.numpy()

    for found, expected in zip(run("gpu"), run("cpu"), strict=True):
        assert np.array_equal(found, expected)
