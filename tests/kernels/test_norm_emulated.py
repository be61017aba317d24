"""CUDA twins of the normalisations on the emulator: large means, every dtype and kind of team, nothing to wait for."""

import re
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from minicnn import Tensor, nn, ops
from minicnn.kernels import launch, team
from minicnn.kernels import norm as K
from tests.close import assert_close
from tests.emulator import emulated_gpu, emulator_options, synchronisations

# What a result may be off, relative to the largest: a few roundings of the dtype.
TOLERANCES = {"float64": 1e-13, "float32": 1e-6, "float16": 1e-3, "bfloat16": 8e-3}
DTYPES = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16, "float32": np.float32, "float64": np.float64}
every_dtype = pytest.mark.parametrize("dtype", DTYPES)

# Images: rows of one value, shorter than a warp, longer, of a block, of several pieces; many and few.
SHAPES = [(5, 3, 1), (70, 4, 2), (3, 8, 7), (2, 6, 49), (1, 4, 300), (2, 2, 1100), (1, 2, 4500)]
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)


@pytest.fixture(autouse=True)
def gpu(monkeypatch):
    monkeypatch.setattr(launch, "THREADS", 64)
    with emulated_gpu() as cupy:
        yield cupy


def drawn(seed, shape, dtype="float32"):
    return np.random.default_rng(seed).standard_normal(shape).astype(DTYPES[dtype])


def doubled(array):
    return None if array is None else array.astype(np.float64)


