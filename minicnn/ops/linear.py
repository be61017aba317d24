"""The fully connected layer."""

import math
from typing import Any

from minicnn.errors import ShapeError
from minicnn.kernels import linear as K
from minicnn.kernels.reduction import channel_sum
from minicnn.record import record, unwrap
from minicnn.tensor import Tensor


def linear(x: Any, weight: Any, bias: Any = None) -> Tensor:
    """Affine map of the last dimension.

    **Shapes** x (*, I), weight (O, I), bias (O,) -> (*, O). **Math** ``y = x W^T + b``. **Saves** x and weight.

    **Raises** ShapeError when the last dimension of x is not I, or a rank or the length of bias is wrong.
    """
    xa, wa, ba = unwrap("linear", x=x, weight=weight, bias=bias)
    _check(xa.shape, wa.shape, None if ba is None else ba.shape)
    lead, (outputs, inputs) = xa.shape[:-1], wa.shape
    rows = xa.reshape(math.prod(lead), inputs)  # (R, I)
    y = K.linear_forward(rows, wa, ba).reshape(*lead, outputs)

    def vjp(gy: Any, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        g = gy.reshape(len(rows), outputs)  # (R, O)
        return (
            K.linear_grad_x(g, wa).reshape(*lead, inputs) if needs[0] else None,
            K.linear_grad_w(g, rows) if needs[1] else None,
            channel_sum(g) if needs[2] else None,
        )

    return record("linear", y, (x, weight, bias), vjp)


def _check(x: tuple[int, ...], weight: tuple[int, ...], bias: tuple[int, ...] | None) -> None:
    if len(weight) != 2:
        raise ShapeError(f"linear: weight has shape {weight}, expected (out_features, in_features)")
    if not x or x[-1] != weight[1]:
        raise ShapeError(
            f"linear: x has shape {x}, but weight {weight} expects its last dimension to be {weight[1]}; "
            "fix: flatten the images first, or build the layer with that in_features"
        )
    if bias is not None and bias != (weight[0],):
        raise ShapeError(f"linear: bias has shape {bias}, expected {(weight[0],)}: one number an output")
