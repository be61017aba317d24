"""CUDA twins of sampling on the emulator: the CPU's numbers, every dtype, places that are none, crowded pixels."""

import ml_dtypes
import numpy as np
import pytest

from minicnn import Tensor, ops
from minicnn.kernels import launch
from minicnn.kernels import sampling as K
from minicnn.kernels.sampling import bilinear_taps, nearest_taps
from tests.close import assert_close
from tests.emulator import emulated_gpu, emulator_options, synchronisations

TOLERANCES = {"float64": 1e-13, "float32": 1e-6, "float16": 1e-3, "bfloat16": 8e-3}  # a rounding or two of the dtype
DTYPES = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16, "float32": np.float32, "float64": np.float64}
every_dtype = pytest.mark.parametrize("dtype", DTYPES)

# padding mode, align_corners, nearest
WAYS = [(padding, corners, nearest) for padding in range(3) for corners in (False, True) for nearest in (False, True)]
every_way = pytest.mark.parametrize("way", WAYS)

TAPS = {
    "nearest": (nearest_taps(7, 16, None), nearest_taps(5, 3, None)),
    "nearest by a factor": (nearest_taps(6, 9, 1.5), nearest_taps(5, 12, 2.5)),
    "twice": (bilinear_taps(6, 12, None, False), bilinear_taps(5, 10, None, False)),
    "corners": (bilinear_taps(6, 17, None, True), bilinear_taps(5, 2, None, True)),
    "smaller by a factor": (bilinear_taps(11, 5, 0.5, False), bilinear_taps(9, 6, 0.75, False)),
    "from one pixel": (bilinear_taps(1, 4, None, False), nearest_taps(1, 3, None)),
    "to one pixel": (bilinear_taps(8, 1, None, True), bilinear_taps(7, 1, None, False)),
    "same": (bilinear_taps(4, 4, 1.0, False), nearest_taps(6, 6, 1.0)),
}
every_taps = pytest.mark.parametrize("taps", TAPS.values(), ids=TAPS)


@pytest.fixture(autouse=True, params=["a row a thread", "16 rows a thread"])
def gpu(monkeypatch, request):
    monkeypatch.setattr(launch, "THREADS", 64)
    if request.param == "16 rows a thread":
        monkeypatch.setattr(launch, "BUSY", 1)
    with emulated_gpu() as cupy:
        yield cupy


def drawn(seed, shape, dtype="float32", scale=1.0):
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(DTYPES[dtype])


def both(gpu, gate, *arguments):
    """The gate on the emulated GPU, and the CPU's float64 twin on the same rounded numbers."""
    on_gpu = [gpu.asarray(a) if isinstance(a, np.ndarray) else a for a in arguments]
    in_double = [a.astype(np.float64) if isinstance(a, np.ndarray) else a for a in arguments]
    found = gate(*on_gpu)
    assert found.dtype == arguments[0].dtype
    return found.get().astype(np.float64), gate(*in_double)


@every_dtype
@every_way
def test_grid_sample_equals_float64(gpu, way, dtype):
    padding, corners, nearest = way
    x, gy = drawn(1, (2, 3, 6, 5), dtype), drawn(2, (2, 3, 7, 4), dtype)
    grid = drawn(3, (2, 7, 4, 2), dtype)
    grid[0, :3] = grid[0, 0, 0]  # crowded: a run of outputs at one place
    tolerance = TOLERANCES[dtype]
    assert_close(*both(gpu, K.grid_sample_forward, x, grid, *way), tolerance)
    assert_close(*both(gpu, K.grid_sample_grad_x, gy, grid, (6, 5), *way), tolerance)
    if not nearest:
        assert_close(*both(gpu, K.grid_sample_grad_grid, gy, x, grid, padding, corners), tolerance)


@every_way
def test_places_that_are_none_and_places_on_pixels(gpu, way):
    """NaN, infinite, enormous coordinates, halves between pixels, whole pixels beside a NaN: as on the CPU."""
    x, gy = drawn(4, (1, 2, 3, 4)), drawn(5, (1, 2, 8, 8))
    x[0, 0, 1, 1], x[0, 1, 2, 2] = np.nan, np.inf
    odd = [np.nan, np.inf, -np.inf, 1e30, -1e30, 0.0, -1.0, 1.0, 0.25, -0.75, 1 / 3, -1 / 3, 1.25, -1.5, 3.0, 0.5]
    grid = np.random.default_rng(6).choice(odd, (1, 8, 8, 2)).astype(np.float32)
    with np.errstate(all="ignore"):
        assert_close(*both(gpu, K.grid_sample_forward, x, grid, *way), 1e-6)
        assert_close(*both(gpu, K.grid_sample_grad_x, gy, grid, (3, 4), *way), 1e-6)
        if not way[2]:
            assert_close(*both(gpu, K.grid_sample_grad_grid, gy, x, grid, *way[:2]), 1e-6)


