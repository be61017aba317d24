"""What batch and instance norm leave in the running arrays, and how many digits they keep."""

import warnings

import numpy as np
import pytest

import minicnn
from minicnn import Tensor, ops
from tests.close import assert_close

FAR = {"loc": 1e4, "scale": 1e-2}


def far_from_zero(*shape):
    """float32 with mean 1e4 and deviation 1e-2: a one-pass variance in float32 would be all noise."""
    return np.random.default_rng(0).normal(size=shape, **FAR).astype(np.float32)


def reference(x, axes):
    x = x.astype(float)
    mean = x.mean(axes, keepdims=True)
    return (x - mean) / np.sqrt(((x - mean) ** 2).mean(axes, keepdims=True) + 1e-5)


@pytest.mark.parametrize(
    ("op", "axes"),
    [
        (lambda x: ops.batch_norm(x, None, None, training=True), (0, 2, 3)),
        (lambda x: ops.instance_norm(x), (2, 3)),
        (lambda x: ops.group_norm(x, 1), (1, 2, 3)),
        (lambda x: ops.layer_norm(x, x.shape[1:]), (1, 2, 3)),
    ],
)
def test_a_large_mean_costs_no_digits(op, axes):
    """float32 results are within 1e-6 of float64's (one rounding of the output is 6e-8)."""
    x = far_from_zero(8, 3, 9, 7)
    assert_close(op(x).numpy(), reference(x, axes), tol=1e-6)


def test_gradients_keep_their_digits_too():
    x, gy = far_from_zero(8, 3, 9, 7), np.random.default_rng(1).standard_normal((8, 3, 9, 7)).astype(np.float32)
    gradients = []
    for dtype in (np.float32, np.float64):
        tensor = Tensor(x.astype(dtype), requires_grad=True)
        ops.batch_norm(tensor, None, None, training=True).backward(gy.astype(dtype))
        gradients.append(tensor.grad.numpy())
    assert_close(gradients[0], gradients[1], tol=1e-6)


def test_running_statistics_are_written_in_place_once_with_the_unbiased_variance():
    rng = np.random.default_rng(2)
    x = rng.standard_normal((4, 3, 5)) * 2 + 1
    mean, var = rng.standard_normal(3), rng.uniform(1, 2, 3)
    tensor, array = Tensor(mean.copy()), var.copy()
    version = tensor.version[0]
    held = tensor.data
    ops.batch_norm(x, tensor, array, training=True, momentum=0.3)
    assert_close(held, 0.7 * mean + 0.3 * x.mean((0, 2)), tol=1e-14)
    assert_close(array, 0.7 * var + 0.3 * x.var((0, 2), ddof=1), tol=1e-14)
    assert tensor.version[0] == version + 1


def test_instance_norm_averages_the_statistics_of_the_images():
    rng = np.random.default_rng(3)
    x, mean, var = rng.standard_normal((4, 3, 5)), np.zeros(3), np.ones(3)
    ops.instance_norm(x, mean, var, momentum=0.3)
    assert_close(mean, 0.3 * x.mean(2).mean(0), tol=1e-14)
    assert_close(var, 0.7 + 0.3 * x.var(2, ddof=1).mean(0), tol=1e-14)


def test_running_statistics_stay_in_evaluation_without_images_and_in_abstract_mode():
    mean, var = np.full(3, 0.5), np.full(3, 2.0)
    ops.batch_norm(np.ones((2, 3, 4)), mean, var)
    ops.batch_norm(np.ones((0, 3, 4)), mean, var, training=True)
    ops.instance_norm(np.ones((0, 3, 4)), mean, var)
    with minicnn.abstract():
        ops.batch_norm(np.ones((2, 3, 4)), mean, var, training=True)
    assert np.array_equal(mean, np.full(3, 0.5)) and np.array_equal(var, np.full(3, 2.0))


def test_batch_norm_train_returns_the_biased_moments_without_history():
    x = np.random.default_rng(4).standard_normal((4, 3, 5))
    y, mean, var = ops.batch_norm_train(Tensor(x, requires_grad=True))
    assert y.node is not None and mean.node is None and var.node is None
    assert_close(mean.numpy(), x.mean((0, 2)), tol=1e-14)
    assert_close(var.numpy(), x.var((0, 2)), tol=1e-14)


@pytest.mark.parametrize("options", [{"p": np.float64(3)}, {"eps": np.float64(1e-12)}])
def test_normalize_keeps_float32_beside_numpy_numbers(options):
    x = Tensor(np.ones((2, 3), np.float32), requires_grad=True)
    y = ops.normalize(x, **options)
    y.sum().backward()
    assert y.dtype == x.grad.dtype == np.float32


def test_zero_over_zero_is_nan_without_a_warning():
    x = Tensor(np.zeros((4, 2), np.float32))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(ops.batch_norm(x, None, None, training=True, eps=0.0).numpy()).all()
        assert np.isnan(ops.layer_norm(x, 2, eps=0.0).numpy()).all()
        assert np.isnan(ops.normalize(x, eps=0.0).numpy()).all()


def test_no_channels_in_several_groups():
    assert ops.group_norm(Tensor(np.zeros((2, 0, 3))), 2).shape == (2, 0, 3)
