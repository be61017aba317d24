"""CUDA twins of pooling on the emulator: the CPU's bits, every dtype, NaN, and what no case of the operations asks."""

import ml_dtypes
import numpy as np
import pytest

from minicnn import Tensor, ops
from minicnn.kernels import launch
from minicnn.kernels import pool as K
from minicnn.kernels.pool import adaptive_bins, window_bins
from minicnn.kernels.window import Window2d
from tests.close import assert_close
from tests.emulator import emulated_gpu, emulator_options, synchronisations

TOLERANCES = {"float64": 1e-14, "float32": 1e-6, "float16": 1e-3, "bfloat16": 8e-3}  # a rounding or two of the dtype
DTYPES = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16, "float32": np.float32, "float64": np.float64}


def windows(h, w, k, s, p=(0, 0), d=(1, 1), **options):
    oh, ow = ((n + 2 * p[a] - d[a] * (k[a] - 1) - 1) // s[a] + 1 for a, n in enumerate((h, w)))
    return window_bins(Window2d(h, w, *k, *s, p[0], p[0], p[1], p[1], *d, oh, ow), **options)


BINS = {
    "2x2": windows(8, 6, (2, 2), (2, 2)),
    "overlapping": windows(9, 7, (5, 3), (1, 2), (2, 1)),
    "all overlap": windows(6, 6, (5, 5), (1, 1), (2, 2)),
    "large strides": windows(17, 12, (2, 1), (7, 5)),
    "padding not counted": windows(5, 5, (3, 3), (2, 2), (1, 1), include_pad=False),
    "divisor": windows(5, 4, (2, 3), (1, 1), divisor=7),
    "adaptive": adaptive_bins(7, 10, 3, 4),
    "more bins than pixels": adaptive_bins(2, 3, 5, 7),
    "plane": adaptive_bins(5, 7, 1, 1),
    "large plane": adaptive_bins(33, 70, 1, 1),
    "one column": adaptive_bins(6, 5, 3, 1),
}
DILATED = {
    "dilated": windows(11, 13, (3, 3), (1, 2), (1, 1), (4, 3)),
    "dilated plane": windows(5, 5, (3, 3), (1, 1), (0, 0), (2, 2)),
    "no tap": windows(2, 5, (2, 1), (1, 1), (1, 0), (3, 1)),
}
every_bins = pytest.mark.parametrize("bins", BINS.values(), ids=BINS)
every_extreme_bins = pytest.mark.parametrize("bins", (BINS | DILATED).values(), ids=BINS | DILATED)
every_dtype = pytest.mark.parametrize("dtype", DTYPES)
both_ends = pytest.mark.parametrize("smallest", [False, True])


@pytest.fixture(autouse=True, params=["a row a thread", "16 rows a thread"])
def gpu(monkeypatch, request):
    monkeypatch.setattr(launch, "THREADS", 64)
    if request.param == "16 rows a thread":
        monkeypatch.setattr(launch, "BUSY", 1)
    with emulated_gpu() as cupy:
        yield cupy


def drawn(seed, shape, dtype="float32"):
    return np.random.default_rng(seed).standard_normal(shape).astype(DTYPES[dtype])


def same(found, expected):
    """Equal bits, but for the kind of NaN."""
    host = found.get()
    assert host.dtype == expected.dtype and np.array_equal(host, expected, equal_nan=host.dtype.kind == "f")


def with_specials(x, seed):
    """Ties, NaN, infinities and both zeros, in every plane."""
    rng, x = np.random.default_rng(seed), np.round(x)
    for value in (np.nan, np.nan, np.inf, -np.inf, 0.0, -0.0):
        x.reshape(-1)[rng.integers(x.size, size=max(1, x.size // 20))] = value
    x[0, 0] = -np.inf
    x[0, 1] = np.inf
    return x


@every_extreme_bins
@both_ends
def test_extremes_have_the_bits_of_the_cpu(gpu, bins, smallest):
    x = drawn(1, (2, 9, bins.h, bins.w))
    for image in (x, with_specials(x, 2)):
        y, index = K.extreme_forward(gpu.asarray(image), bins, smallest)
        expected, where = K.extreme_forward(image, bins, smallest)
        same(index, where)
        same(y, expected)
        assert np.array_equal(np.signbit(y.get())[~np.isnan(expected)], np.signbit(expected)[~np.isnan(expected)])
        gy = drawn(3, expected.shape)
        same(K.extreme_grad_x(gpu.asarray(gy), index, bins), K.extreme_grad_x(gy, where, bins))


@every_bins
def test_averages_have_the_bits_of_the_cpu(gpu, bins):
    """But for whole planes, which a team sums in another order, in float64."""
    x = drawn(4, (3, 7, bins.h, bins.w))
    expected = K.average_forward(x, bins)
    y = K.average_forward(gpu.asarray(x), bins)
    if bins.out == (1, 1):
        assert_close(y.get(), expected, 2**-23)
    else:
        same(y, expected)
    gy = drawn(5, expected.shape)
    same(K.average_grad_x(gpu.asarray(gy), bins), K.average_grad_x(gy, bins))


@every_bins
def test_averages_of_nan_and_inf_stay_where_they_are(gpu, bins):
    x = with_specials(drawn(6, (2, 3, bins.h, bins.w)), 7)
    with np.errstate(invalid="ignore"):
        assert_close(K.average_forward(gpu.asarray(x), bins).get(), K.average_forward(x, bins), 1e-6)
        gy = with_specials(drawn(8, (2, 3, *bins.out)), 9)
        same(K.average_grad_x(gpu.asarray(gy), bins), K.average_grad_x(gy, bins))


@every_dtype
@every_bins
def test_every_dtype_equals_float64(gpu, bins, dtype):
    x, gy = drawn(10, (2, 3, bins.h, bins.w), dtype), drawn(11, (2, 3, *bins.out), dtype)
    wide_x, wide_gy = x.astype(np.float64), gy.astype(np.float64)
    found, expected = K.average_forward(gpu.asarray(x), bins), K.average_forward(wide_x, bins)
    assert found.dtype == x.dtype
    assert_close(found.get().astype(float), expected, TOLERANCES[dtype])
    found, expected = K.average_grad_x(gpu.asarray(gy), bins), K.average_grad_x(wide_gy, bins)
    assert_close(found.get().astype(float), expected, TOLERANCES[dtype])
    (y, index), (expected, where) = (
        K.extreme_forward(gpu.asarray(x), bins, False),
        K.extreme_forward(wide_x, bins, False),
    )
    assert np.array_equal(y.get().astype(float), expected) and np.array_equal(index.get(), where)
    found, expected = K.extreme_grad_x(gpu.asarray(gy), index, bins), K.extreme_grad_x(wide_gy, where, bins)
    assert found.dtype == gy.dtype
    assert_close(found.get().astype(float), expected, TOLERANCES[dtype])


@pytest.mark.parametrize("pixels", [1, 2, 3, 7, 8, 33, 49, 100, 255, 256, 1000, 1024, 5000, 16500])
def test_planes_of_every_size(gpu, pixels):
    """One thread, a part of a warp, a warp, a block, a larger block a plane; the last NaN may be anyone's."""
    bins, x = adaptive_bins(1, pixels, 1, 1), np.round(drawn(12, (1, 5, 1, pixels)))
    x[0, 1:3, 0, pixels // 2] = np.nan
    x[0, 2, 0, (pixels - 1) // 3] = np.nan
    x[0, 3] = -np.inf
    for smallest in (False, True):
        y, index = K.extreme_forward(gpu.asarray(x), bins, smallest)
        expected, where = K.extreme_forward(x, bins, smallest)
        same(index, where)
        same(y, expected)
    assert_close(K.average_forward(gpu.asarray(x), bins).get(), K.average_forward(x, bins), 1e-6)


@pytest.mark.parametrize("shape", [(2, 3, 1, 1), (2, 3, 4, 5), (1, 4, 9, 8), (3, 1, 13, 12)])
@pytest.mark.parametrize("distinct", [1, 3, 40])
@pytest.mark.parametrize("order", [0, 1, 7])
def test_of_equal_places_the_last_stays(gpu, shape, distinct, order):
    """Also where equal places are far apart, and where 32 neighbours are all equal; whichever thread comes first."""
    x, out = drawn(13, shape), (7, 9)
    index = np.random.default_rng(14).integers(0, distinct, shape).astype(np.int32)
    index[0] = np.sort(index[0].reshape(-1)).reshape(index[0].shape)
    gy = drawn(15, (*shape[:2], *out))
    with emulator_options(order):
        same(K.unpool_forward(gpu.asarray(x), gpu.asarray(index), out), K.unpool_forward(x, index, out))
        same(K.unpool_grad_x(gpu.asarray(gy), gpu.asarray(index)), K.unpool_grad_x(gy, index))


@every_dtype
def test_unpooling_moves_numbers_unchanged(gpu, dtype):
    x = drawn(16, (2, 2, 3, 3), dtype)
    index = np.arange(36, dtype=np.int32).reshape(2, 2, 3, 3) % 9 * 2
    y = K.unpool_forward(gpu.asarray(x), gpu.asarray(index), (4, 5))
    assert y.dtype == x.dtype and np.array_equal(y.get().reshape(4, 20)[:, :18:2], x.reshape(4, 9))
    same(K.unpool_grad_x(y, gpu.asarray(index)), x)


@pytest.mark.parametrize("wrong", [-1, 16, 2**32, -(2**40)])
def test_an_index_outside_makes_its_own_plane_nan(gpu, wrong):
    index = np.arange(24).reshape(2, 3, 2, 2) % 16
    index[1, 1, 0, 1] = wrong
    x = Tensor(drawn(17, index.shape), requires_grad=True, device="gpu")
    y = ops.max_unpool2d(x, Tensor(index, device="gpu"), 2)
    y.backward(Tensor(np.ones(y.shape, np.float32), device="gpu"))
    assert np.argwhere(np.isnan(y.numpy())).tolist() == [[1, 1, 0, 0]]
    assert np.argwhere(np.isnan(x.grad.numpy())).tolist() == [[1, 1, 0, 1]]


@pytest.mark.parametrize("order", [0, 1, 7])
def test_the_grid_and_the_order_of_threads_change_nothing(gpu, monkeypatch, order):
    x, index = drawn(18, (2, 5, 9, 7)), np.random.default_rng(19).integers(0, 30, (2, 5, 9, 7)).astype(np.int32)
    for blocks in (1, 3, 1 << 20):
        monkeypatch.setattr(launch, "MAX_BLOCKS", blocks)
        with emulator_options(order, write_sets=True):
            for bins in (BINS["overlapping"], adaptive_bins(9, 7, 1, 1)):
                y, where = K.extreme_forward(gpu.asarray(x), bins, False)
                same(y, K.extreme_forward(x, bins, False)[0])
                same(K.extreme_grad_x(y, where, bins), K.extreme_grad_x(y.get(), where.get(), bins))
                gx = K.average_grad_x(y, bins)
                same(gx, K.average_grad_x(y.get(), bins))
                assert_close(K.average_forward(gx, bins).get(), K.average_forward(gx.get(), bins), 1e-6)
            y = K.unpool_forward(gpu.asarray(x), gpu.asarray(index), (5, 6))
            same(y, K.unpool_forward(x, index, (5, 6)))
            same(K.unpool_grad_x(y, gpu.asarray(index)), K.unpool_grad_x(y.get(), index))


def test_the_host_never_waits(gpu):
    x = Tensor(drawn(20, (2, 3, 8, 6)), requires_grad=True, device="gpu")
    gy = Tensor(np.ones((2, 3, 8, 6), np.float32), device="gpu")
    synchronisations.clear()
    y, index = ops.max_pool2d(x, 2, return_indices=True)
    z = ops.avg_pool2d(ops.max_unpool2d(y, index, 2), 3, 1, 1)
    (z + ops.global_avg_pool2d(x) + ops.adaptive_max_pool2d(x, 1) + ops.min_pool2d(x, 1)).backward(gy)
    assert not synchronisations
    assert x.grad.shape == x.shape
