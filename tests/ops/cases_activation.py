"""Cases of the activations."""

import math

import numpy as np
from hypothesis import strategies as st

from minicnn import ops
from minicnn.errors import ArgumentError, DTypeError, ShapeError
from tests.ops.case import A, Case, Mistake, shapes


def elementwise(function):
    """The scalar ``function`` at every element."""

    def oracle(x, **options):
        y = np.empty(x.shape)
        with np.errstate(all="ignore"):
            for index, v in np.ndenumerate(x):
                y[index] = function(np.float64(v), **options)
        return y

    return oracle


def exp(v):
    return np.exp(np.longdouble(v))


def log_1_plus_exp(v):
    return v if v > 40 else np.log1p(exp(v))


def tanh(v):
    return math.tanh(v)


def elu(v, alpha=1.0):
    return v if v > 0 else alpha * np.expm1(v)


def gelu(v, approximate="none"):
    if approximate == "tanh":
        return v / 2 * (1 + tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * v**3)))
    return v / 2 * (1 + math.erf(v / math.sqrt(2)))


def prelu_oracle(x, weight):
    y = np.empty(x.shape)
    for index, v in np.ndenumerate(x):
        slope = weight.item() if weight.size == 1 else weight[index[1]]
        y[index] = v if v > 0 else slope * v
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


def activation(op, function, *options, saves=("y",), exact=False, mistakes=()):
    """One case for the defaults and one for every dict of options."""

    def case(chosen):
        return Case(
            op,
            label="-".join(f"{name}={value}" for name, value in chosen.items()),
            geometry=lambda draw: {"x": A(draw(shapes()), "away"), **chosen},
            oracle=elementwise(function),
            edges={"empty": {"x": A((0, 3)), **chosen}, "one": {"x": A((1, 1, 1, 1)), **chosen}},
            mistakes=(uint8(op), *mistakes) if not chosen else (),
            exact=exact,  # most divide or take exponentials
            saves=saves,
        )

    return [case(chosen) for chosen in ({}, *options)]


def uint8(op):
    return Mistake(
        "uint8 image",
        lambda: getattr(ops, op)(np.zeros(3, np.uint8)),
        DTypeError,
        rf"{op}: x has dtype uint8, expected float32 or float64; fix",
    )


def wrong(op, match, **options):
    return Mistake(match[:20], lambda: getattr(ops, op)(np.zeros(3), **options), ArgumentError, rf"^{op}: {match}")


CASES = [
    *activation("relu", lambda v: v if not v < 0 else 0, exact=True),
    *activation("relu6", lambda v: 6 if v > 6 else v if not v < 0 else 0, exact=True),
    *activation(
        "hardtanh",
        lambda v, min_val=-1, max_val=1: max_val if v > max_val else min_val if v < min_val else v,
        {"min_val": -0.1, "max_val": 0.7},
        exact=True,
        mistakes=(wrong("hardtanh", "min_val=1 is not below max_val=0", min_val=1, max_val=0),),
    ),
    *activation(
        "leaky_relu",
        lambda v, negative_slope=0.01: v if v > 0 else negative_slope * v,
        {"negative_slope": 0.0},
        {"negative_slope": -0.5},
        mistakes=(wrong("leaky_relu", "negative_slope=None is a NoneType, expected a number", negative_slope=None),),
    ),
    *activation("elu", elu, {"alpha": 2.0}, {"alpha": -2.0}, saves=("x",)),
    *activation(
        "celu",
        lambda v, alpha=1.0: v if v > 0 else alpha * np.expm1(v / alpha),
        {"alpha": 0.6},
        saves=("x",),
        mistakes=(wrong("celu", "alpha=0 divides by zero", alpha=0),),
    ),
    *activation(
        "selu", lambda v: 1.0507009873554804934193349852946 * elu(v, 1.6732632423543772848170429916717), saves=("x",)
    ),
    *activation(
        "gelu",
        gelu,
        {"approximate": "tanh"},
        saves=("x",),
        mistakes=(wrong("gelu", "approximate='erf' is unknown, expected 'none' or 'tanh'", approximate="erf"),),
    ),
    *activation("silu", lambda v: v / (1 + exp(-v)), saves=("x",)),
    *activation("mish", lambda v: v * np.tanh(log_1_plus_exp(v)), saves=("x",)),
    *activation("hardswish", lambda v: 0 if v <= -3 else v if v >= 3 else v * (v + 3) / 6, saves=("x",)),
    *activation("hardsigmoid", lambda v: 0 if v <= -3 else 1 if v >= 3 else (v + 3) / 6, saves=("x",)),
    *activation("sigmoid", lambda v: 1 / (1 + exp(-v))),
    *activation("logsigmoid", lambda v: -log_1_plus_exp(-v), saves=("x",)),
    *activation("tanh", tanh),
    *activation("scaled_tanh", lambda v: 1.7159 * tanh(2 * v / 3)),
    *activation(
        "softplus",
        lambda v, beta=1.0, threshold=20.0: v if beta * v > threshold else log_1_plus_exp(beta * v) / beta,
        {"beta": 3.0, "threshold": 0.1},
        saves=("x",),
        mistakes=(wrong("softplus", "beta=0 divides by zero", beta=0),),
    ),
    Case(
        "prelu",
        geometry=lambda draw: {
            "x": A((draw(st.integers(1, 3)), channels := draw(st.integers(1, 4)), *draw(shapes(0, 2, 3))), "away"),
            "weight": A(draw(st.sampled_from([(channels,), (1,), ()]))),
        },
        oracle=prelu_oracle,
        edges={
            "batch0": {"x": A((0, 3, 2)), "weight": A((3,))},
            "number": {"x": A((), "away"), "weight": A((1,))},
            "one": {"x": A((1, 1, 1, 1), "away"), "weight": A((1,))},
        },
        mistakes=(
            Mistake(
                "a slope a column",
                lambda: ops.prelu(np.zeros((2, 3, 4)), np.zeros(4)),
                ShapeError,
                r"prelu: weight has shape \(4,\), expected \(1,\): one slope or \(3,\): one slope a channel",
            ),
        ),
        saves=("x", "weight"),
    ),
    rows_case("softmax", softmax_oracle),
    rows_case("log_softmax", log_softmax_oracle),
]
