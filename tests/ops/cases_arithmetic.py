"""Cases of arithmetic, matrix products and elementwise maths."""

import numpy as np
from hypothesis import strategies as st

from minicnn import Tensor, ops
from minicnn.errors import ArgumentError, DTypeError, ShapeError
from tests.ops.case import A, Case, Mistake, shapes
from tests.ops.pointwise import broadcast, elementwise, one, one_edges, pair, pair_edges

F32, F64 = np.ones((2, 3), np.float32), np.ones((2, 3))


def two_tensor_mistakes(op, second="other"):
    call = getattr(ops, op)
    return (
        Mistake(
            "shapes",
            lambda: call(Tensor(np.ones((2, 3))), Tensor(np.ones((2, 4)))),
            ShapeError,
            rf"{op}: x has shape \(2, 3\) and {second} has shape \(2, 4\).* 3 meets 4; fix",
        ),
        Mistake(
            "mixed floats",
            lambda: call(Tensor(F32), F64),
            DTypeError,
            rf"{op}: {second} has dtype float64, but x has float32.*fix: {second}.astype\('float32'\)",
        ),
    )


def arithmetic(op, function, other="normal", **options):
    return Case(
        op,
        geometry=pair(other=other),
        oracle=elementwise(function),
        edges=pair_edges(other=other),
        mistakes=two_tensor_mistakes(op),
        **options,
    )


def text(op):
    return Mistake("text", lambda: getattr(ops, op)("3"), DTypeError, rf"{op}: x is a str, expected a tensor")


def maths(op, function, kind="normal", exact=False, saves=("x",), mistake=None):
    return Case(
        op,
        geometry=one(kind),
        oracle=elementwise(function),
        edges=one_edges(kind),
        mistakes=(mistake or text(op),),
        exact=exact,
        saves=saves,
    )


def clip_oracle(x, min=None, max=None):
    def one_value(v):
        v = min if min is not None and v < min else v
        return max if max is not None and v > max else v

    return elementwise(one_value)(x)


def clip_geometry(draw):
    # "distinct" draws multiples of 0.05; the bounds lie between them, so that no kink is within gradcheck's step.
    low, high = draw(st.sampled_from([(-0.53, 0.52), (None, 0.23), (-0.17, None), (0.77, -0.78)]))
    return {"x": A(draw(shapes()), "distinct"), "min": low, "max": high}


def matmul_oracle(x, other):
    a = x[None, :] if x.ndim == 1 else x
    b = other[:, None] if other.ndim == 1 else other
    lead = broadcast(a.shape[:-2], b.shape[:-2])
    y = np.zeros((*lead, a.shape[-2], b.shape[-1]))

    def matrix(m, index):
        own = index[len(index) - (m.ndim - 2) :]
        return m[tuple(0 if size == 1 else i for size, i in zip(m.shape[:-2], own, strict=True))]

    with np.errstate(all="ignore"):
        for index in np.ndindex(lead):
            left, right = matrix(a, index), matrix(b, index)
            for i in range(a.shape[-2]):
                for j in range(b.shape[-1]):
                    y[(*index, i, j)] = sum(left[i, k] * right[k, j] for k in range(a.shape[-1]))
    if x.ndim == 1:
        y = y[..., 0, :]
    return y[..., 0] if other.ndim == 1 else y


def matmul_geometry(draw):
    m, k, n = (draw(st.integers(1, 4)) for _ in range(3))
    lead = draw(shapes(0, 2, 3))

    def batch():
        kept = lead[draw(st.integers(0, len(lead))) :]
        return tuple(1 if draw(st.booleans()) else size for size in kept)

    left = (k,) if draw(st.integers(0, 4)) == 0 else (*batch(), m, k)
    right = (k,) if draw(st.integers(0, 4)) == 0 else (*batch(), k, n)
    return {"x": A(left), "other": A(right)}