def test_all_places_at_one_pixel_and_all_outside(gpu):
    gy = drawn(7, (2, 2, 40, 50))
    for place in (0.1, 9.0):
        grid = np.full((2, 40, 50, 2), place, np.float32)
        assert_close(*both(gpu, K.grid_sample_grad_x, gy, grid, (5, 6), 0, False, False), 1e-6)


def test_shapes_without_elements(gpu):
    for gy, grid in (((0, 2, 3, 3), (0, 3, 3, 2)), ((2, 3, 0, 4), (2, 0, 4, 2)), ((2, 0, 3, 3), (2, 3, 3, 2))):
        gx = K.grid_sample_grad_x(gpu.asarray(drawn(8, gy)), gpu.asarray(drawn(9, grid)), (4, 5), 0, False, False)
        assert np.array_equal(gx.get(), np.zeros((*gy[:2], 4, 5)))


@every_dtype
@every_taps
def test_resampling_equals_float64(gpu, taps, dtype):
    rows, cols = taps
    x, gy = drawn(10, (2, 5, rows.size, cols.size), dtype), drawn(11, (2, 5, len(rows), len(cols)), dtype)
    assert_close(*both(gpu, K.resample_forward, x, rows, cols), TOLERANCES[dtype])
    assert_close(*both(gpu, K.resample_grad_x, gy, rows, cols, (rows.size, cols.size)), TOLERANCES[dtype])


@every_taps
def test_resampled_nan_and_inf_stay_where_they_are_read(gpu, taps):
    rows, cols = taps
    for seed in range(5):
        rng = np.random.default_rng(seed)
        x, gy = drawn(12, (1, 2, rows.size, cols.size)), drawn(13, (1, 2, len(rows), len(cols)))
        for array in (x, gy):
            array.flat[rng.integers(array.size)] = np.nan
            array.flat[rng.integers(array.size)] = np.inf
        with np.errstate(all="ignore"):
            assert_close(*both(gpu, K.resample_forward, x, rows, cols), 1e-6)
            assert_close(*both(gpu, K.resample_grad_x, gy, rows, cols, (rows.size, cols.size)), 1e-6)


@every_taps
def test_taps_backwards(taps):
    """Readers and shares are the transposed matrix of the taps, and every share of a reader is above 0."""
    for axis in taps:
        matrix = np.zeros((len(axis), axis.size))
        for i in range(len(axis)):
            matrix[i, axis.first[i]] += 1 - axis.weight[i]
            matrix[i, axis.second[i]] += axis.weight[i]
        transposed = np.zeros((axis.size, len(axis)))
        for p in range(axis.size):
            for k, i in enumerate(range(*axis.readers[:, p])):
                transposed[p, i] = axis.shares[p, k]
                assert axis.shares[p, k] > 0
        assert np.array_equal(matrix.T, transposed)


@pytest.mark.parametrize("order", [0, 1, 7])
@pytest.mark.parametrize("narrow", [-1, 1 << 30])
def test_the_grid_and_the_width_of_indices_change_nothing(gpu, monkeypatch, order, narrow):
    x, gy, grid = drawn(14, (2, 3, 6, 5)), drawn(15, (2, 3, 9, 8)), drawn(16, (2, 9, 8, 2))
    rows, cols = bilinear_taps(6, 9, None, False), bilinear_taps(5, 8, None, True)
    on_gpu = [gpu.asarray(a) for a in (x, gy, grid)]

    def run():
        x, gy, grid = on_gpu
        return [
            K.grid_sample_forward(x, grid, 0, False, False).get(),
            K.grid_sample_grad_x(gy, grid, (6, 5), 1, False, False).get(),
            K.grid_sample_grad_grid(gy, x, grid, 2, True).get(),
            K.resample_forward(x, rows, cols).get(),
            K.resample_grad_x(gy, rows, cols, (6, 5)).get(),
        ]

    expected = run()
    monkeypatch.setattr(launch, "NARROW", narrow)
    for blocks in (1, 3, 1 << 20):
        monkeypatch.setattr(launch, "MAX_BLOCKS", blocks)
        with emulator_options(order, write_sets=True):
            assert all(np.array_equal(a, b) for a, b in zip(run(), expected, strict=True))


def test_the_host_never_waits(gpu):
    x = Tensor(drawn(17, (2, 4, 5, 5)), requires_grad=True, device="gpu")
    theta = Tensor(drawn(18, (2, 2, 3)), requires_grad=True, device="gpu")
    gy = Tensor(np.ones((2, 1, 12, 12), np.float32), device="gpu")
    synchronisations.clear()
    y = ops.grid_sample(x, ops.affine_grid(theta, (2, 4, 6, 6)))
    z = ops.interpolate(ops.interpolate(y, 4), 6, mode="bilinear")
    ops.pixel_shuffle(ops.channel_shuffle(z, 2), 2).backward(gy)
    assert not synchronisations
    assert x.grad.shape == x.shape and theta.grad.shape == theta.shape
