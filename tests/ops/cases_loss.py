"""Cases of the losses."""

import numpy as np
from hypothesis import strategies as st

from minicnn import ops
from minicnn.errors import ArgumentError, DTypeError, IndexRangeError, ShapeError
from tests.ops.case import A, Case, Mistake

reductions = st.sampled_from(["none", "mean", "sum"])


def reduce_oracle(losses, reduction, count=None):
    if reduction == "none":
        return losses
    total = losses.sum()
    with np.errstate(all="ignore"):
        return np.asarray(total / np.float64(losses.size if count is None else count)) if reduction == "mean" else total


def log_softmax_row(row):
    """log softmax of one row, by the book (higher precision than float64 where there is one)."""
    row = row.astype(np.longdouble)
    with np.errstate(all="ignore"):
        top = max(row) if not np.isnan(row).any() else np.nan
        return (row - top - np.log(sum(np.exp(v - top) for v in row))).astype(float)


def positions(x):
    """The index of every distribution: everything but the class axis."""
    return np.ndindex((x.shape[0], *x.shape[2:]))


def row_of(x, index):
    return x[(index[0], slice(None), *index[1:])]


def cross_entropy_oracle(x, target, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0):
    if x.ndim == 1:
        target = np.asarray(target)[None]
        y = cross_entropy_oracle(x[None], target, weight, ignore_index, reduction, label_smoothing)
        return y[0] if reduction == "none" else y
    classes = x.shape[1]
    w = np.ones(classes) if weight is None else weight
    soft = target.dtype.kind == "f"
    losses, count = np.zeros((x.shape[0], *x.shape[2:])), 0.0
    for index in positions(x):
        if not soft and target[index] == ignore_index:
            continue
        wanted = row_of(target, index) if soft else np.eye(classes)[target[index]]
        log_p = log_softmax_row(row_of(x, index))
        if soft:
            for c in range(classes):
                share = (1 - label_smoothing) * wanted[c] + label_smoothing / classes
                losses[index] -= w[c] * share * log_p[c]
            count += 1
        else:
            t = target[index]
            losses[index] = -(1 - label_smoothing) * w[t] * log_p[t]
            if label_smoothing:
                losses[index] -= label_smoothing / classes * sum(w[c] * log_p[c] for c in range(classes))
            count += w[t]
    return reduce_oracle(losses, reduction, count)


def nll_oracle(x, target, weight=None, ignore_index=-100, reduction="mean"):
    if x.ndim == 1:
        y = nll_oracle(x[None], np.asarray(target)[None], weight, ignore_index, reduction)
        return y[0] if reduction == "none" else y
    w = np.ones(x.shape[1]) if weight is None else weight
    losses, count = np.zeros((x.shape[0], *x.shape[2:])), 0.0
    for index in positions(x):
        t = target[index]
        if t != ignore_index:
            losses[index] = -w[t] * x[(index[0], t, *index[1:])]
            count += w[t]
    return reduce_oracle(losses, reduction, count)


def classes_geometry(draw, soft=False, smoothing=True):
    n, c = draw(st.integers(1, 4)), draw(st.integers(1, 5))
    tail = tuple(draw(st.lists(st.integers(1, 3), max_size=2)))
    unbatched = not tail and draw(st.booleans())
    shape = (c,) if unbatched else (n, c, *tail)
    labels = A(() if unbatched else (n, *tail), "integers", 0, c)
    geometry = {"x": A(shape), "target": A(shape, "unit") if soft else labels}
    geometry["weight"] = A((c,), "positive", grad=False) if draw(st.booleans()) else None
    if not soft and c > 1 and draw(st.booleans()):
        geometry["ignore_index"] = c - 1
        geometry["reduction"] = draw(st.sampled_from(["none", "sum"]))  # the mean may be 0/0: an edge of its own
    else:
        geometry["reduction"] = draw(reductions)
    if smoothing:
        geometry["label_smoothing"] = draw(st.sampled_from([0.0, 0.3, 1.0]))
    return geometry


CLASS_EDGES = {
    "batch0": {"x": A((0, 3)), "target": A((0,), "integers", 0, 3), "reduction": "none"},
    "batch0_sum": {"x": A((0, 3, 2)), "target": A((0, 2), "integers", 0, 3), "reduction": "sum"},
    "one": {"x": A((1, 1)), "target": A((1,), "integers", 0, 1)},
    "mean_with_ignored": {
        "x": A((6, 3)),
        "target": A((6,), "integers", 0, 3),
        "weight": A((3,), "positive", grad=False),
        "ignore_index": 1,
        "reduction": "mean",
    },
    "many_labels": {
        "x": A((1100, 3)),
        "target": A((1100,), "integers", 0, 3),
        "weight": A((3,), "positive", grad=False),
        "ignore_index": 2,
    },
}

