"""Cases of reductions over dimensions: sums, statistics, extremes."""

import itertools
import math

import numpy as np
from hypothesis import strategies as st

from minicnn import ops
from minicnn.errors import ArgumentError, DTypeError, ShapeError
from tests.ops.case import A, Case, Mistake, shapes


def over(function, several=True):
    """An oracle that hands ``function`` the list of numbers reduced to one."""

    def oracle(x, dim=None, keepdim=False, **options):
        dims = range(x.ndim) if dim is None else [d % max(x.ndim, 1) for d in np.atleast_1d(dim)] if x.ndim else []
        kept = [d for d in range(x.ndim) if d not in dims]
        y = np.empty([x.shape[d] for d in kept])
        with np.errstate(all="ignore"):
            for index in np.ndindex(y.shape):
                place = dict(zip(kept, index, strict=True))
                ranges = [[place[d]] if d in place else range(x.shape[d]) for d in range(x.ndim)]
                y[index] = function([x[i] for i in itertools.product(*ranges)], **options)
        return y.reshape([1 if d in dims else n for d, n in enumerate(x.shape)]) if keepdim else y

    return oracle


def geometry(kind="normal", several=True, always=False, **options):
    def draw_one(draw):
        shape = draw(shapes(1 if always else 0, 4, 4))
        some = tuple(draw(st.lists(st.integers(0, len(shape) - 1), unique=True, min_size=1))) if shape else (0,)
        choices = [some[0] - max(len(shape), 1)] + [some] * several + [None] * (not always)
        drawn = {name: draw(st.sampled_from(values)) for name, values in options.items()}
        return {"x": A(shape, kind), "dim": draw(st.sampled_from(choices)), "keepdim": draw(st.booleans()), **drawn}

    return draw_one


def edges(kind="normal", empty=True, **options):
    found = {
        "number": {"x": A((), kind), "dim": 0, "keepdim": False, **options},
        "one": {"x": A((1, 1), kind), "dim": 0, "keepdim": True, **options},
        "batch0": {"x": A((0, 3), kind), "dim": 1, "keepdim": False, **options},
    }
    return found | ({"of_nothing": {"x": A((2, 0), kind), "dim": 1, "keepdim": False, **options}} if empty else {})


def out_of_range(op):
    return Mistake(
        "dim",
        lambda: getattr(ops, op)(np.ones((2, 3)), 2),
        ArgumentError,
        rf"{op}: dim=2 is out of range for x of shape",
    )


def of_nothing(op):
    return Mistake(
        "nothing",
        lambda: getattr(ops, op)(np.ones((2, 0)), 1),
        ShapeError,
        rf"{op}: x of shape \(2, 0\) has no elements along dimension 1",
    )


def reduction(op, function, kind="normal", empty=True, **options):
    return Case(
        op,
        geometry=geometry(kind),
        oracle=over(function),
        edges=edges(kind, empty),
        mistakes=(
            out_of_range(op),
            Mistake(
                "twice",
                lambda: getattr(ops, op)(np.ones((2, 3)), (0, 0)),
                ArgumentError,
                rf"{op}: dim=\(0, 0\) names a dimension twice",
            ),
        ),
        **options,
    )


def variance(values, correction=1):
    values = [np.longdouble(v) for v in values]
    freedom = max(len(values) - correction, 0)
    mean = sum(values) / np.longdouble(len(values)) if values else np.nan
    return np.longdouble(sum((v - mean) ** 2 for v in values)) / freedom if values else np.nan


def spread_case(op, function):
    """Rows of at least three different numbers, so that a standard deviation has a derivative."""

    def draw_one(draw):
        shape = (*draw(shapes(0, 2, 3)), draw(st.integers(3, 5)))
        dim = draw(st.sampled_from([None, -1, tuple(range(len(shape)))]))
        return {
            "x": A(shape, "distinct"),
            "dim": dim,
            "correction": draw(st.sampled_from([0, 1, 2])),
            "keepdim": draw(st.booleans()),
        }

    return Case(
        op,
        geometry=draw_one,
        oracle=over(function),
        edges={
            "batch0": {"x": A((0, 3)), "dim": 1, "correction": 1, "keepdim": False},
            "leading": {"x": A((5, 3), "distinct"), "dim": 0, "correction": 1, "keepdim": False},
        },
        mistakes=(out_of_range(op),),
        exact=False,
        saves=("x", "y"),
    )


def logsumexp_row(values):
    top = max(values, default=0.0) if not any(v != v for v in values) else np.nan
    top = top if np.isfinite(top) else np.longdouble(0)
    return np.log(np.longdouble(sum(np.exp(np.longdouble(v) - top) for v in values))) + top


def best_position(larger):
    def function(values):
        best = 0
        for i, v in enumerate(values):
            if values[best] == values[best] and (v != v or larger(v, values[best])):
                best = i
        return best

    return function


def above(a, b):
    return a > b


def below(a, b):
    return a < b


def positions(op, larger):
    oracle = over(best_position(larger))
    return Case(
        op,
        geometry=geometry("distinct", several=False),
        oracle=lambda **named: oracle(**named).astype(np.int64),
        edges={
            **edges("distinct", empty=False),
            "ties": {"x": A((20, 5), "integers", 0, 3), "dim": 1, "keepdim": False},
        },
        mistakes=(of_nothing(op), out_of_range(op)),
        gradient=False,
    )


def extreme(op, larger):
    """Without dim a value; with dim (values, indices)."""
    where = over(best_position(larger))

    def value(values):
        return values[best_position(larger)(values)]

    def oracle(x, dim, keepdim):
        return over(value)(x, dim, keepdim), where(x, dim, keepdim).astype(np.int64)

    return [
        Case(
            op,
            geometry=lambda draw: {"x": A(draw(shapes()), "distinct")},
            oracle=over(value),
            mistakes=(of_nothing(op), out_of_range(op)),
            saves=("x", "y"),
        ),
        Case(
            op,
            label="along",
            geometry=geometry("distinct", several=False, always=True),
            oracle=oracle,
            edges=edges("distinct", empty=False),
            saves=("y",),
        ),
        Case(
            "a" + op,
            geometry=geometry("distinct"),
            oracle=over(value),
            edges=edges("distinct", empty=False),
            mistakes=(of_nothing("a" + op), out_of_range("a" + op)),
            saves=("x", "y"),
        ),
    ]


CASES = [
    reduction("sum", sum),
    reduction("mean", lambda values: np.float64(sum(values)) / len(values), empty=False),  # of nothing it is NaN
    reduction("prod", math.prod, kind="away", saves=("x",), exact=False),
    spread_case("var", variance),
    spread_case("std", lambda values, correction=1: np.sqrt(variance(values, correction))),
    Case(
        "logsumexp",
        geometry=geometry(),
        oracle=over(logsumexp_row),
        edges=edges(empty=False),  # of nothing it is -inf, in tests/test_tensor.py
        mistakes=(
            out_of_range("logsumexp"),
            Mistake("text", lambda: ops.logsumexp("a", 0), DTypeError, "logsumexp: x is a str"),
        ),
        exact=False,
        saves=("x", "y"),
    ),
    *extreme("max", above),
    *extreme("min", below),
    positions("argmax", above),
    positions("argmin", below),
]
