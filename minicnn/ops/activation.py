"""Activations: elementwise nonlinearities."""

from typing import Any

from minicnn.kernels import activation as K
from minicnn.record import record, unwrap
from minicnn.tensor import Tensor


def relu(x: Any) -> Tensor:
    """Rectified linear unit.

    **Shapes** any -> same. **Math** ``y = max(x, 0)``; derivative 0 at 0. NaN stays NaN.
    """
    (xa,) = unwrap("relu", x=x)
    y = K.relu_forward(xa)
    return record("relu", y, (x,), lambda gy, needs: (K.relu_grad_x(gy, y),))
