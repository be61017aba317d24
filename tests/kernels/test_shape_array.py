"""A shape without values says of its views what NumPy says of its own: whose memory they share."""

import numpy as np
import pytest

from minicnn import Tensor
from minicnn.kernels.pool import adaptive_bins, window_bins
from minicnn.kernels.shape_array import ShapeArray
from minicnn.kernels.window import Window2d
from minicnn.record import unwrap

VIEWS = [
    lambda x: x.reshape(3, -1),
    lambda x: x.transpose(1, 0, 2).reshape(4, 2, 3)[0],
    lambda x: np.transpose(x, (2, 0, 1)),
    lambda x: np.expand_dims(x[:, ::2], 0),
    lambda x: x.T,
    lambda x: x.ravel(),
    lambda x: x[1],
    lambda x: np.broadcast_to(x, (5, 2, 4, 3)),
]
COPIES = [lambda x: x + 1, lambda x: x.copy(), lambda x: x[[0, 1]], lambda x: x[np.array([0])], lambda x: x.sum(0)]


@pytest.mark.parametrize(("made", "shared"), [(f, True) for f in VIEWS] + [(f, False) for f in COPIES])
def test_a_view_knows_its_base(made, shared):
    shape, array = ShapeArray((2, 4, 3), "float32"), np.zeros((2, 4, 3), np.float32)
    assert made(shape).shape == made(array).shape
    assert (made(shape).base is shape) == np.shares_memory(made(array), array) == shared


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_lies_in_memory_as_numpys_does(view):
    shape, array = view(ShapeArray((2, 4, 3), "float32")), view(np.zeros((2, 4, 3), np.float32))
    assert shape.strides == array.strides and shape.flags.c_contiguous == array.flags.c_contiguous


def test_what_is_read_out_of_order_is_copied_first():
    """As NumPy's arrays are: a plan of memory counts the copy."""
    for x in (ShapeArray((2, 3), "float32").T, np.zeros((2, 3), np.float32).T):
        (ready,) = unwrap("relu", x=Tensor(x))
        assert ready.flags.c_contiguous and ready.base is None and ready.shape == (3, 2)


def test_a_dtype_that_is_there_needs_no_copy():
    x = ShapeArray((2, 3), "float32")
    assert x.astype("float32", copy=False) is x and x.astype("float64", copy=False).dtype == np.float64
    assert x.astype("float32") is not x


def test_elements_are_views_too():
    x = ShapeArray((2, 4), "float32")
    assert x[1, 2].shape == () and x[1, 2].base is x and x[:, 3].shape == (2,)
    with pytest.raises(IndexError):
        x[5, 0]


def test_bins_remember_their_window():
    """Bins end at the border of the image; the window they came from does not."""
    window = Window2d(7, 7, 3, 3, 2, 2, 1, 1, 1, 1, 1, 1, 4, 4)
    assert window_bins(window).window == window and adaptive_bins(7, 7, 2, 2).window is None
