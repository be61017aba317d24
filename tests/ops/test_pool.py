"""What the cases cannot ask: the gradient of windows whose result is infinite."""

import numpy as np
import pytest

from minicnn import Tensor, ops


@pytest.mark.parametrize("op", [ops.max_pool2d, ops.min_pool2d])
def test_a_window_without_a_tap_sends_its_gradient_nowhere(op):
    x = Tensor(np.ones((1, 2, 2, 3)), requires_grad=True)  # two rows, the taps at rows -1 and 2
    y = op(x, (2, 1), stride=1, padding=(1, 0), dilation=(3, 1))
    assert y.shape == (1, 2, 1, 3) and np.isinf(y.numpy()).all()
    y.backward(np.ones(y.shape))
    assert np.array_equal(x.grad.numpy(), np.zeros(x.shape))
