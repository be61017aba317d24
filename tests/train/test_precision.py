"""The loss scale's arithmetic and what it refuses; runs in half precision are in tests/gpu/test_mixed_precision.py."""

import dataclasses

import numpy as np
import pytest

from minicnn import nn
from minicnn.errors import ArgumentError, CheckpointError
from minicnn.tensor import Tensor
from minicnn.train import TrainArgs, new_run
from minicnn.train.precision import LossScale, Precision

LOW = ("float16", "bfloat16")


def after(events, scale=None):
    """The loss scale after steps, each ``x`` (overflowed) or ``.`` (good)."""
    scale = scale or LossScale()
    for event in events:
        scale.update(event == "x")
    return dataclasses.astuple(scale)


def test_the_scale_halves_at_an_overflow_and_doubles_after_2000_good_steps():
    assert after("") == (65536.0, 0, 0)
    assert after("x") == (32768.0, 0, 1)
    assert after("..x.") == (32768.0, 1, 1)
    assert after("." * 1999) == (65536.0, 1999, 0)
    assert after("." * 2000) == (131072.0, 0, 0)
    assert after("." * 1999 + "x" + "." * 1999) == (32768.0, 1999, 1)
    assert after("." * 4000) == (262144.0, 0, 0)


def half(model, loss_scale=None):
    precision = Precision("float16", model, "gpu")
    precision.loss_scale = loss_scale or LossScale()
    return precision


def step(precision, model, *pieces):
    """Backward left ``pieces`` of gradients of the bias; whether they may be used, and what they became."""
    with precision.lowered():
        for values in pieces:
            assert model.bias.dtype == np.float16
            model.bias.grad = Tensor(np.array(values, np.float16))
            precision.gather([model.bias])
    return precision.unscale([model.bias]), model.bias.grad


def test_gradients_are_added_and_unscaled_in_float32():
    model = nn.Linear(3, 2)
    usable, grad = step(half(model, LossScale(2.0**10)), model, [1.0, 2.0**-14], [2.0**-11, 60000], [0, 60000])
    assert usable and grad.dtype == np.float32
    assert np.array_equal(grad.numpy() * 2**10, np.float32([1 + 2.0**-11, 120000 + 2.0**-14]))


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_an_overflow_leaves_no_gradients(value):
    model = nn.Linear(3, 2)
    precision = half(model)
    usable, grad = step(precision, model, [1, 1], [value, 1], [1, 1])
    assert not usable and grad is None
    assert precision.loss_scale == LossScale(2.0**15, 0, 1)
    assert precision.note() == "float16: 1 step skipped (1 so far); the loss scale is 32768"
    assert precision.note() == ""
    assert step(precision, model, [1, 1])[0] and precision.loss_scale == LossScale(2.0**15, 1, 1)


def test_the_masters_come_back_and_are_not_rounded():
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    values, precision = model.state_dict(), half(model)
    arrays = [p.data for p in model.parameters()]
    with pytest.raises(KeyError), precision.lowered():
        assert {p.dtype.name for p in model.parameters()} == {"float16"}
        assert np.array_equal(model[0].weight.numpy(), values["0.weight"].astype(np.float16))
        assert {b.dtype.name for b in model.buffers()} == {"float32", "int64"}
        raise KeyError
    assert all(p.data is array for p, array in zip(model.parameters(), arrays, strict=True))
    assert np.array_equal(model[0].weight.numpy(), values["0.weight"])


def test_answers_of_auxiliary_heads_are_float32_too():
    seen = []

    def model(images):
        seen.append(images.dtype.name)
        return images, images

    answers = half(nn.Linear(3, 2)).answer(model, Tensor(np.ones((1, 3), np.float32)))
    assert seen == ["float16"] and isinstance(answers, tuple)
    assert [scores.dtype.name for scores in answers] == ["float32"] * 2


def test_float32_is_left_alone():
    model = nn.Linear(3, 2)
    precision, arrays = Precision("float32", model, "cpu"), [p.data for p in model.parameters()]
    loss = Tensor(np.float32(2))
    assert precision.scaled(loss) is loss
    with precision.lowered():
        assert all(p.data is array for p, array in zip(model.parameters(), arrays, strict=True))
    grad = model.bias.grad = Tensor(np.float32([np.inf, 1]))
    precision.gather([model.bias])
    assert precision.unscale([model.bias]) and model.bias.grad is grad
    assert precision.state() == {} and precision.note() == ""


def test_a_scale_below_1_is_hopeless():
    scale, precision = LossScale(1.0), half(nn.Linear(3, 2))
    precision.loss_scale = scale
    assert not precision.hopeless
    scale.update(True)
    assert precision.hopeless


GOOD = {"scale": 4.0, "good": 3, "skipped": 14}


def test_the_state_is_put_back():
    precision = half(nn.Linear(3, 2))
    precision.restore({"loss_scale": GOOD})
    assert precision.state() == {"loss_scale": GOOD} and precision.note() == ""


@pytest.mark.parametrize(
    "wrong",
    [None, 1.0, [], {}, {"scale": 4.0}, GOOD | {"more": 1}]
    + [GOOD | {"scale": value} for value in (0.0, -1.0, 4, "4", None, float("nan"), float("inf"))]
    + [GOOD | {name: value} for name in ("good", "skipped") for value in (-1, 1.0, True, "1", None, 2**70)]
    + [GOOD | {"good": 2000}],
    ids=repr,
)
def test_states_that_make_no_sense(wrong):
    precision = half(nn.Linear(3, 2))
    with pytest.raises(CheckpointError, match="'loss_scale' is"):
        precision.restore({} if wrong is None else {"loss_scale": wrong})
    assert precision.loss_scale == LossScale()


@pytest.mark.parametrize("precision", LOW)
def test_the_cpu_refuses(tiny, tmp_path, precision):
    args = dataclasses.replace(tiny, device="cpu", precision=precision)
    with pytest.raises(ArgumentError, match=f"precision='{precision}' on the CPU, .* fix: --device gpu"):
        new_run(args, tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


def test_another_precision_is_an_error():
    with pytest.raises(ArgumentError, match=r"precision='float61' is unknown, .* did you mean 'float16'"):
        TrainArgs(precision="float61")
