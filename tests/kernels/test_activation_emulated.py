"""CUDA twins of the activations on the emulator: every dtype, awkward sizes, NaN and inf, and the CPU's own values."""

import ml_dtypes
import numpy as np
import pytest

from minicnn.kernels import activation as K
from minicnn.kernels import launch
from tests.close import assert_close
from tests.emulator import emulated_gpu, emulator_options

# What a result may be off, relative to the largest: a rounding or two of the dtype, nothing else.
TOLERANCES = {"float64": 1e-13, "float32": 1e-6, "float16": 1e-3, "bfloat16": 8e-3}
DTYPES = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16, "float32": np.float32, "float64": np.float64}
every_dtype = pytest.mark.parametrize("dtype", DTYPES)

# (name, what the derivative is computed from, numbers)
ELEMENTWISE = [
    ("relu", "y", ()),
    ("hardtanh", "y", (-0.1, 0.7)),
    ("hardtanh", "y", (0.0, 6.0)),
    ("leaky_relu", "x", (0.01,)),
    ("leaky_relu", "x", (-0.5,)),
    ("elu", "x", (1.05, 1.67, 0.8)),
    ("gelu", "x", (False,)),
    ("gelu", "x", (True,)),
    ("silu", "x", ()),
    ("hardswish", "x", ()),
    ("hardsigmoid", "x", ()),
    ("sigmoid", "y", ()),
    ("tanh", "y", (1.7159, 2 / 3)),
    ("softplus", "x", (3.0, 2.0)),
    ("mish", "x", ()),
    ("logsigmoid", "x", ()),
]
every_activation = pytest.mark.parametrize(("name", "kept", "numbers"), ELEMENTWISE)


@pytest.fixture(autouse=True)
def gpu(monkeypatch):
    monkeypatch.setattr(launch, "THREADS", 64)
    with emulated_gpu() as cupy:
        yield cupy


def drawn(seed, shape, dtype, scale=3.0):
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(DTYPES[dtype])


def both(gpu, gate, *arguments):
    """The gate on the emulated GPU, and the CPU's float64 twin on the same rounded numbers."""
    on_gpu = [gpu.asarray(a) if isinstance(a, np.ndarray) else a for a in arguments]
    in_double = [a.astype(np.float64) if isinstance(a, np.ndarray) else a for a in arguments]
    found = gate(*on_gpu)
    assert found.dtype == arguments[0].dtype
    return found.get().astype(np.float64), gate(*in_double)


@every_dtype
@every_activation
def test_activation_equals_float64(gpu, name, kept, numbers, dtype):
    x, gy = drawn(1, (7, 61), dtype), drawn(2, (7, 61), dtype)
    forward, grad_x = getattr(K, f"{name}_forward"), getattr(K, f"{name}_grad_x")
    y, expected = both(gpu, forward, x, *numbers)
    assert_close(y, expected, TOLERANCES[dtype])
    saved = y.astype(x.dtype) if kept == "y" else x
    if name == "hardtanh":  # the bounds are numbers of the dtype too
        numbers = tuple(float(np.asarray(n).astype(x.dtype)) for n in numbers)
    assert_close(*both(gpu, grad_x, gy, saved, *numbers), TOLERANCES[dtype])


@every_dtype
def test_hardtanh_has_no_slope_at_bounds_that_round_inwards(gpu, dtype):
    x = np.asarray([-1, -0.1, 0, 0.7, 1]).astype(DTYPES[dtype])
    y = K.hardtanh_forward(gpu.asarray(x), -0.1, 0.7)
    gx = K.hardtanh_grad_x(gpu.asarray(np.ones_like(x)), y, -0.1, 0.7)
    assert gx.get().astype(float).tolist() == [0, 0, 1, 0, 0]