def groups_of(shape):
    """Shapes of statistics: batch norm, instance norm and groups of two channels."""
    n, c = shape[:2]
    return [(1, c), (n, c), *([(n, c // 2)] if c % 2 == 0 else [])]


def reference(x, statistics, weight, bias, gy, eps):
    """y, gx, gw and gb by the book, in float64; x (N, C, S)."""
    n, c, s = x.shape
    split = (n, statistics[1], c // statistics[1], s)
    axes = (0, 2, 3) if statistics[0] == 1 and n != 1 else (2, 3)
    parts = x.reshape(split)
    mean, var = parts.mean(axes, keepdims=True), parts.var(axes, keepdims=True)
    rstd = 1 / np.sqrt(var + eps)
    z = ((parts - mean) * rstd).reshape(x.shape)
    g = (gy * weight[:, None]).reshape(split)
    gx = rstd * (g - g.mean(axes, keepdims=True) - z.reshape(split) * (g * z.reshape(split)).mean(axes, keepdims=True))
    gw, gb = (gy * z).sum((0, 2)), gy.sum((0, 2))
    return z * weight[:, None] + bias[:, None], gx.reshape(x.shape), gw, gb


@every_dtype
@every_shape
def test_channels_equal_float64(gpu, shape, dtype):
    x, gy = drawn(1, shape, dtype) * DTYPES[dtype](2), drawn(2, shape, dtype)
    weight, bias = drawn(3, shape[1], dtype), drawn(4, shape[1], dtype)
    xd, gyd, wd, bd = (gpu.asarray(a) for a in (x, gy, weight, bias))
    for statistics in groups_of(shape):
        if x.size == np.prod(statistics):
            continue  # one value a statistic
        mean, _, rstd = K.moments(xd, statistics, 0.1)
        found = [K.channels_forward(xd, mean, rstd, wd, bd), *K.channels_grads(gyd, xd, mean, rstd, wd, (True,) * 3)]
        expected = reference(*map(doubled, (x,)), statistics, *map(doubled, (weight, bias, gy)), 0.1)
        for name, array, value in zip(("y", "gx", "gw", "gb"), found, expected, strict=True):
            assert array.dtype == x.dtype
            assert_close(array.get().astype(float), value, TOLERANCES[dtype], f"{name} {statistics}")


@every_dtype
@pytest.mark.parametrize(("rows", "size"), [(1, 1), (100, 3), (33, 31), (5, 130), (3, 1000), (2, 5000)])
def test_layer_norm_equals_float64(gpu, rows, size, dtype):
    x, gy, weight, bias = (drawn(i, s, dtype) for i, s in enumerate(((rows, size), (rows, size), (size,), (size,))))
    xd, gyd, wd, bd = (gpu.asarray(a) for a in (x, gy, weight, bias))
    y, mean, rstd = K.layer_norm_forward(xd, wd, bd, size, 0.1)
    found = [y, *K.layer_norm_grads(gyd, xd, mean, rstd, wd, size)]
    x, gy, weight, bias = map(doubled, (x, gy, weight, bias))
    normal = 1 / np.sqrt(x.var(1, keepdims=True) + 0.1)
    z, g = (x - x.mean(1, keepdims=True)) * normal, gy * weight
    gx = (g - g.mean(1, keepdims=True) - z * (g * z).mean(1, keepdims=True)) * normal
    for array, value in zip(found, (z * weight + bias, gx, (gy * z).sum(0), gy.sum(0)), strict=True):
        scale = max(np.abs(value).max(), np.abs(gy).max())  # gx of a single value is what 0 rounds to
        assert np.abs(array.get().astype(float) - value).max() <= TOLERANCES[dtype] * scale


@every_shape
@pytest.mark.parametrize("far", [1e6, -1e6])
def test_a_large_mean_costs_no_digits(gpu, shape, far):
    """float32 with mean 1e6 and deviation 1: a one-pass variance in float32 would be all noise."""
    x = (far + drawn(1, shape)).astype(np.float32)
    in_double = x.astype(float)
    for statistics, axes in (((1, shape[1]), (0, 2)), (shape[:2], (2,))):
        mean, var, _ = K.moments(gpu.asarray(x), statistics, 0.0)
        assert_close(mean.get(), in_double.mean(axes).reshape(statistics), 1e-15)
        if shape[2] > 1 or len(axes) == 2:
            assert_close(var.get(), in_double.var(axes).reshape(statistics), 1e-10)  # 1e6 itself rounds at 1e-10
    y, _, _ = K.layer_norm_forward(gpu.asarray(x), None, None, shape[2], 1e-5)
    expected = (in_double - in_double.mean(2, keepdims=True)) / np.sqrt(in_double.var(2, keepdims=True) + 1e-5)
    assert_close(y.get(), expected, 1e-6)


def test_the_first_value_may_lie_far_away(gpu):
    """The pivot of the sums is the first value of a row: the worst that it can be."""
    x = drawn(1, (1, 1, 3000), "float64")
    x[..., 0] = 1e8
    _, var, _ = K.moments(gpu.asarray(x), (1, 1), 0.0)
    assert_close(var.get(), x.var().reshape(1, 1), 1e-12)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 5])
def test_what_is_not_finite_stays_in_its_statistic(gpu, value, place):
    x = drawn(1, (2, 3, 40))
    x[1, 2, place] = value
    with np.errstate(all="ignore"):
        for statistics in ((1, 3), (2, 3)):
            on_cpu = K.moments(x, statistics, 0.1)
            on_gpu = K.moments(gpu.asarray(x), statistics, 0.1)
            for found, expected in zip(on_gpu, on_cpu, strict=True):
                assert_close(found.get(), expected, 1e-13)
            y = K.channels_forward(gpu.asarray(x), on_gpu[0], on_gpu[2], None, None).get()
            assert_close(y, K.channels_forward(x, on_cpu[0], on_cpu[2], None, None), 1e-6)


def test_nothing_to_average_is_0(gpu):
    for shape in ((0, 3, 4), (2, 3, 0), (2, 0, 4)):
        for statistics in groups_of(shape)[:2]:
            mean, var, rstd = (a.get() for a in K.moments(gpu.zeros(shape, np.float32), statistics, 0.25))
            assert not mean.any() and not var.any() and (rstd == 2).all()


@pytest.mark.parametrize("threads", [32, 64, 96, 256])
@pytest.mark.parametrize("order", [0, 1, 7])
def test_any_block_and_order_of_threads(gpu, monkeypatch, threads, order):
    """Also with fewer blocks than there is work, and no two blocks that write one address."""
    monkeypatch.setattr(launch, "THREADS", threads)
    x, gy, weight = drawn(1, (3, 4, 700)), drawn(2, (3, 4, 700)), drawn(3, (4,))
    expected = reference(*map(doubled, (x,)), (1, 4), *map(doubled, (weight, weight, gy)), 0.1)
    xd, gyd, wd = (gpu.asarray(a) for a in (x, gy, weight))
    for blocks in (1, 1 << 20):
        monkeypatch.setattr(launch, "MAX_BLOCKS", blocks)
        with emulator_options(order, write_sets=True):
            mean, _, rstd = K.moments(xd, (1, 4), 0.1)
            grads = K.channels_grads(gyd, xd, mean, rstd, wd, (True,) * 3)
            found = [K.channels_forward(xd, mean, rstd, wd, wd), *grads]
        for array, value in zip(found, expected, strict=True):
            assert_close(array.get(), value, 1e-6)


def test_teams_are_part_of_a_warp_or_a_block(monkeypatch):
    for threads in (32, 64, 96, 256, 1024):
        monkeypatch.setattr(launch, "THREADS", threads)
        for size in (*range(300), 10**4, 10**5, 10**9):
            lanes = team.lanes_of(size)
            assert (lanes <= 32 and lanes & (lanes - 1) == 0 and lanes >= 1) or lanes in (threads, 4 * threads)
            assert lanes <= max(size, 1) and lanes <= 1024


def test_kernels_of_teams_bound_their_registers():
    """A block of 1024 threads has 64 registers a thread; a kernel that wants more does not start, on a real GPU."""
    found = 0
    for path in sorted(Path(launch.__file__).parent.glob("*/*.cu")):
        for head in re.findall(r"__global__ void ([^{]*?Index\s+lanes)\) \{", path.read_text(encoding="utf-8")):
            assert head.startswith("__launch_bounds__(1024) "), f"{path}: {head}"
            found += 1
    assert found >= 16


def test_running_statistics_move_as_on_the_cpu(gpu):
    x = drawn(1, (4, 3, 50)) * 2 + 1
    moved = []
    for device in ("cpu", "gpu"):
        running = [Tensor(a.copy(), device=device) for a in (drawn(2, 3), np.abs(drawn(3, 3)))]
        ops.batch_norm(Tensor(x, device=device), *running, training=True, momentum=0.3)
        ops.instance_norm(Tensor(x, device=device), *running, momentum=0.2)
        moved.append([r.numpy() for r in running])
    for on_cpu, on_gpu in zip(*moved, strict=True):
        assert_close(on_gpu, on_cpu, 1e-6)


def test_half_precision_keeps_running_statistics_in_float32(gpu):
    x = gpu.asarray(drawn(1, (4, 3, 50), "float16"))
    mean, var = gpu.asarray(np.zeros(3, np.float32)), gpu.asarray(np.ones(3, np.float32))
    K.update_running(mean, K.moments(x, (1, 3), 0.0)[0].reshape(-1), 1.0)
    assert_close(mean.get(), x.get().astype(float).mean((0, 2)), 1e-6)
    y = ops.batch_norm(Tensor(x), mean, var)
    assert y.dtype == np.float16 and mean.dtype == np.float32


def test_a_training_step_waits_for_nothing(gpu):
    layers = {
        "batch": nn.BatchNorm2d(4),
        "instance": nn.InstanceNorm2d(4, affine=True, track_running_stats=True),
        "group": nn.GroupNorm(2, 4),
        "layer": nn.LayerNorm((4, 5, 6)),
    }
    for name, layer in layers.items():
        layer.to("gpu")
        x = Tensor(drawn(1, (3, 4, 5, 6)), requires_grad=True, device="gpu")
        synchronisations.clear()
        layer(x).backward(gpu.asarray(drawn(2, (3, 4, 5, 6))))
        assert not synchronisations, (name, synchronisations)
        assert x.grad is not None and layer.weight.grad is not None


def test_statistics_of_a_batch_norm_layer_move_on_the_gpu(gpu):
    x = drawn(1, (3, 4, 5, 6))
    layers = [nn.BatchNorm2d(4), nn.BatchNorm2d(4).to("gpu")]
    for layer, device in zip(layers, ("cpu", "gpu"), strict=True):
        for _ in range(2):
            layer(Tensor(x, device=device))
    assert layers[1].num_batches_tracked.numpy() == 2
    assert_close(layers[1].running_var.numpy(), layers[0].running_var.numpy(), 1e-6)
    assert_close(layers[1].running_mean.numpy(), layers[0].running_mean.numpy(), 1e-6)
