"""gradcheck itself: wrong backwards are found and explained, right ones pass, blind spots are refused."""

import numpy as np
import pytest

import minicnn
from minicnn import Tensor, gradcheck, nn, ops, record, unwrap
from minicnn.errors import DTypeError, GradientError

RNG = np.random.default_rng(3)


def leaf(*shape):
    return Tensor(RNG.standard_normal(shape), requires_grad=True)


def op(forward, backward):
    def function(x):
        (xa,) = unwrap("op", x=x)
        return record("op", forward(xa), (x,), lambda gy, needs: (backward(gy, xa),))

    return function


def normalised(xa):
    e = np.exp(xa - xa.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


WRONG = {
    "scaled": (np.sin, lambda gy, xa: 1.01 * gy * np.cos(xa)),
    "sign": (np.sin, lambda gy, xa: -gy * np.cos(xa)),
    "one_element": (np.sin, lambda gy, xa: gy * np.cos(xa) * (np.arange(xa.size).reshape(xa.shape) != 5)),
    "upstream_ignored": (np.sin, lambda gy, xa: np.cos(xa)),
    "upstream_flipped": (np.sin, lambda gy, xa: gy[::-1] * np.cos(xa)),
    # With an all-ones upstream gradient the derivative of a softmax is 0, and these two would pass.
    "softmax_without_its_sum": (normalised, lambda gy, xa: normalised(xa) * (gy - gy)),
    "softmax_half": (
        normalised,
        lambda gy, xa: 0.5 * normalised(xa) * (gy - (gy * normalised(xa)).sum(1, keepdims=True)),
    ),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_wrong_backward_is_found(name, seed):
    with pytest.raises(GradientError, match=r"gradcheck of function: wrong gradient of input 0, shape \(3, 4\)"):
        gradcheck(op(*WRONG[name]), leaf(3, 4), seed=seed)


def test_right_ones_pass():
    assert gradcheck(op(np.sin, lambda gy, xa: gy * np.cos(xa)), leaf(3, 4))
    softmax = op(normalised, lambda gy, xa: normalised(xa) * (gy - (gy * normalised(xa)).sum(1, keepdims=True)))
    assert gradcheck(softmax, leaf(3, 4))
    assert gradcheck(lambda a, b: ops.mul(ops.sin(a), b), leaf(3, 4), leaf(4))


def test_the_worst_element_is_named_with_both_values_and_a_way_to_repeat():
    x = leaf(3, 4)
    with pytest.raises(GradientError) as caught:
        gradcheck(op(*WRONG["one_element"]), x, seed=4)
    message = str(caught.value)
    assert "worst at index (1, 1): analytic -0, numeric " in message.replace("analytic 0,", "analytic -0,")
    assert "np.random.seed(4); minicnn.gradcheck(function, Tensor(np.random.randn(3, 4), requires_grad=True)" in message


def test_a_gradient_of_zero_is_no_disagreement():
    """The result does not depend on x, up to rounding: neither must the verdict."""
    assert gradcheck(lambda x: ops.div(x, x), leaf(5))


def test_a_kink_is_told_apart_from_a_wrong_gradient():
    x = Tensor(np.array([1.0, 3e-6, -2.0]), requires_grad=True)
    with pytest.raises(GradientError, match="kink within the step"):
        gradcheck(ops.relu, x)
    with pytest.raises(GradientError) as caught:
        gradcheck(op(*WRONG["sign"]), leaf(3, 4))
    assert "kink" not in str(caught.value)


def test_modules_are_checked_with_their_parameters():
    layer = nn.Linear(3, 2).double()
    assert gradcheck(layer, Tensor(RNG.standard_normal((4, 3))))
    assert gradcheck(layer, leaf(4, 3))


def test_a_wrong_parameter_gradient_is_named():
    class Doubled(nn.Module):
        def __init__(self):
            super().__init__()
            self.gain = nn.Parameter(np.ones(3))

        def forward(self, x):
            xa, ga = unwrap("gain", x=x, gain=self.gain)
            return record("gain", xa * ga, (x, self.gain), lambda gy, needs: (None, 2 * (gy * xa).sum(0)))

    with pytest.raises(GradientError, match=r"wrong gradient of gain, shape \(3,\)"):
        gradcheck(Doubled(), Tensor(RNG.standard_normal((4, 3))))


def test_a_vjp_that_ignores_needs_is_refused():
    def product(x, y):
        xa, ya = unwrap("product", x=x, y=y)
        return record("product", xa * ya, (x, y), lambda gy, needs: (gy * ya, gy * xa))

    with pytest.raises(GradientError, match=r"returned a gradient for input 1, where needs\[1\] is False; fix"):
        gradcheck(product, leaf(3), leaf(3))


def test_a_forward_that_writes_its_input_is_refused():
    def shifted(x):
        (xa,) = unwrap("shifted", x=x)
        xa += 1
        return record("shifted", xa.copy(), (x,), lambda gy, needs: (gy,))

    with pytest.raises(GradientError, match="the forward pass changed its input 0"):
        gradcheck(shifted, leaf(3))


def test_blind_checks_are_refused():
    with pytest.raises(GradientError, match="no input requires a gradient; fix: requires_grad=True"):
        gradcheck(ops.relu, Tensor(np.ones(3)))
    with pytest.raises(GradientError, match="no output depends on an input"):
        gradcheck(lambda x: x.detach(), leaf(3))
    with pytest.raises(DTypeError, match="input 0 is float32, expected float64"):
        gradcheck(ops.relu, Tensor(np.ones(3, np.float32), requires_grad=True))


def test_the_inputs_keep_their_values_and_gradients_stay_clean():
    x = leaf(3, 4)
    before = x.numpy().copy()
    gradcheck(ops.relu, x)
    assert np.array_equal(x.numpy(), before) and x.grad is None
    with minicnn.no_grad():
        assert gradcheck(ops.relu, x)
