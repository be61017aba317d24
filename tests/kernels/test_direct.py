"""The direct plan's CPU kernels: groups side by side in lanes, every shape of taps, bands, and what lies around.

Groups of several channels and filters have kernels of their own; "several" are those.
"""

import numba
import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from minicnn.kernels.conv import direct, explain
from minicnn.kernels.window import Window2d
from tests.close import assert_close

# images, groups, channels and filters of each; image; kernel; stride; padding (top, bottom, left, right); dilation
GEOMETRIES = {
    "3x3": ((2, 17, 1, 1), (7, 7), (3, 3), (1, 1), (1, 1, 1, 1), (1, 1)),
    "3x3 strided": ((2, 16, 1, 1), (14, 15), (3, 3), (2, 2), (1, 1, 1, 1), (1, 1)),
    "5x5": ((3, 5, 1, 1), (9, 18), (5, 5), (1, 1), (2, 2, 2, 2), (1, 1)),
    "5x5 strided": ((2, 33, 1, 1), (13, 12), (5, 5), (2, 2), (2, 1, 2, 1), (1, 1)),
    "groups of several": ((2, 18, 4, 3), (8, 6), (3, 3), (1, 1), (1, 1, 1, 1), (1, 1)),
    "one group": ((2, 1, 3, 2), (6, 9), (3, 3), (2, 1), (0, 2, 1, 0), (1, 1)),
    "one tap": ((2, 19, 2, 2), (5, 9), (1, 1), (1, 1), (0, 0, 0, 0), (1, 1)),
    "one tap, pixels that none reads": ((1, 17, 1, 2), (9, 8), (1, 1), (3, 2), (0, 0, 0, 0), (1, 1)),
    "7x7": ((1, 3, 1, 1), (9, 40), (7, 7), (1, 1), (3, 3, 3, 3), (1, 1)),
    "oblong": ((2, 4, 2, 1), (8, 9), (2, 5), (1, 2), (1, 0, 3, 2), (1, 1)),
    "dilated": ((1, 20, 1, 1), (11, 12), (3, 3), (1, 1), (2, 2, 2, 2), (2, 2)),
    "dilated and strided": ((1, 9, 2, 1), (15, 14), (3, 2), (2, 3), (3, 1, 0, 4), (2, 3)),
    "wider padding than kernel": ((1, 2, 1, 1), (4, 3), (2, 3), (1, 1), (4, 3, 5, 4), (1, 1)),
    "two bands": ((1, 2, 1, 1), (150, 50), (3, 3), (1, 1), (1, 1, 1, 1), (1, 1)),
    "two bands, strided": ((1, 2, 1, 1), (260, 50), (5, 5), (2, 2), (2, 2, 2, 2), (1, 1)),
    "several in more than a block": ((2, 17, 6, 8), (9, 7), (3, 3), (1, 1), (1, 1, 1, 1), (1, 1)),
    "several strided": ((2, 16, 5, 6), (13, 12), (3, 3), (2, 2), (1, 1, 1, 1), (1, 1)),
    "several, two shares of filters": ((2, 3, 2, 13), (5, 6), (3, 2), (1, 2), (1, 0, 2, 1), (2, 1)),
    "several, pixels that none reads": ((1, 2, 5, 3), (9, 8), (1, 1), (3, 2), (0, 0, 0, 0), (1, 1)),
    "several, bands": ((1, 2, 8, 5), (60, 39), (3, 3), (1, 1), (1, 1, 1, 1), (1, 1)),
    "several, bands, strided": ((2, 1, 8, 3), (90, 45), (3, 3), (2, 2), (1, 1, 1, 1), (1, 1)),
}


def case(name, dtype=np.float64):
    """Arrays surrounded by NaN: x, weight, bias, gy; and the rest of the geometry."""
    (n, groups, channels, filters), (h, w), (kh, kw), (sh, sw), pads, (dh, dw) = GEOMETRIES[name]
    top, bottom, left, right = pads
    oh, ow = (h + top + bottom - dh * (kh - 1) - 1) // sh + 1, (w + left + right - dw * (kw - 1) - 1) // sw + 1
    window = Window2d(h, w, kh, kw, sh, sw, *pads, dh, dw, oh, ow)
    k = groups * filters
    shapes = (n, groups * channels, h, w), (k, channels, kh, kw), (k,), (n, k, oh, ow)
    rng = np.random.default_rng(0)
    return [among(shape, dtype, rng.standard_normal(shape)) for shape in shapes], window, groups


def among(shape, dtype, values=np.nan):
    """A contiguous array with NaN before and behind it."""
    size = int(np.prod(shape))
    memory = np.full(size + 128, np.nan, dtype)
    memory[64 : 64 + size] = np.broadcast_to(values, shape).ravel()
    return memory[64 : 64 + size].reshape(shape)


