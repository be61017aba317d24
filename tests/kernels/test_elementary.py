"""The functions of a number that kernels compute by polynomials, seen through activations, against float64."""

import math

import numpy as np
import pytest

from minicnn import Tensor, ops
from minicnn.kernels import activation as K
from minicnn.kernels.jit import FEW
from tests.close import assert_close

TINY = 1e-37  # below it float32 has few bits left


def _swept(low, high):
    """Numbers of every size and sign between the bounds, and the edges of float32."""
    sizes = np.geomspace(1e-30, 100, 4001)
    values = np.concatenate([np.linspace(low, high, 20001), sizes, -sizes, [0.0, -0.0, low, high]])
    return values[(low <= values) & (values <= high)].astype(np.float32)


def _exp(x):
    """The derivative of an ELU, below 0 and (turned round) above."""
    below, ones = np.minimum(x, -np.abs(x)), np.ones_like(x)
    down, up = K.elu_grad_x(ones, below, 1.0, 1.0, 1.0), K.elu_grad_x(ones, below, 1.0, -1.0, -1.0)
    return np.where(x > 0, up, down)


def _cdf(x):
    return np.array([0.5 * math.erfc(-v / math.sqrt(2)) for v in x.tolist()])


FUNCTIONS = {
    "exp": (_exp, np.exp, -103, 88.7, 2e-7),
    "expm1": (lambda x: K.elu_forward(x, 1.0, 1.0, 1.0), np.expm1, -103, 0, 2e-7),
    "tanh": (lambda x: K.tanh_forward(x, 1.0, 1.0), np.tanh, -103, 103, 3e-7),
    "sigmoid": (K.sigmoid_forward, lambda x: 1 / (1 + np.exp(-x)), -103, 103, 3e-7),
    "softplus": (lambda x: K.softplus_forward(x, 1.0, np.inf), lambda x: np.logaddexp(0, x), -103, 103, 3e-7),
    "normal_cdf": (lambda x: K.gelu_forward(x, False) / x, _cdf, -5, 103, 3e-6),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_number_is_right_to_a_few_units_in_the_last_place(name):
    function, twin, low, high, tolerance = FUNCTIONS[name]
    x = _swept(low, high)
    x = x[x != 0] if name == "normal_cdf" else x
    expected = twin(x.astype(np.float64))
    off = np.abs(function(x) - expected) / np.maximum(np.abs(expected), TINY)
    assert off.max() <= tolerance, (x[off.argmax()], off.max())


@pytest.mark.parametrize(
    ("name", "at_inf", "at_minus_inf"),
    [("exp", np.inf, 0), ("tanh", 1, -1), ("sigmoid", 1, 0), ("softplus", np.inf, 0)],
)
def test_nan_and_inf_keep_their_meaning(name, at_inf, at_minus_inf):
    x = np.array([np.inf, -np.inf, np.nan, 1e30, -1e30] * 8, np.float32)  # long enough for vectors
    expected = np.array([at_inf, at_minus_inf, np.nan, at_inf, at_minus_inf] * 8)
    y = FUNCTIONS[name][0](x)
    expected = np.where(x == 1e30, x, expected) if name == "softplus" else expected
    np.testing.assert_array_equal(y, expected.astype(np.float32))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_largest_of_a_row_is_found_whatever_the_signs(dtype):
    """Softmax subtracts it: one that is too small overflows, one that is too large leaves nothing."""
    rows = np.array([[-3, -1, -2], [-700, 0, 700], [700, -700, -0.0], [-800, -800, -800]], dtype)
    for x in (rows[:, :, None], np.ascontiguousarray(np.repeat(rows[:, :, None], 5, 2))):
        y, wide = K.softmax_forward(x), x.astype(np.float64)
        powers = np.exp(wide - wide.max(1, keepdims=True))
        np.testing.assert_allclose(y, powers / powers.sum(1, keepdims=True), rtol=1e-6, atol=1e-37)


NAMES = ("relu", "relu6", "leaky_relu", "elu", "gelu", "silu", "mish", "hardswish", "hardsigmoid", "sigmoid", "tanh")


@pytest.mark.parametrize("name", [*NAMES, "logsigmoid", "softplus"])
def test_many_elements_have_the_values_of_few(name):
    """Few are computed in one thread by code compiled apart."""
    x = np.random.default_rng(0).standard_normal(FEW + 100).astype(np.float32) * 4
    whole, parts = Tensor(x, requires_grad=True), [Tensor(part, requires_grad=True) for part in np.split(x, [FEW])]
    function = getattr(ops, name)
    y, values = function(whole), [function(part) for part in parts]
    for tensor in (y, *values):
        tensor.backward(np.ones(tensor.shape, np.float32))
    assert_close(y.numpy(), np.concatenate([value.numpy() for value in values]), 1e-7)
    assert_close(whole.grad.numpy(), np.concatenate([part.grad.numpy() for part in parts]), 1e-6)
