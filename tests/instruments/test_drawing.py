"""Pictures of pictures."""

import numpy as np

from minicnn.instruments.drawing import overlaid, signed, windows
from tests.close import assert_close


def test_windows_are_equal_squares_round_what_is_there():
    small, large, empty = (np.zeros((2, 40, 50)) for _ in range(3))
    small[0, 3, 48] = -1
    large[1, 10:22, 20:25] = 2
    large[0, 0, 0] = 1e-4
    found = windows([small, large, empty])
    assert found[1] == (slice(10, 22), slice(16, 28)) and found[2] == (slice(0, 12), slice(0, 12))
    assert found[0] == (slice(0, 12), slice(38, 50)), "within the picture"
    assert windows([small])[0] == (slice(0, 8), slice(42, 50)), "not too small to see"
    assert windows([np.ones((1, 5, 6))]) == [(slice(0, 5), slice(0, 6))], "nor larger than the picture"


def test_grey_is_0_in_signed_pictures():
    values = np.array([[[0.0, 2.0], [-4.0, 1.0]]])
    assert_close(signed(values)[..., 0], [[0.5, 0.75], [0.0, 0.625]], 1e-12)


def test_heat_is_the_only_colour_of_an_overlay():
    picture = np.random.default_rng(0).random((6, 6, 3))
    cold = overlaid(picture, np.zeros((3, 3)))
    assert np.ptp(cold, axis=2).max() < 1e-12
    assert_close(cold[..., 0], picture.mean(2), 1e-12)
    assert np.ptp(overlaid(picture, np.eye(3)), axis=2).max() > 0.2
