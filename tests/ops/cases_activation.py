"""Cases of the activations."""

import numpy as np
from hypothesis import strategies as st

from minicnn import ops
from minicnn.errors import ArgumentError, DTypeError
from tests.ops.case import A, Case, Mistake, shapes


def relu_oracle(x):
    y = np.empty_like(x)
    for index, v in np.ndenumerate(x):
        y[index] = 0.0 if v < 0 else v
    return y


def rows_oracle(function):
    """``function`` applied to every row along ``dim``, in higher precision than float64 where there is one."""

    def oracle(x, dim):
        y = np.empty(x.shape)
        rows, results = np.moveaxis(np.atleast_1d(x), dim, -1), np.moveaxis(np.atleast_1d(y), dim, -1)
        with np.errstate(all="ignore"):
            for index in np.ndindex(rows.shape[:-1]):
                row = rows[index].astype(np.longdouble)
                results[index] = function(row - (np.nan if np.isnan(row).any() else max(row)))
        return y

    return oracle


softmax_oracle = rows_oracle(lambda row: np.exp(row) / sum(np.exp(row)))
log_softmax_oracle = rows_oracle(lambda row: row - np.log(sum(np.exp(row))))


def rows_geometry(draw):
    shape = draw(shapes(1, 4, 4))
    return {"x": A(shape), "dim": draw(st.integers(-len(shape), len(shape) - 1))}


def rows_case(op, oracle):
    return Case(
        op,
        geometry=rows_geometry,
        oracle=oracle,
        edges={
            "batch0": {"x": A((0, 3)), "dim": 1},
            "one": {"x": A((1, 1)), "dim": 1},
            "number": {"x": A(()), "dim": 0},
            "classes_of_a_picture": {"x": A((2, 3, 4, 5)), "dim": -3},
        },
        mistakes=(
            Mistake(
                "no dim", lambda: getattr(ops, op)(np.zeros(3)), ArgumentError, rf"{op}: dim is missing.*fix: dim="
            ),
            Mistake(
                "dim out of range",
                lambda: getattr(ops, op)(np.zeros((2, 3)), 2),
                ArgumentError,
                rf"{op}: dim=2 is out of range for x of shape \(2, 3\)",
            ),
        ),
        exact=False,  # exponentials
        saves=("y",),
    )


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
    rows_case("softmax", softmax_oracle),
    rows_case("log_softmax", log_softmax_oracle),
]
