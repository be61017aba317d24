"""CUDA twins of the losses on the emulator: every dtype, rows of all lengths, bad labels, nothing to wait for."""

import math

import ml_dtypes
import numpy as np
import pytest

from minicnn import Tensor, ops
from minicnn.kernels import launch
from minicnn.kernels import loss as K
from tests.close import assert_close
from tests.emulator import emulated_gpu, emulator_options, synchronisations

# What a result may be off, relative to the largest: a few roundings of the dtype.
TOLERANCES = {"float64": 1e-13, "float32": 1e-6, "float16": 2e-3, "bfloat16": 1.6e-2}
DTYPES = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16, "float32": np.float32, "float64": np.float64}
every_dtype = pytest.mark.parametrize("dtype", DTYPES)

# (n, c, s): few classes and many, a block of them, pictures whose positions are read side by side, and small ones.
SHAPES = [(1, 1, 1), (40, 10, 1), (3, 700, 1), (2, 5, 7), (3, 4, 50), (1, 40, 33)]
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)


@pytest.fixture(autouse=True)
def gpu(monkeypatch):
    monkeypatch.setattr(launch, "THREADS", 64)
    with emulated_gpu() as cupy:
        yield cupy


def drawn(seed, shape, dtype="float32", scale=1.0):
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(DTYPES[dtype])


def unit(seed, shape, dtype="float32"):
    return np.random.default_rng(seed).uniform(0.05, 0.95, shape).astype(DTYPES[dtype])


def labels(shape):
    n, c, s = shape
    return np.random.default_rng(7).integers(0, c, (n, s))


def both(gpu, gate, *arguments):
    """The gate on the emulated GPU, and the CPU's float64 twin on the same rounded numbers."""

    def double(a):
        return a.astype(np.float64) if isinstance(a, np.ndarray) and a.dtype.kind not in "iu" else a

    found = gate(*(gpu.asarray(a) if isinstance(a, np.ndarray) else a for a in arguments))
    expected = gate(*map(double, arguments))
    if isinstance(found, tuple):
        return [f.get().astype(float) for f in found], expected
    return [found.get().astype(float)], [expected]


def check(pair, tolerance):
    for found, expected in zip(*pair, strict=True):
        if np.abs(expected).max() < 1e-15:  # of one class, where all that is left is how a sum rounds
            assert np.abs(found).max() < tolerance
        else:
            assert_close(found, expected, tolerance)


@every_dtype
@every_shape
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_cross_entropy_equals_float64(gpu, shape, dtype, smoothing):
    x, target, weight = drawn(1, shape, dtype, 3), labels(shape), unit(2, shape[1], dtype)
    scale, ignore = drawn(3, (shape[0], shape[2]), dtype), 3
    forward = both(gpu, K.cross_entropy_forward, x, target, weight, ignore, smoothing)
    check(forward, TOLERANCES[dtype])
    lse = forward[1][1]
    check(both(gpu, K.cross_entropy_grad_x, scale, x, lse, target, weight, ignore, smoothing), TOLERANCES[dtype])
    probabilities = unit(4, shape, dtype)
    forward = both(gpu, K.soft_cross_entropy_forward, x, probabilities, weight, smoothing)
    check(forward, TOLERANCES[dtype])
    options = (probabilities, weight, smoothing)
    check(both(gpu, K.soft_cross_entropy_grad_x, scale, x, forward[1][1], *options), TOLERANCES[dtype])


@every_dtype
@every_shape
def test_nll_equals_float64(gpu, shape, dtype):
    x, target, weight = drawn(1, shape, dtype), labels(shape), unit(2, shape[1], dtype)
    check(both(gpu, K.nll_forward, x, target, weight, 3), TOLERANCES[dtype])
    check(both(gpu, K.nll_grad_x, drawn(3, target.shape, dtype), target, weight, 3), TOLERANCES[dtype])


PAIRS = [
    ("squared_error", drawn, ()),
    ("absolute_error", drawn, ()),
    ("huber", drawn, (0.5, 1.0)),
    ("huber", drawn, (1e-50, 1e50)),  # beyond float32
    ("binary_cross_entropy", unit, ()),
]


@every_dtype
@pytest.mark.parametrize(("name", "draw", "numbers"), PAIRS)
def test_pairs_equal_float64(gpu, name, draw, numbers, dtype):
    x, target, scale = draw(1, 333, dtype), draw(2, 333, dtype), drawn(3, 333, dtype)
    check(both(gpu, getattr(K, f"{name}_forward"), x, target, *numbers), TOLERANCES[dtype])
    check(both(gpu, getattr(K, f"{name}_grad_x"), scale, x, target, *numbers), TOLERANCES[dtype])


@every_dtype
@pytest.mark.parametrize("weighted", [False, True])
def test_logits_equal_float64(gpu, weighted, dtype):
    x, target, scale = drawn(1, 333, dtype, 20), unit(2, 333, dtype), drawn(3, 333, dtype)
    pos_weight = unit(4, 333 if weighted else 0, dtype)
    check(both(gpu, K.logits_forward, x, target, pos_weight), TOLERANCES[dtype])
    check(both(gpu, K.logits_grad_x, scale, x, target, pos_weight), TOLERANCES[dtype])


NONFINITE = np.array([np.nan, np.inf, -np.inf, 0.0, 1.0, 2.0, -1.0, 1e30, 100.0, -100.0], np.float32)