def run(arrays, window, groups):
    """y, gx, gw, and that nothing was written around them; all that they are was written."""
    x, weight, bias, gy = arrays
    y, gx, gw = (among(array.shape, x.dtype) for array in (gy, x, weight))
    direct.forward(x, weight, bias, window, groups, y)
    direct.grad_x(gy, weight, window, groups, gx)
    direct.grad_w(gy, x, window, groups, gw)
    for result in (y, gx, gw):
        memory = result.base
        assert np.isnan(memory[:64]).all() and np.isnan(memory[64 + result.size :]).all()
    return y, gx, gw


def oracle(arrays, window, groups):
    """By sums over windows of the padded image, in float64."""
    x, weight, bias, gy = (np.asarray(array, np.float64) for array in arrays)
    _, _, kh, kw, sh, sw, top, bottom, left, right, dh, dw, oh, ow = window
    n, k = len(x), len(weight)
    images = x.reshape(n, groups, -1, *x.shape[2:])
    filters, gy = weight.reshape(groups, k // groups, *weight.shape[1:]), gy.reshape(n, groups, -1, oh, ow)
    big = np.pad(images, ((0, 0),) * 3 + ((top, bottom), (left, right)))
    windows = sliding_window_view(big, (dh * (kh - 1) + 1, dw * (kw - 1) + 1), (3, 4))
    windows = windows[:, :, :, ::sh, ::sw, ::dh, ::dw]
    y = np.einsum("ngcijpq,gkcpq->ngkij", windows, filters).reshape(n, k, oh, ow) + bias[:, None, None]
    gw = np.einsum("ngcijpq,ngkij->gkcpq", windows, gy).reshape(weight.shape)
    total = np.zeros_like(big)
    for p, q in np.ndindex(kh, kw):
        rows, columns = slice(p * dh, p * dh + sh * oh, sh), slice(q * dw, q * dw + sw * ow, sw)
        part = np.einsum("ngkij,gkc->ngcij", gy, filters[..., p, q])
        view = total[..., rows, columns]
        view += part[..., : view.shape[3], : view.shape[4]]
    gx = total[..., top : top + x.shape[2], left : left + x.shape[3]].reshape(x.shape)
    return y, gx, gw


@pytest.mark.parametrize("name", GEOMETRIES)
def test_every_shape_of_taps_equals_the_oracle(name):
    arrays, window, groups = case(name)
    for actual, expected, what in zip(run(arrays, window, groups), oracle(arrays, window, groups), "yxw", strict=True):
        assert_close(actual, expected, 1e-12, what=what)


@pytest.mark.parametrize("name", ["3x3", "5x5 strided", "several strided"])
def test_float32(name):
    arrays, window, groups = case(name, np.float32)
    for actual, expected in zip(run(arrays, window, groups), oracle(arrays, window, groups), strict=True):
        assert actual.dtype == np.float32
        assert_close(actual, expected, 2e-6)


def test_no_bias_is_a_bias_of_zero():
    (x, weight, bias, gy), window, groups = case("5x5 strided")
    y = np.empty_like(gy)
    direct.forward(x, weight, None, window, groups, y)
    assert_close(y, oracle((x, weight, 0 * bias, gy), window, groups)[0], 1e-12)


@pytest.mark.parametrize("name", ["5x5 strided", "several strided", "several, bands", "two bands"])
def test_any_number_of_threads_gives_the_same_bits(name):
    arrays, window, groups = case(name, np.float32)
    available = numba.get_num_threads()
    first = run(arrays, window, groups)
    numba.set_num_threads(1)
    try:
        second = run(arrays, window, groups)
    finally:
        numba.set_num_threads(available)
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def test_no_bias_of_several_filters_is_zero():
    (x, weight, bias, gy), window, groups = case("several strided")
    y = np.empty_like(gy)
    direct.forward(x, weight, None, window, groups, y)
    assert_close(y, oracle((x, weight, 0 * bias, gy), window, groups)[0], 1e-12)


# channels and filters of a group, groups, kernel
CHOICES = {
    "direct": [(4, 1, 8, 3), (4, 4, 8, 1), (64, 2, 12, 3), (2, 64, 12, 3)],
    "im2col": [(2, 2, 7, 3), (5, 2, 11, 3), (65, 2, 12, 3), (5, 1, 12, 3), (8, 8, 16, 1)],
}


@pytest.mark.parametrize(("plan", "sizes"), [(plan, sizes) for plan, rows in CHOICES.items() for sizes in rows])
def test_small_groups_are_direct_where_there_are_enough(plan, sizes):
    channels, filters, groups, kernel = sizes
    weight = groups * filters, channels, kernel, kernel
    assert explain((2, groups * channels, 9, 9), weight, stride=2, groups=groups).startswith(plan)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_stays_in_its_group_and_window(value):
    (x, weight, bias, gy), window, groups = case("3x3")
    x[1, 3, 0, 2] = value
    with np.errstate(invalid="ignore"):
        y, _, gw = run((x, weight, bias, gy), window, groups)
    reached = np.zeros(y.shape, bool)
    reached[1, 3, :2, 1:4] = True
    assert np.array_equal(~np.isfinite(y), reached)
    assert np.isfinite(np.delete(gw, 3, axis=0)).all()
    assert np.array_equal(np.isfinite(gw[3, 0]), [[False] * 3, [False] * 3, [True] * 3])
