"""Initialisers: the statistics of what they draw against their formulas, and their random state."""

import math

import numpy as np
import pytest

import minicnn
from minicnn import nn
from minicnn.errors import ArgumentError, ShapeError
from minicnn.nn import init
from minicnn.random import Generator

WEIGHT = (96, 40, 3, 3)
FAN_IN, FAN_OUT = 360, 864
RELU = math.sqrt(2)

# name of the case -> (the call, expected standard deviation, whether uniform)
CASES = {
    "uniform": (lambda w, g: init.uniform_(w, -2.0, 2.0, g), 4 / math.sqrt(12), True),
    "normal": (lambda w, g: init.normal_(w, 0.0, 0.3, g), 0.3, False),
    "xavier_uniform": (lambda w, g: init.xavier_uniform_(w, 2.0, g), 2 * math.sqrt(2 / (FAN_IN + FAN_OUT)), True),
    "xavier_normal": (lambda w, g: init.xavier_normal_(w, generator=g), math.sqrt(2 / (FAN_IN + FAN_OUT)), False),
    "kaiming_uniform": (
        lambda w, g: init.kaiming_uniform_(w, 0.5, "fan_in", generator=g),
        math.sqrt(2 / (1.25 * FAN_IN)),
        True,
    ),
    "kaiming_normal": (
        lambda w, g: init.kaiming_normal_(w, 0, "fan_out", "relu", g),
        RELU / math.sqrt(FAN_OUT),
        False,
    ),
    "kaiming_tanh": (
        lambda w, g: init.kaiming_normal_(w, 0, "fan_in", "tanh", g),
        5 / 3 / math.sqrt(FAN_IN),
        False,
    ),
    "default": (lambda w, g: init.default_(w, None, g) or w, 1 / math.sqrt(3 * FAN_IN), True),
}


@pytest.mark.parametrize("name", CASES)
def test_statistics(name):
    draw, std, uniform = CASES[name]
    weight = init.parameter(*WEIGHT)
    assert draw(weight, Generator(3)) is weight
    values = weight.numpy().astype(np.float64)
    assert weight.dtype == np.float32
    assert abs(values.std() / std - 1) < 0.02 and abs(values.mean()) < 0.02 * std
    extreme = np.abs(values).max() / std
    assert (extreme <= math.sqrt(3) * 1.0001 and extreme > 1.7) if uniform else 3.5 < extreme < 6


def test_normal_and_uniform_take_their_mean_and_bounds():
    values = init.normal_(init.parameter(100, 100), 5.0, 0.1, Generator(1)).numpy()
    assert abs(values.mean() - 5) < 0.01
    values = init.uniform_(init.parameter(100, 100), 2.0, 3.0, Generator(1)).numpy()
    assert values.min() >= 2 and values.max() <= 3 and abs(values.mean() - 2.5) < 0.01


def test_the_generator_decides_and_the_default_one_is_seeded():
    first = nn.Linear(7, 5, generator=Generator(4))
    again = nn.Linear(7, 5, generator=Generator(4))
    other = nn.Linear(7, 5, generator=Generator(5))
    assert np.array_equal(first.weight.numpy(), again.weight.numpy())
    assert not np.array_equal(first.weight.numpy(), other.weight.numpy())
    minicnn.random.manual_seed(11)
    default = nn.Conv2d(3, 4, 3)
    minicnn.random.manual_seed(11)
    assert np.array_equal(default.weight.numpy(), nn.Conv2d(3, 4, 3).weight.numpy())


def test_biases_of_linear_and_convolution_stay_within_one_over_root_fan_in():
    for layer, fan_in in ((nn.Linear(50, 4000), 50), (nn.Conv2d(4, 4000, 3), 36)):
        values = layer.bias.numpy() * math.sqrt(fan_in)
        assert 0.98 < np.abs(values).max() <= 1.0001 and abs(values.std() - 1 / math.sqrt(3)) < 0.02


def test_constants():
    assert set(init.ones_(init.parameter(3)).tolist()) == {1.0}
    assert set(init.zeros_(init.parameter(3)).tolist()) == {0.0}
    assert set(init.filled(0.5, 2, 2).numpy().ravel()) == {0.5}


def test_nothing_is_drawn_abstractly():
    generator = Generator(0)
    before = generator.state()
    with minicnn.abstract():
        layer = nn.Conv2d(512, 512, 3, generator=generator)
    assert isinstance(layer.weight.data, minicnn.ShapeArray) and generator.state() == before


def test_drawing_is_announced_as_a_write():
    weight = init.parameter(2, 2)
    version = weight.version[0]
    init.normal_(weight, generator=Generator(0))
    assert weight.version[0] > version


@pytest.mark.parametrize(
    ("mistake", "error", "match"),
    [
        (lambda: init.kaiming_normal_(init.parameter(3)), ShapeError, r"shape \(3,\) has no fan"),
        (lambda: init.kaiming_normal_(init.parameter(3, 3), mode="fan"), ArgumentError, "mode='fan' is unknown"),
        (lambda: init.calculate_gain("rely"), ArgumentError, "nonlinearity='rely' is unknown"),
    ],
)
def test_mistakes(mistake, error, match):
    with pytest.raises(error, match=match):
        mistake()
