"""CPU twins of the normalisations through their gates: formulas in float64, far means, all layouts of statistics."""

import numpy as np
import pytest

from minicnn.kernels import norm as K
from tests.close import assert_close

# x (N, C, S) and groups; None is one statistic a channel over the batch. A single image, channel, pixel; a long row.
LAYOUTS = [
    ((4, 6, 50), None),
    ((4, 6, 50), 3),
    ((4, 6, 50), 6),
    ((5, 1, 33), None),
    ((5, 1, 33), 1),
    ((1, 4, 70), None),
    ((1, 4, 70), 2),
    ((64, 5, 1), None),
    ((2, 3, 3000), None),
]
every_layout = pytest.mark.parametrize(("shape", "groups"), LAYOUTS, ids=str)


def drawn(shape, far=0.0):
    """float32 numbers around ``far`` that lie apart by 1, and by less than one of ``far`` rounds."""
    return (far + np.random.default_rng(1).standard_normal(shape)).astype(np.float32)


def statistics(shape, groups):
    return (1, shape[1]) if groups is None else (shape[0], groups)


def shared(shape, groups):
    """What shares a statistic, as a shape and the axes to average over."""
    n, c, s = shape
    return ((n, c, s), (0, 2)) if groups is None else ((n, groups, c // groups, s), (2, 3))


def normal(x, groups, eps):
    shape, axes = shared(x.shape, groups)
    seen = x.astype(np.float64).reshape(shape)
    mean = seen.mean(axes, keepdims=True)
    var = ((seen - mean) ** 2).mean(axes, keepdims=True)
    return ((seen - mean) / np.sqrt(var + eps)).reshape(x.shape), mean, var


@every_layout
@pytest.mark.parametrize("far", [0.0, 1e5])
def test_forward_and_backward_are_the_formulas(shape, groups, far):
    x, gy, eps = drawn(shape, far), drawn(shape)[::-1, :, ::-1].copy(), 0.1
    weight, bias = drawn((2, shape[1]))
    z, mean, var = normal(x, groups, eps)
    found = K.moments(x, statistics(shape, groups), eps)
    for array, expected in zip(found, (mean, var, 1 / np.sqrt(var + eps)), strict=True):
        assert_close(array.reshape(-1), expected.reshape(-1), 1e-13 if far == 0 else 1e-11)
    y = K.channels_forward(x, found[0], found[2], weight, bias)
    assert_close(y, z * weight[:, None] + bias[:, None], 1e-6)
    for array, expected in zip(K.normalise(x, statistics(shape, groups), weight, bias, eps), (y, *found), strict=True):
        assert np.array_equal(array, expected)
    seen, axes = shared(shape, groups)
    wide = gy.astype(float)
    g, z_shared = (wide * weight[:, None]).reshape(seen), z.reshape(seen)
    common, slope = (part.mean(axes, keepdims=True) for part in (g, g * z_shared))
    gx = ((g - common - z_shared * slope) / np.sqrt(var + eps)).reshape(shape)
    grads = K.channels_grads(gy, x, found[0], found[2], weight, (True, True, True))
    for array, expected in zip(grads, (gx, (wide * z).sum((0, 2)), wide.sum((0, 2))), strict=True):
        assert_close(array, expected, 1e-6)


@every_layout
def test_no_weights_are_ones_and_zeros_and_only_what_is_wanted_is_made(shape, groups):
    x, gy, one = drawn(shape), drawn(shape)[::-1].copy(), np.ones(shape[1], np.float32)
    mean, _, rstd = K.moments(x, statistics(shape, groups), 0.1)
    bare = K.channels_forward(x, mean, rstd, None, None)
    assert np.array_equal(bare, K.channels_forward(x, mean, rstd, one, 0 * one))
    every = K.channels_grads(gy, x, mean, rstd, one, (True, True, True))
    for needs in ((True, False, False), (False, True, False), (False, False, True), (False, False, False)):
        found = K.channels_grads(gy, x, mean, rstd, None, needs)
        for array, expected, needed in zip(found, every, needs, strict=True):
            assert array is None if not needed else np.array_equal(array, expected)
    frozen = K.channels_grads(gy, x, mean, rstd, None, (True, False, True), frozen=True)
    scale = rstd if groups is None else np.repeat(rstd, shape[1] // groups, axis=1)
    assert_close(frozen[0], gy * scale[:, :, None], 1e-6)
    assert_close(frozen[2], gy.sum((0, 2), dtype=float), 1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_first_value_may_lie_far_away(dtype):
    """Sums are of differences from the first value: the worst that it can be."""
    x = drawn((2, 3, 3000)).astype(dtype)
    x[0, :, 0] = 1e6
    _, var, _ = K.moments(x, (1, 3), 0.0)
    assert_close(var.reshape(-1), x.astype(float).var((0, 2)), 1e-11)


@pytest.mark.parametrize("place", [0, 7])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_stays_in_its_statistic_and_shows_in_the_mean(place, value):
    x = drawn((2, 3, 40))
    x[0, 1, place] = value
    mean, var, _ = K.moments(x, (1, 3), 0.1)
    assert np.array_equal(mean[0, 1], value, equal_nan=True) and np.isnan(var[0, 1])
    assert np.isfinite(mean[0, [0, 2]]).all() and np.isfinite(var[0, [0, 2]]).all()


def test_equal_values_have_no_variance():
    _, var, rstd = K.moments(np.full((3, 2, 49), 0.1, np.float32), (1, 2), 0.25)
    assert np.array_equal(var, np.zeros((1, 2))) and np.array_equal(rstd, np.full((1, 2), 2.0))


@pytest.mark.parametrize("far", [0.0, 1e5])
@pytest.mark.parametrize("rows", [1, 64, 130])
def test_layer_norm_is_its_formula(rows, far):
    x, gy, eps = drawn((rows, 48), far), drawn((rows, 48))[:, ::-1].copy(), 0.1
    weight, bias = drawn((2, 48))
    z, _, var = normal(x[:, None], 1, eps)
    z, normal_ = z[:, 0], 1 / np.sqrt(var.reshape(rows, 1) + eps)
    y, mean, rstd = K.layer_norm_forward(x, weight, bias, 48, eps)
    g = gy.astype(float) * weight
    gx = (g - g.mean(1, keepdims=True) - z * (g * z).mean(1, keepdims=True)) * normal_
    found = (y, *K.layer_norm_grads(gy, x, mean, rstd, weight, 48))
    expected = (z * weight + bias, gx, (gy.astype(float) * z).sum(0), gy.sum(0, dtype=float))
    for array, value in zip(found, expected, strict=True):
        assert_close(array, value, 1e-6)
