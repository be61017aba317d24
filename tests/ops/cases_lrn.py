"""Cases of local response normalisation; alpha near 1, because at 1e-4 a wrong window would pass."""

import numpy as np
from hypothesis import strategies as st

from minicnn import ops
from minicnn.errors import ArgumentError, ShapeError
from tests.ops.case import A, Case, Mistake, shapes


def lrn_oracle(x, size, alpha=1e-4, beta=0.75, k=1.0, alpha_over_n=True):
    y = np.empty_like(x)
    for i in range(x.shape[0]):
        for c in range(x.shape[1]):
            energy = np.zeros(x.shape[2:])
            for tap in range(size):
                q = c - size // 2 + tap
                if 0 <= q < x.shape[1]:
                    energy += x[i, q] ** 2
            y[i, c] = x[i, c] / (k + (alpha / size if alpha_over_n else alpha) * energy) ** beta
    return y


def geometry(draw):
    return {
        "x": A((*draw(shapes(1, 1, 3)), draw(st.integers(1, 8)), *draw(shapes(1, 2, 4)))),
        "size": draw(st.integers(1, 7)),
        "alpha": draw(st.floats(0.5, 1.5)),
        "beta": draw(st.sampled_from([0.75, 0.5, 1.0, 1.3])),
        "k": draw(st.sampled_from([1.0, 2.0])),
        "alpha_over_n": draw(st.booleans()),
    }


IMAGE = np.ones((2, 3, 4, 4), np.float32)

CASES = [
    Case(
        "local_response_norm",
        geometry=geometry,
        oracle=lrn_oracle,
        edges={
            "batch0": {"x": A((0, 3, 2, 2)), "size": 5},
            "one_pixel": {"x": A((2, 6, 1, 1)), "size": 5, "alpha": 1.0},
            "one_channel": {"x": A((2, 1, 3, 3)), "size": 4, "alpha": 1.0},
            "window_beyond_channels": {"x": A((1, 3, 2)), "size": 9, "alpha": 1.0, "k": 2.0},
            "even": {"x": A((1, 7, 2)), "size": 4, "alpha": 1.0},
        },
        mistakes=(
            Mistake(
                "matrix",
                lambda: ops.local_response_norm(IMAGE[:, :, 0, 0], 5),
                ShapeError,
                r"local_response_norm: x has shape \(2, 3\), expected \(N, C, \*\)",
            ),
            Mistake(
                "size 0",
                lambda: ops.local_response_norm(IMAGE, 0),
                ArgumentError,
                r"local_response_norm: size=0 is too small, expected at least 1",
            ),
            Mistake(
                "alpha text",
                lambda: ops.local_response_norm(IMAGE, 5, alpha="1e-4"),
                ArgumentError,
                r"local_response_norm: alpha='1e-4' is a str, expected a number",
            ),
        ),
        exact=False,  # a real power
        saves=("x",),
    )
]
