"""Places that are no places: NaN, infinite and enormous coordinates read nothing out of range."""

import numpy as np
import pytest

from minicnn import Tensor, ops

IMAGE = np.arange(1.0, 10.0).reshape(1, 1, 3, 3)
MODES = [(mode, padding) for mode in ("bilinear", "nearest") for padding in ("zeros", "border", "reflection")]


def sampled(across, mode, padding):
    x = Tensor(IMAGE, requires_grad=True)
    grid = Tensor(np.array([[[[across, 0.0], [0.0, 0.0]]]]), requires_grad=True)
    y = ops.grid_sample(x, grid, mode, padding)
    y.backward(np.ones(y.shape))
    return y.numpy()[0, 0, 0], x.grad.numpy(), grid.grad.numpy()


@pytest.mark.parametrize(("mode", "padding"), MODES)
def test_a_place_that_is_nan_gives_nan_and_moves_no_pixel(mode, padding):
    y, gx, _ = sampled(np.nan, mode, padding)
    assert np.isnan(y[0]) and y[1] == 5.0
    assert gx.sum() == 1.0 and gx[0, 0, 1, 1] == 1.0  # the second place alone


@pytest.mark.parametrize(("mode", "padding"), MODES)
@pytest.mark.parametrize("far", [1e30, -1e30, 1e300, np.inf, -np.inf])
def test_a_place_far_outside(mode, padding, far):
    y, gx, ggrid = sampled(far, mode, padding)
    assert y[1] == 5.0 and gx[0, 0, 1, 1] >= 1.0
    if padding == "zeros":
        assert y[0] == 0.0 and gx.sum() == 1.0 and ggrid[0, 0, 0, 0] == 0.0
    elif padding == "border":
        assert y[0] == (6.0 if far > 0 else 4.0) and ggrid[0, 0, 0, 0] == 0.0
    elif np.isinf(far):
        assert np.isnan(y[0])  # no place is the reflection of infinity
    else:
        assert 4.0 <= y[0] <= 6.0 and gx.sum() == pytest.approx(2.0)


def test_nearest_takes_the_even_pixel_between_two():
    """As PyTorch's nearbyint: halves do not all go up."""
    x = np.arange(5.0).reshape(1, 1, 1, 5)
    u = np.array([0.5, 1.5, 2.5, 3.5])  # with align_corners, u = (g + 1) / 2 * 4
    grid = np.stack([u / 2 - 1, np.zeros(4)], axis=-1).reshape(1, 1, 4, 2)
    y = ops.grid_sample(x, grid, mode="nearest", align_corners=True)
    assert y.numpy().ravel().tolist() == [0, 2, 2, 4]


def test_a_pixel_of_weight_zero_is_not_read():
    x = np.array([1.0, np.nan, 3.0]).reshape(1, 1, 1, 3)
    grid = np.array([[-1.0, 0.0], [1.0, 0.0]]).reshape(1, 1, 2, 2)
    assert ops.grid_sample(x, grid, align_corners=True).numpy().ravel().tolist() == [1, 3]