CASES = [
    arithmetic("add", lambda a, b: a + b),
    arithmetic("sub", lambda a, b: a - b),
    arithmetic("mul", lambda a, b: a * b, saves=("x", "other")),
    arithmetic("div", lambda a, b: a / b, other="positive", saves=("other", "y")),
    Case(
        "pow",
        geometry=pair("exponent", x="positive"),
        oracle=elementwise(lambda a, b: a**b),
        edges=pair_edges("exponent", x="positive"),
        mistakes=(
            *two_tensor_mistakes("pow", "exponent"),
            Mistake(
                "negative integer power",
                lambda: ops.pow(np.array([2, 3]), -1),
                ArgumentError,
                r"pow: integers to a negative integer power.*fix: x.astype",
            ),
        ),
        exact=False,
        saves=("x", "exponent", "y"),
    ),
    *(
        Case(
            "pow",
            label=str(exponent),
            geometry=lambda draw, exponent=exponent: {"x": A(draw(shapes()), "positive"), "exponent": exponent},
            oracle=elementwise(lambda a, b: a ** float(b)),
            edges={"zero_base": {"x": A((3,), "away"), "exponent": exponent}} if exponent in (0, 2, 3) else {},
            exact=exponent != -0.5,
            saves=("x",),
        )
        for exponent in (0, 2, 3, -0.5)
    ),
    Case(
        "matmul",
        geometry=matmul_geometry,
        oracle=matmul_oracle,
        edges={
            "batch0": {"x": A((0, 2, 3)), "other": A((3, 4))},
            "one": {"x": A((1, 1)), "other": A((1, 1))},
            "nothing_summed": {"x": A((2, 0)), "other": A((0, 3))},
            "vectors": {"x": A((3,)), "other": A((3,))},
            "batch_by_matrix": {"x": A((2, 3, 4, 5)), "other": A((5, 2))},
            "one_matrix_for_a_batch": {"x": A((4, 5)), "other": A((3, 5, 2))},
            "both_grow": {"x": A((3, 1, 2, 4)), "other": A((5, 4, 2))},
        },
        mistakes=(
            Mistake(
                "inner sizes",
                lambda: ops.matmul(F64, F64),
                ShapeError,
                r"matmul: x has shape \(2, 3\) and other has shape \(2, 3\).*\(3\).*second last.*\(2\); fix: transpose",
            ),
            Mistake("number", lambda: ops.matmul(F64, 2.0), DTypeError, r"matmul: other has dtype float32, but x"),
            Mistake(
                "0-d", lambda: ops.matmul(F64, np.ones(())), ShapeError, r"matmul: x has shape \(2, 3\) and other \(\)"
            ),
            Mistake(
                "batches",
                lambda: ops.matmul(np.ones((2, 3, 3)), np.ones((4, 3, 3))),
                ShapeError,
                r"matmul: x has shape \(2,\) and other has shape \(4,\)",
            ),
        ),
        saves=("x", "other"),
    ),
    maths(
        "neg",
        lambda v: -v,
        exact=True,
        saves=(),
        mistake=Mistake("bool", lambda: ops.neg(F64 > 0), DTypeError, r"neg: x is a bool tensor.*fix: x.astype"),
    ),
    maths("abs", lambda v: v if v > 0 else 0 - v, "away", exact=True),
    maths(
        "sign",
        lambda v: v if v != v else (v > 0) * 1.0 - (v < 0) * 1.0,
        "away",
        exact=True,
        saves=(),
        mistake=Mistake("bool", lambda: ops.sign(F64 > 0), DTypeError, r"sign: x is a bool tensor.*fix: x.astype"),
    ),
    maths("exp", lambda v: np.exp(np.longdouble(v)), saves=("y",)),
    maths("log", lambda v: np.log(np.longdouble(v)), "positive"),
    maths("log1p", lambda v: np.log1p(np.longdouble(v)), "unit"),
    maths("sqrt", lambda v: np.longdouble(v) ** 0.5 if v != -np.inf else np.nan, "positive", saves=("y",)),
    maths("rsqrt", lambda v: np.longdouble(v) ** -0.5 if v != -np.inf else np.nan, "positive", saves=("y",)),
    maths("sin", lambda v: np.sin(np.longdouble(v))),
    maths("cos", lambda v: np.cos(np.longdouble(v))),
    maths("square", lambda v: v * v, exact=True),
    maths("reciprocal", lambda v: 1 / v, "positive", exact=True, saves=("y",)),
    Case(
        "clip",
        geometry=clip_geometry,
        oracle=clip_oracle,
        edges={"empty": {"x": A((0, 3)), "min": 0, "max": 1}, "one": {"x": A((1,)), "min": -5.0, "max": None}},
        mistakes=(
            Mistake("no bound", lambda: ops.clip(F64), ArgumentError, "clip: neither min nor max is given; fix"),
            Mistake(
                "tensor", lambda: ops.clip(F64, Tensor(F64)), ArgumentError, "clip: min is a Tensor.*fix: ops.minimum"
            ),
        ),
        saves=("x",),
        exact=False,  # the bounds are no whole numbers
    ),
]