@pytest.mark.parametrize("name", ["squared_error", "absolute_error", "binary_cross_entropy", "logits", "huber"])
def test_pairs_that_are_not_finite_go_as_on_the_cpu(gpu, name):
    x, target = (a.reshape(-1).copy() for a in np.meshgrid(NONFINITE, NONFINITE))
    scale, numbers = np.ones_like(x), {"huber": (0.5, 1.0), "logits": (np.zeros(0, np.float32),)}.get(name, ())
    on_gpu = tuple(gpu.asarray(n) if isinstance(n, np.ndarray) else n for n in numbers)
    forward, grad_x = getattr(K, f"{name}_forward"), getattr(K, f"{name}_grad_x")
    with np.errstate(all="ignore"):
        found, expected = forward(gpu.asarray(x), gpu.asarray(target), *on_gpu).get(), forward(x, target, *numbers)
        gx = grad_x(gpu.asarray(scale), gpu.asarray(x), gpu.asarray(target), *on_gpu).get()
        expected_gx = grad_x(scale, x, target, *numbers)
    assert_close(found, expected, 1e-6)
    assert_close(gx, expected_gx, 1e-6)


@pytest.mark.parametrize("classes", [3, 70, 700])
@pytest.mark.parametrize("place", [0, 2])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_go_as_on_the_cpu(gpu, classes, place, value):
    x = drawn(1, (3, classes, 1))
    x[1, place], x[2] = value, -np.inf
    arguments = labels((3, classes, 1)), np.ones(classes, np.float32), -100, 0.0
    with np.errstate(all="ignore"):
        on_cpu = K.cross_entropy_forward(x, *arguments)
        on_gpu = K.cross_entropy_forward(gpu.asarray(x), *(gpu.asarray(a) for a in arguments[:2]), *arguments[2:])
    for found, expected in zip(on_gpu, on_cpu, strict=True):
        assert_close(found.get(), expected, 1e-6)


@pytest.mark.parametrize("bad", [3, -1, 1 << 40, -(1 << 40)])
@pytest.mark.parametrize("op", ["cross_entropy", "nll_loss"])
@pytest.mark.parametrize("pixels", [(), (7, 5)])
def test_a_label_out_of_range_makes_its_loss_nan_and_nothing_else(gpu, op, bad, pixels):
    x = drawn(1, (4, 3, *pixels))
    target = np.zeros((4, *pixels), np.int64)
    target[2] = bad
    tensor = Tensor(x, requires_grad=True, device="gpu")
    losses = getattr(ops, op)(tensor, gpu.asarray(target), reduction="none")
    losses.backward(gpu.asarray(np.ones((4, *pixels), np.float32)))
    good = [0, 1, 3]
    expected = Tensor(x[good], requires_grad=True)
    wanted = getattr(ops, op)(expected, target[good], reduction="none")
    wanted.backward(np.ones((3, *pixels), np.float32))
    assert np.isnan(losses.numpy()[2]).all() and np.isnan(tensor.grad.numpy()[2]).all()
    assert_close(losses.numpy()[good], wanted.numpy(), 1e-6)
    assert_close(tensor.grad.numpy()[good], expected.grad.numpy(), 1e-6)
    for reduction in ("mean", "sum"):
        assert np.isnan(getattr(ops, op)(tensor, gpu.asarray(target), reduction=reduction).numpy())


def test_a_probability_out_of_range_makes_its_loss_nan(gpu):
    x = gpu.asarray(np.array([0.5, -0.1, 1.1, 0.2]))
    for target in (0.0, 0.3, 1.0):
        losses = ops.binary_cross_entropy(x, gpu.asarray(np.full(4, target)), reduction="none").numpy()
        assert np.isnan(losses).tolist() == [False, True, True, False]


@every_dtype
def test_the_weight_of_many_labels(gpu, dtype):
    target, weight = labels((1, 5, 3000)), unit(1, 5, dtype)
    expected = math.fsum(float(weight[t]) for t in target.reshape(-1) if t != 2)
    with emulator_options(order=7, write_sets=True):
        found = K.target_weight(gpu.asarray(target), gpu.asarray(weight), 2)
    assert found.dtype == np.float64 and found.shape == ()
    assert_close(found.get(), np.float64(expected), 1e-14)


LOSSES = [
    (lambda x, t: ops.cross_entropy(x, t, label_smoothing=0.1), "labels"),
    (lambda x, t: ops.cross_entropy(x, t), "unit"),
    (lambda x, t: ops.nll_loss(x, t), "labels"),
    (lambda x, t: ops.mse_loss(x, t, weight=abs(t)), "drawn"),
    (lambda x, t: ops.l1_loss(x, t, weight=abs(t)), "drawn"),
    (lambda x, t: ops.huber_loss(x, t), "drawn"),
    (lambda x, t: ops.smooth_l1_loss(x, t), "drawn"),
    (lambda x, t: ops.binary_cross_entropy(ops.sigmoid(x), t, weight=t), "unit"),
    (lambda x, t: ops.binary_cross_entropy_with_logits(x, t, pos_weight=t), "unit"),
]


@pytest.mark.parametrize(("loss", "kind"), LOSSES)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_training_step_waits_for_nothing(gpu, loss, kind, dtype):
    x = Tensor(drawn(1, (6, 5), dtype), requires_grad=True, device="gpu")
    target = {"labels": labels((6, 5, 1))[:, 0], "unit": unit(2, (6, 5), dtype), "drawn": drawn(2, (6, 5), dtype)}[kind]
    target = gpu.asarray(target)
    synchronisations.clear()
    value = loss(x, target)
    value.backward()
    assert not synchronisations
    assert value.dtype == x.grad.dtype == x.dtype and np.isfinite(x.grad.numpy().astype(float)).all()
