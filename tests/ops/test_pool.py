"""What the cases cannot ask: windows without a tap, what is kept, and planes of several blocks."""

import numpy as np
import pytest

from minicnn import Tensor, no_grad, ops
from minicnn.kernels import pool as K
from tests.ops.test_ops import closure_values

# Planes of several blocks of outputs; strides of 1, 2, 3, larger than the window; borders on any side.
WINDOWS = {
    "3/2, two blocks": ((70, 66), 3, 2, 1),
    "2/2": ((90, 80), 2, 2, 0),
    "3/1": ((40, 37), 3, 1, 1),
    "one row a block": ((5, 2100), (2, 3), (2, 2), (1, 0)),
    "5x4 by 3x1": ((41, 30), (5, 4), (3, 1), (2, 1)),
    "stride beyond the window": ((43, 29), (2, 1), (5, 4), 0),
}
every_window = pytest.mark.parametrize(("size", "kernel", "stride", "padding"), WINDOWS.values(), ids=WINDOWS)


def two(value):
    return value if isinstance(value, tuple) else (value, value)


def seen(x, kernel, stride, padding, fill):
    """(N, C, OH, OW, kh, kw): what each window sees."""
    pads = ((0, 0), (0, 0), *((side, side) for side in two(padding)))
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(x, pads, constant_values=fill), two(kernel), (2, 3))
    return windows[:, :, :: two(stride)[0], :: two(stride)[1]]


def drawn(size, dtype=np.float32):
    return np.random.default_rng(1).permutation(6 * size[0] * size[1]).reshape(2, 3, *size).astype(dtype)


@pytest.mark.parametrize("op", [ops.max_pool2d, ops.min_pool2d])
def test_a_window_without_a_tap_sends_its_gradient_nowhere(op):
    x = Tensor(np.ones((1, 2, 2, 3)), requires_grad=True)  # two rows, the taps at rows -1 and 2
    y = op(x, (2, 1), stride=1, padding=(1, 0), dilation=(3, 1))
    assert y.shape == (1, 2, 1, 3) and np.isinf(y.numpy()).all()
    y.backward(np.ones(y.shape))
    assert np.array_equal(x.grad.numpy(), np.zeros(x.shape))


@every_window
def test_large_planes_have_the_maxima_of_their_windows(size, kernel, stride, padding):
    array = drawn(size)
    x = Tensor(array, requires_grad=True)
    y = ops.max_pool2d(x, kernel, stride, padding)
    expected = seen(array, kernel, stride, padding, -np.inf).max((4, 5))
    assert np.array_equal(y.numpy(), expected)
    gy = np.random.default_rng(2).integers(-9, 9, y.shape).astype(np.float32)
    y.backward(gy)
    gx = np.zeros_like(array)
    np.add.at(gx.reshape(-1), np.argsort(array.reshape(-1))[expected.astype(int)], gy)  # values are ranks
    assert np.array_equal(x.grad.numpy(), gx)


@every_window
def test_large_planes_have_the_means_of_their_windows(size, kernel, stride, padding):
    array, taps = drawn(size, np.float64), np.prod(two(kernel))
    x = Tensor(array, requires_grad=True)
    y = ops.avg_pool2d(x, kernel, stride, padding)
    assert np.allclose(y.numpy(), seen(array, kernel, stride, padding, 0).mean((4, 5)), rtol=1e-14, atol=0)
    gy = np.random.default_rng(2).integers(-9, 9, y.shape) * float(taps)
    y.backward(gy)
    places = seen(np.arange(array.size, dtype=float).reshape(array.shape), kernel, stride, padding, -1).astype(int)
    gx = np.zeros(array.size + 1)  # the padding is the last
    np.add.at(gx, places, (gy / taps)[..., None, None])
    assert np.array_equal(x.grad.numpy().reshape(-1), gx[:-1])


