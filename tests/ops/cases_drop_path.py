"""Cases of FractalNet's join."""

import numpy as np
from hypothesis import strategies as st

from minicnn import ops
from minicnn.errors import ArgumentError, ShapeError
from tests.ops.case import A, Case, Mistake, shapes
from tests.ops.cases_random import keeps, splitmix64


def drop_path_oracle(branches, p=0.15, training=True, column=None, seed=0):
    y = np.zeros_like(branches[0])
    for n in range(len(y)):
        living = list(range(len(branches)))
        if training and column is not None:
            living = [column]
        elif training and p > 0:
            living = [b for b in living if keeps(seed, n * len(branches) + b, p) and p < 1]
            living = living or [splitmix64(splitmix64(seed) ^ n) % len(branches)]
        y[n] = sum(branches[b][n] for b in living) / len(living)
    return y


def geometry(draw):
    shape, count = draw(shapes(1, 4, 4)), draw(st.integers(1, 4))
    column = draw(st.none() | st.integers(0, count - 1))
    p, training, seed = draw(st.sampled_from([0.0, 0.5, 0.9, 1.0])), draw(st.booleans()), draw(st.integers(0, 99))
    branches = [A(shape) for _ in range(count)]
    return {"branches": branches, "p": p, "training": training, "column": column, "seed": seed}


X = np.zeros((2, 3), np.float32)
CASES = [
    Case(
        "drop_path",
        geometry=geometry,
        oracle=drop_path_oracle,
        edges={"batch0": {"branches": [A((0, 3)), A((0, 3))], "seed": 1}},
        mistakes=(
            Mistake("no_branches", lambda: ops.drop_path([]), ArgumentError, "drop_path: branches must be a non-empty"),
            Mistake("shapes", lambda: ops.drop_path([X, X.T]), ShapeError, r"branches\[1\] has shape \(3, 2\)"),
            Mistake("p", lambda: ops.drop_path([X], p=2.0), ArgumentError, "p=2.0 is out of range"),
            Mistake("column", lambda: ops.drop_path([X, X], column=2), ArgumentError, "column=2.*0 to 1 or None"),
        ),
        exact=False,  # a mean of three is not exact
        extra_bytes=lambda arrays: (
            8 * len(arrays["branches"]) * len(arrays["branches"][0])
        ),  # a share a path and sample
    ),
]
