"""Rows added, copied and scaled: as NumPy does, bit for bit, whether the arrays are whole, views or small."""

import numpy as np
import pytest

from minicnn import Tensor, ops
from minicnn.kernels import rows as K

# Just above ``K.FEW`` numbers, so that threads share them in uneven pieces; and small ones.
SHAPES = [(3, 40, 47, 47), (1, 7, 195, 196), (5, 3, 4, 4), (270_001,), (30, 9001), (0, 3, 5, 5)]


def array(shape, seed, dtype=np.float32):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def views(x):
    """``x`` whole, and in arrays that hold more: rows apart, numbers apart, turned."""
    yield x.copy()
    if x.ndim > 1:
        wider = np.full((x.shape[0], x.shape[1] + 3, *x.shape[2:]), np.nan, x.dtype)
        wider[:, 2:-1] = x
        yield wider[:, 2:-1]
    every = np.full((*x.shape[:-1], 2 * x.shape[-1]), np.nan, x.dtype)
    every[..., ::2] = x
    yield every[..., ::2]
    yield x.T.copy().T
    yield x[::-1].copy()[::-1]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sums_and_copies_of_views(shape, dtype):
    a, b = array(shape, 1, dtype), array(shape, 2, dtype)
    for left in views(a):
        copy = K.copied(left)
        assert copy.flags.c_contiguous
        np.testing.assert_array_equal(copy, a)
        for right in views(b):
            left[...] = a
            np.testing.assert_array_equal(K.added(left, right), a + b)
            K.add_into(left, right)
            np.testing.assert_array_equal(left, a + b)


def test_a_broadcast_array_is_copied_and_added():
    one = np.broadcast_to(array((1, 200, 3000), 1), (4, 200, 3000))
    np.testing.assert_array_equal(K.copied(one), np.array(one))
    np.testing.assert_array_equal(K.added(one, one), one + one)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("size", [5, 130])
def test_arrays_are_joined(axis, size):
    lengths = (1, size, 0, 7)
    arrays = [array([length if d == axis else 64 for d in range(3)], length) for length in lengths]
    np.testing.assert_array_equal(K.joined(arrays, axis), np.concatenate(arrays, axis))
    turned = [a.T.copy().T for a in arrays]
    np.testing.assert_array_equal(K.joined(turned, axis), np.concatenate(arrays, axis))


@pytest.mark.parametrize("shape", [(4, 90, 13, 13), (2, 3, 200, 201), (3, 2, 2, 2), (4, 70, 99)])
def test_planes_are_scaled(shape):
    x, scale = array(shape, 1), array((*shape[:2], *(1,) * (len(shape) - 2)), 2)
    np.testing.assert_array_equal(K.multiplied(x, scale), x * scale)
    np.testing.assert_array_equal(K.multiplied(scale, x), x * scale)
    y = array(shape, 3)
    expected = (x.astype(np.float64) * y).sum(tuple(range(2, x.ndim)), keepdims=True)
    np.testing.assert_allclose(K.product_sums(x, y), expected, rtol=1e-6)


@pytest.mark.parametrize(
    "shape", [(4, 90, 1, 1), (4, 90, 13, 13), (4, 1, 1, 1), (1, 90, 13, 13), (90, 1, 1), (4, 90, 1, 13)]
)
@pytest.mark.parametrize("swapped", [False, True])
def test_gradients_of_a_product_with_broadcasting(shape, swapped):
    x, scale, gy = array((4, 90, 13, 13), 1), array(shape, 2), array((4, 90, 13, 13), 3)
    a, b = Tensor(x, requires_grad=True), Tensor(scale, requires_grad=True)
    (ops.mul(b, a) if swapped else ops.mul(a, b)).backward(Tensor(gy))
    wide = (gy.astype(np.float64) * x).reshape(1, 4, 90, 13, 13)
    full = (1,) * (4 - len(shape)) + shape
    summed = wide.sum(tuple(d + 1 for d in range(4) if full[d] == 1), keepdims=True).reshape(shape)
    np.testing.assert_array_equal(a.grad.data, gy * scale)
    np.testing.assert_allclose(b.grad.data, summed, rtol=1e-5, atol=1e-4)