@pytest.mark.parametrize("size", [0, 1, 3, 4, 5, 63, 64, 65, 255, 256, 257, 1000])
@pytest.mark.parametrize("order", [0, 1, 7])
def test_every_size_is_mapped_once(gpu, monkeypatch, size, order):
    """Whatever the grid and the order of the threads; no element is left out, none belongs to two blocks."""
    x = drawn(size, size, "float32")
    for blocks in (1, 2, 1 << 20):
        monkeypatch.setattr(launch, "MAX_BLOCKS", blocks)
        with emulator_options(order, write_sets=True):
            assert np.array_equal(K.relu_forward(gpu.asarray(x)).get(), np.maximum(x, 0))
            gx = K.relu_grad_x(gpu.asarray(x), gpu.asarray(x))
            assert np.array_equal(gx.get(), np.maximum(x, 0))


def test_a_view_that_starts_anywhere(gpu):
    x = gpu.asarray(drawn(0, 100, "float32"))
    for start in range(5):
        assert np.array_equal(K.relu_forward(x[start:]).get(), np.maximum(x.get()[start:], 0))


NONFINITE = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e30, -1e30, 100.0, -100.0, 1e-30, -1e-30, 3.0, -3.0])


@every_activation
def test_nan_and_inf_as_on_the_cpu(gpu, name, kept, numbers):
    x = NONFINITE.astype(np.float32)
    gy = np.linspace(-2, 2, x.size, dtype=np.float32)
    forward, grad_x = getattr(K, f"{name}_forward"), getattr(K, f"{name}_grad_x")
    with np.errstate(all="ignore"):
        y, expected = forward(gpu.asarray(x), *numbers).get(), forward(x, *numbers)
        saved = expected if kept == "y" else x
        gx, expected_gx = grad_x(gpu.asarray(gy), gpu.asarray(saved), *numbers).get(), grad_x(gy, saved, *numbers)
    if name == "gelu" and numbers == (True,):
        # float32 overflows in the slope of the cube, where the CPU's float64 does not yet
        gx[5:7], expected_gx[5:7] = 0, 0
    assert_close(y, expected, 1e-6)
    assert_close(gx, expected_gx, 1e-6)
    ordinary = np.abs(x) <= 100  # nothing hides behind the large ones
    assert_close(y[ordinary], expected[ordinary], 1e-6)
    assert_close(gx[ordinary], expected_gx[ordinary], 1e-6)


def test_gelu_keeps_its_digits_far_below_zero(gpu):
    """Where ``1 + tanh`` and ``1 + erf`` would have none left."""
    x = np.linspace(-5, -3, 9, dtype=np.float32)
    for by_tanh in (False, True):
        y, expected = both(gpu, lambda x, by_tanh=by_tanh: K.gelu_forward(x, by_tanh), x)
        assert np.abs(y / expected - 1).max() < 1e-5
        gx, expected = both(gpu, lambda x, by_tanh=by_tanh: K.gelu_grad_x(np.ones_like(x), x, by_tanh), x)
        assert np.abs(gx / expected - 1).max() < 1e-4


# ---- PReLU

VIEWS = [(1, 1, 1), (2, 3, 1), (1, 1, 300), (3, 5, 7), (2, 4, 64), (0, 3, 2), (2, 0, 3)]


@every_dtype
@pytest.mark.parametrize("view", VIEWS)
def test_prelu_equals_float64(gpu, view, dtype):
    x, gy = drawn(1, view, dtype), drawn(2, view, dtype)
    weight = drawn(3, view[1], dtype, 0.3)
    assert_close(*both(gpu, K.prelu_forward, x, weight), TOLERANCES[dtype])
    assert_close(*both(gpu, K.prelu_grad_x, gy, x, weight), TOLERANCES[dtype])
    assert_close(*both(gpu, K.prelu_grad_w, gy, x), TOLERANCES[dtype])


