"""Cases of the random layers. The oracle computes every decision from the written-down hash, in Python's integers."""

import numpy as np
from hypothesis import strategies as st

from minicnn import ops
from minicnn.errors import ArgumentError, DTypeError, ShapeError
from tests.ops.case import A, Case, Mistake, shapes


def splitmix64(state):
    """SplitMix64 as published: advance the state by the golden gamma, then scramble it."""
    z = (state + 0x9E3779B97F4A7C15) % 2**64
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
    return z ^ z >> 31


def keeps(seed, index, p):
    golden = 0x9E3779B97F4A7C15
    return splitmix64((splitmix64(seed) + index * golden) % 2**64) >> 32 >= round(p * 2**32)


def masked(x, decision_of, seed, p):
    """Scale what is kept; ``decision_of(flat index)`` is the number of the decision that an element hangs on."""
    y = np.zeros(x.size, x.dtype)
    for index, value in enumerate(x.ravel()):
        if keeps(seed, decision_of(index), p) and p < 1:
            y[index] = value * (1 / (1 - p))
    return y.reshape(x.shape)


def dropout_oracle(x, p=0.5, training=True, seed=0):
    return masked(x, lambda index: index, seed, p) if training else x


def dropout2d_oracle(x, p=0.5, training=True, seed=0):
    plane = int(np.prod(x.shape[2:]))
    return masked(x, lambda index: index // plane, seed, p) if training else x


def drop_connect_oracle(weight, p=0.5, training=True, seed=0):
    return dropout_oracle(weight, p, training, seed)


def stochastic_depth_oracle(x, p, mode, training=True, seed=0):
    sample = int(np.prod(x.shape[1:]))
    return masked(x, lambda index: index // sample if mode == "row" else 0, seed, p) if training else x


def alpha_dropout_oracle(x, p=0.5, training=False, seed=0):
    if not training or p == 0:
        return x
    if p == 1:
        return np.zeros_like(x)
    limit = -1.7580993408473766
    a = ((1 - p) * (1 + p * limit**2)) ** -0.5
    y = np.empty(x.size, x.dtype)
    for index, value in enumerate(x.ravel()):
        y[index] = a * (value if keeps(seed, index, p) else limit) - a * p * limit
    return y.reshape(x.shape)


def drawn(draw, **more):
    p = draw(st.sampled_from([0.25, 0.5, 0.9, 1.0]) | st.floats(0.01, 1))
    return {"p": p, "training": True, "seed": draw(st.integers(0, 2**64 - 1)), **more}


def geometry(name="x", least=0, **more):
    return lambda draw: {name: A(draw(shapes(least, 4))), **drawn(draw, **more)}


def depth_geometry(draw):
    return {"x": A(draw(shapes(1, 4))), **drawn(draw, mode=draw(st.sampled_from(["row", "batch"])))}


def out_of_range(op, p, *rest):
    call = getattr(ops, op)
    return Mistake(
        f"p {p}", lambda: call(ONE, p, *rest), ArgumentError, rf"{op}: p={p} is out of range, expected a probability"
    )


ONE = np.ones((2, 3, 4), np.float32)
EVALUATION = {"x": A((2, 3, 4)), "p": 0.5, "training": False}
BATCH0 = {"x": A((0, 3, 2)), "p": 0.5, "training": True, "seed": 1}

CASES = [
    Case(
        "dropout",
        geometry=geometry(),
        oracle=dropout_oracle,
        edges={"batch0": BATCH0, "evaluation": EVALUATION, "p0": {**EVALUATION, "p": 0.0, "training": True}},
        mistakes=(
            out_of_range("dropout", 1.5),
            out_of_range("dropout", -0.1),
            out_of_range("dropout", float("nan")),
            Mistake(
                "negative seed",
                lambda: ops.dropout(ONE, seed=-1),
                ArgumentError,
                r"dropout: seed=-1 is not usable, expected an integer from 0 to 2\*\*64 - 1",
            ),
            Mistake(
                "integers", lambda: ops.dropout(np.ones(3, np.int64)), DTypeError, r"dropout: x has dtype int64.*fix"
            ),
        ),
        exact=False,  # 1 / (1 - p) is not a whole number
    ),
    Case(
        "dropout",
        label="half",
        geometry=lambda draw: {"x": A(draw(shapes())), "p": 0.5, "training": True, "seed": 7},
        oracle=dropout_oracle,
    ),
    Case(
        "dropout2d",
        geometry=geometry(least=2),
        oracle=dropout2d_oracle,
        edges={"batch0": BATCH0, "one_pixel": {"x": A((3, 4, 1, 1)), "p": 0.4, "training": True, "seed": 2}},
        mistakes=(
            out_of_range("dropout2d", 2),
            Mistake("vector", lambda: ops.dropout2d(ONE[0, 0]), ShapeError, r"dropout2d: x has shape \(4,\), expected"),
        ),
        exact=False,
    ),
    Case(
        "drop_connect",
        geometry=geometry("weight"),
        oracle=drop_connect_oracle,
        mistakes=(out_of_range("drop_connect", 1.01),),
        exact=False,
    ),
    Case(
        "stochastic_depth",
        geometry=depth_geometry,
        oracle=stochastic_depth_oracle,
        edges={"batch0": {**BATCH0, "mode": "row"}, "batch0_whole": {**BATCH0, "mode": "batch"}},
        mistakes=(
            out_of_range("stochastic_depth", -1, "row"),
            Mistake(
                "mode",
                lambda: ops.stochastic_depth(ONE, 0.5, "rows"),
                ArgumentError,
                r"stochastic_depth: mode='rows' is unknown, expected 'batch' or 'row'",
            ),
            Mistake(
                "number",
                lambda: ops.stochastic_depth(np.float32(1), 0.5, "row"),
                ShapeError,
                r"stochastic_depth: x has shape \(\), expected \(N, \*\)",
            ),
        ),
        exact=False,
    ),
    Case(
        "alpha_dropout",
        geometry=lambda draw: {"x": A(draw(shapes())), **drawn(draw), "p": draw(st.sampled_from([0.1, 0.5, 1.0]))},
        oracle=alpha_dropout_oracle,
        edges={"batch0": BATCH0},
        mistakes=(out_of_range("alpha_dropout", 7, True),),
        exact=False,
        nonfinite=False,  # y = a * mask * (x - l) + const: an infinite x stays local, tested with dropout
    ),
]