@every_window
@pytest.mark.parametrize("op", [ops.max_pool2d, ops.min_pool2d])
def test_ties_nan_and_infinities_need_no_gradient_to_be_right(op, size, kernel, stride, padding):
    """Values alone, taps and positions come from three loops."""
    rng, array = np.random.default_rng(3), np.round(drawn(size) % 3)
    for value in (np.nan, np.inf, -np.inf):
        array.reshape(-1)[rng.integers(array.size, size=array.size // 8)] = value
    array[0, :2] = [[[-np.inf]], [[np.inf]]]
    x = Tensor(array, requires_grad=True)
    y = op(x, kernel, stride, padding)
    with no_grad():
        assert np.array_equal(op(x, kernel, stride, padding).numpy(), y.numpy(), equal_nan=True)
    values, index = op(array, kernel, stride, padding, return_indices=True)
    assert np.array_equal(values.numpy(), y.numpy(), equal_nan=True)
    order = 1 if op is ops.max_pool2d else -1
    windows = seen(order * array, kernel, stride, padding, -np.inf)
    places = seen(np.arange(array[0, 0].size).reshape(1, 1, *size), kernel, stride, padding, -1)
    expected = np.empty(y.shape, int)
    for at in np.ndindex(*y.shape):
        taps, place = windows[at].reshape(-1), places[0, 0][at[2:]].reshape(-1)
        inside = np.flatnonzero(place >= 0)
        nan = inside[np.isnan(taps[inside])]
        expected[at] = place[nan[-1] if len(nan) else inside[np.argmax(taps[inside])]]
    assert np.array_equal(index.numpy(), expected)
    y.backward(np.ones_like(array[:, :, :1, :1]) * np.ones(y.shape, np.float32))
    gx = np.zeros((6, array[0, 0].size), np.float32)
    np.add.at(gx, (np.arange(6)[:, None], expected.reshape(6, -1)), 1)
    assert np.array_equal(x.grad.numpy().reshape(gx.shape), gx)


def test_of_equals_in_a_bin_the_first_wins():
    _, index = ops.adaptive_max_pool2d(np.ones((1, 1, 7, 5)), (2, 3), return_indices=True)
    assert index.numpy().reshape(-1).tolist() == [0, 1, 3, 15, 16, 18]


@pytest.mark.parametrize(("options", "kept"), [({}, 1), ({"return_indices": True}, 4), ({"dilation": 2}, 4)])
def test_backward_keeps_a_byte_an_output_and_four_where_one_cannot_do(options, kept):
    y = ops.max_pool2d(Tensor(drawn((12, 12)), requires_grad=True), 2, **options)
    y = y[0] if isinstance(y, tuple) else y
    arrays = [value for value in closure_values(y.node.vjp) if isinstance(value, np.ndarray)]
    assert sum(array.nbytes for array in arrays) == kept * y.size


def test_a_window_of_more_taps_than_a_byte_counts_keeps_places():
    x = Tensor(drawn((40, 40)), requires_grad=True)
    y = ops.max_pool2d(x, 17, 8)
    y.backward(np.ones(y.shape, np.float32))
    expected = seen(x.numpy(), 17, 8, 0, -np.inf).max((4, 5))
    assert np.array_equal(y.numpy(), expected) and x.grad.numpy().sum() == y.size
    assert (x.grad.numpy() > 0).sum() == len(np.unique(expected))


def test_without_a_gradient_no_index_is_made(monkeypatch):
    asked = []
    forward = K.extreme_forward
    monkeypatch.setattr(K, "extreme_forward", lambda x, b, s, dtype: asked.append(dtype) or forward(x, b, s, dtype))
    x = Tensor(drawn((8, 8)), requires_grad=True)
    with no_grad():
        ops.max_pool2d(x, 2)
    ops.max_pool2d(x.numpy(), 2)
    ops.max_pool2d(x, 2)
    assert asked == [None, None, "uint8"]
