"""Writes are announced: a backward pass that saved what was written since refuses to run."""

import numpy as np
import pytest

from minicnn import Tensor, ops
from minicnn.errors import ArgumentError, GradientError, ShapeError
from minicnn.kernels.arrays import allocate


def leaf(*shape, seed=0, dtype=np.float64):
    return Tensor(np.random.default_rng(seed).standard_normal(shape).astype(dtype), requires_grad=True)


def test_a_write_between_forward_and_backward_is_noticed():
    x = leaf(2)
    y = (x * x).sum()
    x.copy_([5.0, 6.0])
    with pytest.raises(GradientError, match=r"mul: input 0 of shape \(2,\) was written after the forward pass"):
        y.backward()
    assert x.grad is None, "a refused backward left a gradient behind"


def test_a_write_into_what_is_saved_as_a_view_is_noticed():
    x, w = leaf(2, 3), leaf(4, 3, seed=1)
    y = ops.linear(x, w).sum()  # saves x as a matrix of rows
    x.copy_(np.zeros((2, 3)))
    with pytest.raises(GradientError, match=r"linear: input 0 of shape \(2, 3\) was written"):
        y.backward()


@pytest.mark.parametrize("op", [ops.sigmoid, lambda x: ops.softmax(x, 0)])
def test_a_write_into_a_saved_result_is_noticed(op):
    x = leaf(2)
    y = op(x)
    total = y.sum()
    y.detach().copy_(np.zeros(2))
    with pytest.raises(GradientError, match=r"its result of shape \(2,\) was written after the forward pass"):
        total.backward()


def test_a_write_of_something_not_saved_is_fine():
    x, w = leaf(2), leaf(2, seed=1)
    y = (x + w).sum()
    x.copy_([5.0, 6.0])
    y.backward()
    assert x.grad.tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    "view",
    [
        lambda x: x[0],
        lambda x: x.reshape(6),
        lambda x: x.T,
        lambda x: x.detach(),
        lambda x: x.split(1)[1],
        lambda x: x.T[1:],
    ],
)
def test_a_write_is_noticed_through_a_view(view):
    x, w = leaf(2, 3), Tensor(2.0, requires_grad=True, dtype=np.float64)
    y = (view(x) * w).sum()
    x.copy_(np.zeros((2, 3)))
    with pytest.raises(GradientError, match="was written after the forward pass"):
        y.backward()


def test_writing_rules():
    x = leaf(2)
    assert x.copy_(x.detach() * 2) is x
    with pytest.raises(ShapeError, match=r"copy_: values have shape \(3,\), expected \(2,\)"):
        x.copy_([1.0, 2.0, 3.0])
    with pytest.raises(GradientError, match="copy_: this tensor was computed"):
        (x * 2).copy_([1.0, 2.0])
    with pytest.raises(ArgumentError, match="not written by index; fix"):
        x[0] = 1.0
    with pytest.raises(ShapeError, match=r"cannot assign shape \(3,\)"):
        x.data = np.ones(3)


def test_a_write_into_memory_of_the_arena_is_noticed_through_a_view():
    """The vjp of linear holds x as rows: a view, whose base is x and not the lease that x's memory comes from."""
    x = Tensor(allocate(np.empty(0, np.float32), (4, 100, 100), fill=1), requires_grad=True)
    assert x.data.base is not None
    y = ops.linear(x, Tensor(np.ones((3, 100), np.float32), requires_grad=True)).sum()
    x.copy_(np.zeros((4, 100, 100), np.float32))
    with pytest.raises(GradientError, match=r"input 0 of shape \(4, 100, 100\) was written"):
        y.backward()
