"""Losses and activations where numbers are extreme, and the rules of the mean that PyTorch set."""

import math

import numpy as np
import pytest

from minicnn import Tensor, ops
from minicnn.errors import GradientError
from tests.close import assert_close


def value_and_grad(function, x):
    tensor = Tensor(np.array(x), requires_grad=True)
    y = function(tensor)
    y.backward(np.ones(y.shape))
    return y.numpy(), tensor.grad.numpy()


SMOOTH = [  # (op, y at -1000, slope there, y at 1000, slope there)
    ("sigmoid", 0, 0, 1, 0),
    ("tanh", -1, 0, 1, 0),
    ("softplus", 0, 0, 1000, 1),
    ("logsigmoid", -1000, 1, 0, 0),
    ("silu", 0, 0, 1000, 1),
    ("mish", 0, 0, 1000, 1),
    ("gelu", 0, 0, 1000, 1),
    ("elu", -1, 0, 1000, 1),
    ("hardswish", 0, 0, 1000, 1),
]


@pytest.mark.parametrize(("op", "low", "low_slope", "high", "high_slope"), SMOOTH, ids=[row[0] for row in SMOOTH])
def test_nothing_overflows_far_from_zero(op, low, low_slope, high, high_slope):
    with np.errstate(all="raise"):
        y, gx = value_and_grad(getattr(ops, op), [-1000.0, 1000.0])
    assert_close(y, np.array([low, high], float), 1e-12)
    assert_close(gx, np.array([low_slope, high_slope], float), 1e-12)


def test_softmax_of_huge_and_masked_scores():
    y, _ = value_and_grad(lambda x: ops.softmax(x, 1), [[1000.0, 999.0, -math.inf], [-math.inf] * 3])
    e = math.exp(-1)
    assert_close(y, np.array([[1 / (1 + e), e / (1 + e), 0], [math.nan] * 3]), 1e-12)
    y, _ = value_and_grad(lambda x: ops.log_softmax(x, 1), [[1e4, -1e4, 0.0]])
    assert_close(y, np.array([[0, -2e4, -1e4]]), 1e-12)


def test_cross_entropy_of_huge_scores_keeps_small_losses():
    loss, gx = value_and_grad(lambda x: ops.cross_entropy(x, [0, 1], reduction="none"), [[1e4, 0.0], [40.0, 0.0]])
    assert_close(loss, np.array([0.0, 40.0]), 1e-12)
    assert_close(gx, np.array([[0.0, 0.0], [1.0, -1.0]]), 1e-12)
    sure = Tensor(np.array([[20.0, 0.0]], np.float32))
    assert ops.cross_entropy(sure, [0]).item() == pytest.approx(math.log1p(math.exp(-20)), rel=1e-5)


def test_all_targets_ignored_is_nan_with_zero_gradient():
    for op in (ops.cross_entropy, ops.nll_loss):
        loss, gx = value_and_grad(lambda x, op=op: op(x, [7, 7], ignore_index=7), np.ones((2, 3)))
        assert np.isnan(loss) and not gx.any()
        total, _ = value_and_grad(lambda x, op=op: op(x, [7, 7], ignore_index=7, reduction="sum"), np.ones((2, 3)))
        assert total == 0


def test_the_mean_of_nothing_is_nan():
    x, none = np.zeros((0, 3)), np.zeros((0,), int)
    assert np.isnan(ops.cross_entropy(x, none).item()) and np.isnan(ops.mse_loss(x, x).item())


def test_an_ignored_label_hides_nan_scores():
    loss, gx = value_and_grad(lambda x: ops.cross_entropy(x, [0, -100]), [[0.0, 0.0], [math.nan, math.inf]])
    assert loss == pytest.approx(math.log(2))
    assert_close(gx, np.array([[-0.5, 0.5], [0.0, 0.0]]), 1e-12)


def test_the_mean_is_summed_in_float64():
    x = Tensor(np.full(2**18 + 1, 0.1, np.float32))
    assert ops.l1_loss(x, np.zeros(2**18 + 1, np.float32), reduction="sum").item() == np.float32(
        (2**18 + 1) * np.float64(np.float32(0.1))
    )


def test_binary_cross_entropy_at_its_corners():
    def with_logits(x):
        return ops.binary_cross_entropy_with_logits(x, np.array([0.0, 1.0, 0.0, 1.0]), reduction="none")

    loss, gx = value_and_grad(with_logits, [1000.0, 1000.0, -1000.0, -1000.0])
    assert_close(loss, np.array([1000.0, 0.0, 0.0, 1000.0]), 1e-12)
    assert_close(gx, np.array([1.0, 0.0, 0.0, -1.0]), 1e-12)

    def of_probabilities(x):
        return ops.binary_cross_entropy(x, np.array([0.0, 1.0, 0.0, 1.0]), reduction="none")

    loss, gx = value_and_grad(of_probabilities, [1.0, 1.0, 0.0, 0.0])
    assert_close(loss, np.array([100.0, 0.0, 0.0, 100.0]), 1e-12)
    assert_close(gx, np.array([1e12, 0.0, 0.0, -1e12]), 1e-12)


def test_labels_may_be_lists_tensors_and_any_integers():
    x = np.array([[0.3, 0.7], [1.0, -1.0]])
    expected = ops.cross_entropy(x, [0, 1]).item()
    for labels in (np.uint8([0, 1]), np.int32([0, 1]), Tensor([0, 1])):
        assert ops.cross_entropy(x, labels).item() == expected


@pytest.mark.parametrize(
    ("loss", "target", "name"),
    [
        (ops.cross_entropy, [0, 1], "weight"),
        (ops.nll_loss, [0, 1], "weight"),
        (ops.mse_loss, np.zeros((2, 2)), "weight"),
        (ops.binary_cross_entropy_with_logits, np.zeros((2, 2)), "pos_weight"),
    ],
)
def test_a_weight_that_would_get_no_gradient_is_refused(loss, target, name):
    weight = Tensor(np.ones((2, 2) if loss is ops.mse_loss else 2), requires_grad=True)
    with pytest.raises(GradientError, match=f"{loss.__name__}: {name} requires a gradient"):
        loss(np.zeros((2, 2)), target, **{name: weight})