LABEL_MISTAKES = (
    (
        "label too large",
        lambda f: f(np.zeros((2, 10), np.float32), [3, 10]),
        IndexRangeError,
        r"target\[1\] is 10, expected 0 to 9 .*10 classes.*fix",
    ),
    (
        "negative label in a picture",
        lambda f: f(np.zeros((1, 3, 2, 2), np.float32), [[[0, 1], [-1, 2]]]),
        IndexRangeError,
        r"target\[0, 1, 0\] is -1, expected 0 to 2",
    ),
    (
        "float labels",
        lambda f: f(np.zeros((2, 3), np.float32), np.zeros(2, np.float32)),
        DTypeError,
        r"target has dtype float32 .*integer class indices.*fix: target.astype",
    ),
    (
        "wrong batch",
        lambda f: f(np.zeros((2, 3), np.float32), [0, 1, 2]),
        ShapeError,
        r"target has shape \(3,\), expected \(2,\)",
    ),
    (
        "bad reduction",
        lambda f: f(np.zeros((2, 3), np.float32), [0, 1], reduction="avg"),
        ArgumentError,
        r"reduction='avg' is unknown, expected 'none', 'mean' or 'sum'",
    ),
    (
        "weight of another size",
        lambda f: f(np.zeros((2, 3), np.float32), [0, 1], weight=np.ones(2, np.float32)),
        ShapeError,
        r"weight has shape \(2,\), expected \(3,\)",
    ),
    ("no classes", lambda f: f(np.zeros((2, 0), np.float32), [0, 1]), ShapeError, r"no classes"),
    (
        "ignore_index of another kind",
        lambda f: f(np.zeros((2, 3), np.float32), [0, 1], ignore_index=None),
        ArgumentError,
        r"ignore_index=None is a NoneType, expected an int",
    ),
)


def label_mistakes(op):
    return tuple(
        Mistake(name, lambda call=call: call(getattr(ops, op)), error, f"^{op}: .*{match}|^{op}: {match}")
        for name, call, error, match in LABEL_MISTAKES
    )


CASES = [
    Case(
        "cross_entropy",
        geometry=lambda draw: classes_geometry(draw),
        oracle=cross_entropy_oracle,
        edges=CLASS_EDGES,
        mistakes=(
            *label_mistakes("cross_entropy"),
            Mistake(
                "smoothing out of range",
                lambda: ops.cross_entropy(np.zeros((2, 3), np.float32), [0, 1], label_smoothing=1.5),
                ArgumentError,
                r"label_smoothing=1.5 is out of range, expected a number from 0 to 1",
            ),
            Mistake(
                "one-hot whole numbers",
                lambda: ops.cross_entropy(np.zeros((2, 3), np.float32), np.eye(3, dtype=int)[:2]),
                ShapeError,
                r"target has shape \(2, 3\), expected \(2,\).*one-hot",
            ),
        ),
        exact=False,  # exponentials
        saves=("x", "target", "weight"),
        extra_bytes=lambda arrays: arrays["x"].size * 8 + arrays["x"].shape[-1 if arrays["x"].ndim == 1 else 1] * 8,
    ),
    Case(
        "cross_entropy",
        label="probabilities",
        geometry=lambda draw: classes_geometry(draw, soft=True),
        oracle=cross_entropy_oracle,
        edges={
            "batch0": {"x": A((0, 3)), "target": A((0, 3), "unit"), "reduction": "none"},
            "pictures": {"x": A((2, 3, 2, 2)), "target": A((2, 3, 2, 2), "unit"), "reduction": "mean"},
        },
        mistakes=(
            Mistake(
                "ignore_index",
                lambda: ops.cross_entropy(np.zeros((2, 3), np.float32), np.ones((2, 3), np.float32), ignore_index=0),
                ArgumentError,
                r"ignore_index=0 needs class indices",
            ),
            Mistake(
                "mixed floats",
                lambda: ops.cross_entropy(np.zeros((2, 3), np.float32), np.ones((2, 3))),
                DTypeError,
                r"target has dtype float64, but x has float32",
            ),
        ),
        exact=False,  # exponentials
        saves=("x", "target", "weight"),
        extra_bytes=lambda arrays: arrays["x"].size * 8 + arrays["x"].shape[-1 if arrays["x"].ndim == 1 else 1] * 8,
    ),
    Case(
        "nll_loss",
        geometry=lambda draw: classes_geometry(draw, smoothing=False),
        oracle=nll_oracle,
        edges=CLASS_EDGES,
        mistakes=label_mistakes("nll_loss"),
        exact=False,  # a mean divides
        saves=("target", "weight"),
        extra_bytes=lambda arrays: arrays["x"].shape[-1 if arrays["x"].ndim == 1 else 1] * 8,
    ),
]
