"""Gradient clipping and averages of weights."""

import math

import numpy as np
import pytest

from minicnn import Tensor, optim
from minicnn.errors import ArgumentError, CheckpointError, GradientError
from tests.close import assert_close


def with_grads(*grads, dtype=np.float64):
    tensors = []
    for g in grads:
        tensor = Tensor(np.ones(np.shape(g), dtype), requires_grad=True)
        tensor.grad = Tensor(np.asarray(g, dtype))
        tensors.append(tensor)
    return tensors


@pytest.mark.parametrize(("norm_type", "norm"), [(2.0, 13.0), (1.0, 19.0), (math.inf, 12.0)])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_joint_norm_is_clipped(norm_type, norm, dtype):
    a, b, idle = *with_grads([3.0, -4.0], [[12.0]], dtype=dtype), Tensor(np.ones(2), requires_grad=True)
    assert optim.clip_grad_norm_([a, idle, b], 2.0, norm_type) == pytest.approx(norm)
    assert_close(a.grad.numpy(), np.array([3.0, -4.0]) * 2 / norm, 1e-6)
    assert_close(b.grad.numpy(), np.array([[12.0]]) * 2 / norm, 1e-6)
    assert a.grad.dtype == dtype


def test_small_gradients_stay_as_they_are():
    (a,) = with_grads([0.3, 0.4])
    assert optim.clip_grad_norm_(a, 2.0) == pytest.approx(0.5)
    assert np.array_equal(a.grad.numpy(), [0.3, 0.4])
    assert optim.clip_grad_norm_([Tensor(np.ones(2), requires_grad=True)], 1.0) == 0.0


def test_nan_norms_spoil_or_raise():
    a, b = with_grads([math.nan], [5.0])
    with pytest.raises(GradientError, match=r"clip_grad_norm_: the norm of the gradients is nan; fix"):
        optim.clip_grad_norm_([a, b], 1.0, error_if_nonfinite=True)
    assert b.grad.numpy()[0] == 5.0
    optim.clip_grad_norm_([a, b], 1.0)
    assert np.isnan(b.grad.numpy()).all()


def test_values_are_clipped():
    (a,) = with_grads([-3.0, 0.5, 3.0, math.nan], dtype=np.float32)
    optim.clip_grad_value_([a], 1.0)
    assert np.array_equal(a.grad.numpy(), np.float32([-1, 0.5, 1, math.nan]), equal_nan=True)


def test_clip_mistakes():
    with pytest.raises(ArgumentError, match=r"max_norm=-1"):
        optim.clip_grad_norm_(with_grads([1.0]), -1)
    with pytest.raises(ArgumentError, match=r"clip_value=-1"):
        optim.clip_grad_value_(with_grads([1.0]), -1)
    with pytest.raises(ArgumentError, match=r"clip_grad_value_: a parameter is a ndarray, expected a Tensor"):
        optim.clip_grad_value_([np.ones(2)], 1)


def weights(values=(1.0, 2.0)):
    return Tensor(np.array(values), requires_grad=True), Tensor(np.array([0, 0]))


@pytest.mark.parametrize("decay", [0.5, 0.15, None])
def test_the_average_follows_its_formula(decay):
    w, count = weights()
    average = optim.WeightAverage([("w", w), ("count", count)], decay)
    expected, mean = w.numpy().copy(), np.zeros(2)
    for t in range(1, 8):
        w.copy_(np.array([math.sin(t), math.cos(t)]))
        count.copy_(np.array([t, -t]))
        average.update()
        d = min(decay, (1 + t) / (10 + t)) if decay is not None else (t - 1) / t
        expected = d * expected + (1 - d) * w.numpy()
        mean += w.numpy() / 7
    if decay is None:
        expected = mean
    own = w.data
    with average.applied():
        assert_close(w.numpy(), expected, 1e-12)
        assert np.array_equal(count.numpy(), [7, -7])
    assert w.data is own and np.array_equal(count.numpy(), [7, -7])


def test_the_weights_come_back_after_an_error():
    w, _ = weights()
    average = optim.WeightAverage([w], 0.9)
    w.copy_(np.array([5.0, 6.0]))
    with pytest.raises(KeyError), average.applied():
        raise KeyError
    assert np.array_equal(w.numpy(), [5.0, 6.0])


def test_a_saved_average_goes_on():
    w, count = weights()
    before = optim.WeightAverage([w, count])
    before.update()
    other, other_count = weights((9.0, 9.0))
    after = optim.WeightAverage([other, other_count])
    after.load_state_dict({name: array.copy() for name, array in before.state_dict().items()})
    for x in (w, other):
        x.copy_(np.array([7.0, 7.0]))
    before.update()
    after.update()
    assert after.updates == 2
    for name, array in before.state_dict().items():
        assert np.array_equal(array, after.state_dict()[name])


def test_average_mistakes():
    w, _ = weights()
    average = optim.WeightAverage([w])
    with pytest.raises(ArgumentError, match=r"decay=1.0, expected a number from 0 to below 1"):
        optim.WeightAverage([w], 1.0)
    with pytest.raises(ArgumentError, match=r"no tensors to average; fix"):
        optim.WeightAverage([])
    with pytest.raises(ArgumentError, match=r"0 is a int, expected a Tensor"):
        optim.WeightAverage([3])
    with pytest.raises(CheckpointError, match=r"differ in 1 names, first '0'; is it of another model"):
        average.load_state_dict({"updates": np.asarray(1)})
    with pytest.raises(CheckpointError, match=r"state's 0 has shape \(3,\) and dtype float64, expected \(2,\)"):
        average.load_state_dict({"updates": np.asarray(1), "0": np.ones(3)})
    for count in (np.asarray(-1), np.asarray([1, 2]), np.asarray(1.0)):
        with pytest.raises(CheckpointError, match=r"state's updates is array\(.*\), expected a count"):
            average.load_state_dict({"updates": count, "0": w.numpy()})
