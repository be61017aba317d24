"""Cases of the losses between two arrays of one shape."""

import numpy as np
from hypothesis import strategies as st

from minicnn import ops
from minicnn.errors import ArgumentError, DTypeError, ShapeError
from tests.ops.case import A, Case, Mistake, shapes
from tests.ops.cases_loss import reductions


def pairwise(function, mean_over_weights=False):
    """The scalar ``function(x, target, **options)`` at every element, weighted and reduced."""

    def oracle(x, target, reduction="mean", weight=None, pos_weight=None, **options):
        losses = np.zeros(x.shape)
        w = np.broadcast_to(1.0 if weight is None else weight, x.shape)
        for index in np.ndindex(x.shape):
            if pos_weight is not None:
                options["p"] = np.broadcast_to(pos_weight, x.shape)[index]
            with np.errstate(all="ignore"):
                losses[index] = w[index] * function(x[index], target[index], **options)
        if reduction == "none":
            return losses
        count = w.sum() if mean_over_weights else x.size
        with np.errstate(all="ignore"):
            return losses.sum() / (count if reduction == "mean" else 1)

    return oracle


def huber(x, t, delta=1.0):
    d = abs(x - t)
    return d * d / 2 if d < delta else delta * (d - delta / 2)


def smooth_l1(x, t, beta=1.0):
    return huber(x, t, beta) / beta if beta else abs(x - t)


def bce(x, t):
    yes, no = np.log(np.longdouble(x)), np.log(1 - np.longdouble(x))
    return -t * max(yes, -100) - (1 - t) * max(no, -100)


def bce_logits(x, t, p=1.0):
    yes = 1 / (1 + np.exp(-np.longdouble(x)))
    no = 1 / (1 + np.exp(np.longdouble(x)))
    return -p * t * np.log(yes) - (1 - t) * np.log(no)


def geometry(x_kind, target_kind, weight, **options):
    """``weight``: of the shape of x ("same"), of its last axis ("last"), or None; ``options`` are drawn from."""

    def draw_geometry(draw):
        shape = draw(shapes(1, 3))
        arguments = {"x": A(shape, x_kind), "target": A(shape, target_kind), "reduction": draw(reductions)}
        arguments |= {name: draw(st.sampled_from(values)) for name, values in options.items()}
        if weight is not None:
            weighted = draw(st.booleans())
            arguments["weight"] = (
                A(shape if weight == "same" else shape[-1:], "positive", grad=False) if weighted else None
            )
        return arguments

    return draw_geometry


def pair_mistakes(op, with_weight=True):
    f = getattr(ops, op)
    x = np.full((2, 3), 0.5, np.float32)
    found = [
        Mistake(
            "column against row",
            lambda: f(np.zeros((4, 1), np.float32), np.zeros(4, np.float32)),
            ShapeError,
            rf"^{op}: target has shape \(4,\), expected \(4, 1\).*fix: reshape",
        ),
        Mistake(
            "bad reduction", lambda: f(x, x, reduction="avg"), ArgumentError, rf"^{op}: reduction='avg' is unknown"
        ),
        Mistake(
            "whole-number target", lambda: f(x, np.zeros((2, 3), int)), DTypeError, rf"^{op}: target has dtype int64"
        ),
    ]
    if with_weight:
        weight = np.ones((3, 2), np.float32)
        found.append(
            Mistake("weight", lambda: f(x, x, weight=weight), ShapeError, rf"^{op}: weight has shape \(3, 2\)")
        )
    return found


def pair_case(op, oracle, draw_geometry, *mistakes, label="", nonfinite=True, with_weight=True, extra=None, **edge):
    kinds = {"x": "unit", "target": "unit"} if op == "binary_cross_entropy" else {"x": "normal", "target": "normal"}
    one = {name: A((1, 1, 1, 1), kind) for name, kind in kinds.items()}
    empty = {name: A((0, 3), kind) for name, kind in kinds.items()}
    return Case(
        op,
        label=label,
        geometry=draw_geometry,
        oracle=oracle,
        edges={"one": {**one, **edge}, "batch0": {**empty, "reduction": "sum", **edge}},
        mistakes=(*pair_mistakes(op, with_weight), *mistakes) if not label else (),
        exact=False,  # a mean divides
        nonfinite=nonfinite,
        saves=("x", "target"),
        extra_bytes=lambda arrays: arrays["x"].nbytes * (extra or 0) + 64,
    )


def option_mistake(op, match, **options):
    x = np.zeros(2, np.float32)
    return Mistake(match[:10], lambda: getattr(ops, op)(x, x, **options), ArgumentError, rf"^{op}: {match}")


CASES = [
    pair_case(
        "mse_loss",
        pairwise(lambda x, t: (x - t) ** 2, mean_over_weights=True),
        geometry("normal", "normal", "same"),
        extra=1,
    ),
    pair_case(
        "l1_loss",
        pairwise(lambda x, t: abs(x - t), mean_over_weights=True),
        geometry("normal", "normal", "same"),
        extra=1,
    ),
    pair_case(
        "smooth_l1_loss",
        pairwise(smooth_l1),
        geometry("normal", "normal", None, beta=[0.0, 0.5, 1.0, 2.0]),
        option_mistake("smooth_l1_loss", "beta=-1 is out of range, expected a finite number of at least 0", beta=-1),
        with_weight=False,
    ),
    pair_case(
        "huber_loss",
        pairwise(huber),
        geometry("normal", "normal", "same", delta=[0.5, 1.0, 2.0]),
        option_mistake("huber_loss", "delta=0 is out of range, expected a finite number above 0", delta=0),
        extra=1,
    ),
    pair_case(
        "binary_cross_entropy",
        pairwise(bce),
        geometry("unit", "unit", "last"),
        Mistake(
            "scores instead of probabilities",
            lambda: ops.binary_cross_entropy(np.float32([[0.5, 0.2], [1.5, 0]]), np.zeros((2, 2), np.float32)),
            ArgumentError,
            r"x\[1, 0\] is 1.5, expected probabilities from 0 to 1; fix: binary_cross_entropy_with_logits",
        ),
        nonfinite=False,  # infinities are outside 0 to 1 and refused
        extra=1,
    ),
    pair_case(
        "binary_cross_entropy_with_logits",
        pairwise(bce_logits),
        geometry("normal", "unit", "last"),
        Mistake(
            "pos_weight",
            lambda: ops.binary_cross_entropy_with_logits(
                np.zeros((2, 3), np.float32), np.zeros((2, 3), np.float32), pos_weight=np.ones(2, np.float32)
            ),
            ShapeError,
            r"pos_weight has shape \(2,\), which does not broadcast to \(2, 3\)",
        ),
        extra=1,
        nonfinite=False,  # where the formula says inf - inf, torch's order of operations decides; see test_losses.py
    ),
    pair_case(
        "binary_cross_entropy_with_logits",
        pairwise(bce_logits),
        lambda draw: {
            "x": A((n := draw(st.integers(1, 4)), c := draw(st.integers(1, 4)))),
            "target": A((n, c), "unit"),
            "reduction": draw(reductions),
            "pos_weight": A((c,), "positive", grad=False),
        },
        label="pos_weight",
        extra=1,
        nonfinite=False,
    ),
]
