"""Cases of the activations."""

import numpy as np

from minicnn import ops
from minicnn.errors import DTypeError
from tests.ops.case import A, Case, Mistake, shapes


def relu_oracle(x):
    y = np.empty_like(x)
    for index, v in np.ndenumerate(x):
        y[index] = 0.0 if v < 0 else v
    return y


CASES = [
    Case(
        "relu",
        geometry=lambda draw: {"x": A(draw(shapes()), "away")},
        oracle=relu_oracle,
        edges={"empty": {"x": A((0, 3))}, "one": {"x": A((1, 1, 1, 1))}},
        mistakes=(
            Mistake(
                "uint8 image", lambda: ops.relu(np.zeros(3, np.uint8)), DTypeError, r"relu: x has dtype uint8.*fix"
            ),
        ),
        saves=("y",),
    ),
]
