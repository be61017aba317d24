"""Cases of comparisons and choices."""

import numpy as np
from hypothesis import strategies as st

from minicnn import ops
from minicnn.errors import DTypeError, ShapeError
from tests.ops.case import A, Case, Mistake
from tests.ops.cases_arithmetic import two_tensor_mistakes
from tests.ops.pointwise import elementwise, pair, pair_edges, two_shapes


def comparison(op, function):
    return Case(
        op,
        geometry=pair(),
        oracle=elementwise(function, bool),
        edges={
            **pair_edges(),
            "integers": {"x": A((4, 5), "integers", 0, 3), "other": A((5,), "integers", 0, 3)},
        },
        mistakes=two_tensor_mistakes(op),
        gradient=False,  # bool results
    )


def larger(op, function):
    """Twice: with ties (values only), and shifted so that no two values are within gradcheck's step of a tie."""
    plain = Case(
        op,
        geometry=pair(),
        oracle=elementwise(function),
        edges=pair_edges(),
        mistakes=two_tensor_mistakes(op),
        gradient=False,
    )
    shifted = Case(
        op,
        label="apart",
        geometry=pair(x="distinct", other="distinct"),
        oracle=lambda x, other: elementwise(function)(x, other + 0.03),
        call=lambda x, other: getattr(ops, op)(x, other + 0.03),
        saves=("x", "other"),
        exact=False,  # 0.03
    )
    return [plain, shifted]


def where_geometry(draw):
    a, b = two_shapes(draw)
    longer = max(a, b, key=len)
    return {"condition": A(tuple(n if draw(st.booleans()) else 1 for n in longer), "bool"), "x": A(a), "other": A(b)}


CASES = [
    comparison("eq", lambda a, b: a == b),
    comparison("ne", lambda a, b: a != b),
    comparison("lt", lambda a, b: a < b),
    comparison("le", lambda a, b: a <= b),
    comparison("gt", lambda a, b: a > b),
    comparison("ge", lambda a, b: a >= b),
    *larger("maximum", lambda a, b: a if a > b or a != a else b),
    *larger("minimum", lambda a, b: a if a < b or a != a else b),
    Case(
        "where",
        geometry=where_geometry,
        oracle=elementwise(lambda c, a, b: a if c else b),
        edges={
            "batch0": {"condition": A((0, 3), "bool"), "x": A((3,)), "other": A((0, 1))},
            "one": {"condition": A((), "bool"), "x": A(()), "other": A((1, 1))},
        },
        mistakes=(
            Mistake(
                "float condition",
                lambda: ops.where(np.ones(3), np.ones(3), np.ones(3)),
                DTypeError,
                "where: condition has dtype float64, expected bool; fix: condition != 0",
            ),
            Mistake(
                "shapes",
                lambda: ops.where(np.ones(3, bool), np.ones(2), np.ones(2)),
                ShapeError,
                r"where: condition has shape \(3,\) and x has shape \(2,\)",
            ),
        ),
        saves=("condition",),
    ),
]