@pytest.mark.parametrize("view", [(1, 1, 40_000), (3, 2, 10_000), (20_000, 2, 1)])
def test_the_slope_gradient_of_many_elements_is_summed_in_slices(gpu, monkeypatch, view):
    x, gy = drawn(1, view, "float32"), drawn(2, view, "float32")
    found = K.prelu_grad_w(gpu.asarray(gy), gpu.asarray(x)).get()
    assert_close(found, K.prelu_grad_w(gy, x), 1e-6)
    monkeypatch.setattr(launch, "MAX_BLOCKS", 1)
    with emulator_options(order=3):
        assert np.array_equal(K.prelu_grad_w(gpu.asarray(gy), gpu.asarray(x)).get(), found), "depends on the grid"


def test_prelu_of_nan_and_inf(gpu):
    x = np.array([np.nan, np.inf, -np.inf, -0.0, 1.0, -2.0], np.float32).reshape(1, 2, 3)
    gy, weight = np.arange(1, 7, dtype=np.float32).reshape(1, 2, 3), np.array([0.5, -0.25], np.float32)
    for gate, arguments in (
        (K.prelu_forward, (x, weight)),
        (K.prelu_grad_x, (gy, x, weight)),
        (K.prelu_grad_w, (gy, x)),
    ):
        found = gate(*(gpu.asarray(a) for a in arguments)).get()
        assert np.array_equal(found, gate(*arguments), equal_nan=True)


# ---- softmax

ROWS = [
    (1, 1, 1),
    (3, 10, 1),
    (2, 31, 1),
    (2, 32, 1),
    (3, 33, 1),
    (2, 1000, 1),
    (2, 3, 65),
    (1, 40, 2),
    (70, 2, 1),
    (1, 5000, 1),
]


@every_dtype
@pytest.mark.parametrize("view", ROWS)
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax_equals_float64(gpu, name, view, dtype):
    x, gy = drawn(1, view, dtype), drawn(2, view, dtype)
    forward, grad_x = getattr(K, f"{name}_forward"), getattr(K, f"{name}_grad_x")
    y, expected = both(gpu, forward, x)
    assert_close(y, expected, TOLERANCES[dtype])
    assert_close(*both(gpu, grad_x, gy, y.astype(x.dtype)), TOLERANCES[dtype])


@pytest.mark.parametrize("view", [(5, 3, 1), (5, 100, 1), (2, 3, 5)])
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_rows_of_nan_and_inf(gpu, name, view):
    """NaN, +inf and all -inf spoil their own row; one -inf has probability 0; large numbers do not overflow."""
    x = drawn(4, view, "float32")
    rows = np.moveaxis(x, 1, 2).reshape(-1, view[1])
    rows[0, 1], rows[1, 2], rows[2], rows[3, 0] = np.nan, np.inf, -np.inf, -np.inf
    rows[4] *= 1e37
    x = np.ascontiguousarray(np.moveaxis(rows.reshape(view[0], view[2], view[1]), 1, 2))
    forward = getattr(K, f"{name}_forward")
    with np.errstate(all="ignore"):
        expected = forward(x)
    y = forward(gpu.asarray(x)).get()
    assert np.isnan(y).sum() == 3 * view[1]
    assert_close(y, expected, 1e-6)


@pytest.mark.parametrize("order", [0, 1, 7])
@pytest.mark.parametrize("blocks", [1, 3, 1 << 20])
def test_bits_of_softmax_do_not_depend_on_the_grid(gpu, monkeypatch, order, blocks):
    found = {}
    for view in ((7, 100, 1), (5, 3, 70)):
        x = drawn(5, view, "float32")
        first = K.softmax_forward(gpu.asarray(x)).get()
        monkeypatch.setattr(launch, "MAX_BLOCKS", blocks)
        monkeypatch.setattr(launch, "NARROW", -1)
        with emulator_options(order, write_sets=True):
            found[view] = K.softmax_forward(gpu.asarray(x)).get()
        assert np.array_equal(found[view], first)
        monkeypatch.undo()
        monkeypatch.setattr(launch, "THREADS", 64)
