"""Cases of what batch norm, a sum and a ReLU do together: as layers call them, inside a forward pass."""

import numpy as np
from hypothesis import strategies as st

from minicnn import nn, ops
from minicnn.errors import DTypeError, ShapeError
from tests.ops.case import A, Case, Mistake, shapes
from tests.ops.cases_norm import (
    affine,
    batch_norm_oracle,
    channel_count,
    eps_of,
    flat,
    image,
    running_geometry,
    train_geometry,
    two_numbers_each,
)


class Inside(nn.Module):
    """Calls a function in its forward pass, where results may wait for what follows."""

    def forward(self, function, arguments):
        return function(**arguments)


def inside(function):
    return lambda **arguments: Inside()(function, arguments)


def normed(**arguments):
    return ops.batch_norm(arguments.pop("x"), **{"running_mean": None, "running_var": None, **arguments})


def residual(other, **arguments):
    return ops.relu(other + normed(**arguments))


def narrow(weight, **arguments):
    """Scaled so that both bounds of ReLU6 are met."""
    return ops.relu6(normed(weight=weight * 6.0, **arguments))


def residual_oracle(other, **arguments):
    return np.maximum(batch_norm_oracle(**arguments) + other, 0)


def training(draw):
    return {**train_geometry(draw), "training": True}


def with_other(geometry):
    return {**geometry, "other": A(geometry["x"].shape)}


def narrow_geometry(draw):
    shape = image(draw)
    return {"x": A(shape), "weight": A(shape[1:2]), "bias": A(shape[1:2]), "eps": eps_of(draw), "training": True}


def sum_geometry(draw):
    shape = draw(shapes(0, 4, 5))
    return {"x": A(shape), "other": A(shape)}


def two_norms_geometry(draw):
    shape = image(draw)
    options = {"eps": eps_of(draw), "training": True}
    return {"x": A(shape), "other": A(shape), **affine(draw, shape[1:2]), **options}


def two_norms(x, other, **arguments):
    """A residual block whose shortcut ends in a norm too."""
    return ops.relu(normed(x=x, **arguments) + normed(x=other, **arguments))


def two_norms_oracle(x, other, **arguments):
    return np.maximum(batch_norm_oracle(x, **arguments) + batch_norm_oracle(other, **arguments), 0)


BATCH0 = {"x": A((0, 3, 2, 2)), "weight": A((3,)), "bias": A((3,)), "training": True}
MANY = {"x": A((3, 70, 5)), "weight": A((70,)), "bias": A((70,)), "training": True}
FAR = {"exact": False, "saves": ("x", "weight", "y"), "extra_bytes": two_numbers_each(channel_count)}

CASES = [
    Case(
        "relu",
        label="after_batch_norm",
        geometry=training,
        oracle=lambda **arguments: np.maximum(batch_norm_oracle(**arguments), 0),
        call=inside(lambda **arguments: ops.relu(normed(**arguments))),
        edges={"batch0": BATCH0, "many_channels": MANY, "one_pixel": {"x": A((6, 3, 1, 1)), "training": True}},
        mistakes=(
            Mistake(
                "wrong weight",
                lambda: inside(lambda x, weight: ops.relu(normed(x=x, weight=weight, training=True)))(
                    x=flat(2, 3, 4), weight=flat(4)
                ),
                ShapeError,
                r"batch_norm: weight has shape \(4,\), expected \(3,\)",
            ),
        ),
        **FAR,
    ),
    Case(
        "relu",
        label="after_frozen_batch_norm",
        geometry=running_geometry,
        oracle=lambda **arguments: np.maximum(batch_norm_oracle(**arguments, training=False), 0),
        call=inside(lambda **arguments: ops.relu(normed(**arguments))),
        **FAR,
    ),
    Case(
        "relu6",
        label="after_batch_norm",
        geometry=narrow_geometry,
        oracle=lambda weight, **arguments: np.clip(batch_norm_oracle(weight=6.0 * weight, **arguments), 0, 6),
        call=inside(narrow),
        **FAR | {"extra_bytes": lambda arrays: 32 * channel_count(arrays)},
    ),
    Case(
        "relu",
        label="after_batch_norm_and_sum",
        geometry=lambda draw: with_other(training(draw)),
        oracle=residual_oracle,
        call=inside(residual),
        edges={"batch0": with_other(BATCH0), "many_channels": with_other(MANY)},
        **FAR,
    ),
    Case(
        "add",
        label="after_batch_norm",
        geometry=lambda draw: with_other(training(draw)),
        oracle=lambda other, **arguments: batch_norm_oracle(**arguments) + other,
        call=inside(lambda other, **arguments: normed(**arguments) + other),
        exact=False,
        saves=("x", "weight"),
        extra_bytes=two_numbers_each(channel_count),
    ),
    Case(
        "relu",
        label="after_two_batch_norms",
        geometry=two_norms_geometry,
        oracle=two_norms_oracle,
        call=inside(two_norms),
        **FAR | {"saves": ("x", "other", "weight", "weight", "y"), "extra_bytes": lambda a: 32 * channel_count(a)},
    ),
    Case(
        "relu",
        label="after_sum",
        geometry=sum_geometry,
        oracle=lambda x, other: np.maximum(x + other, 0),
        call=inside(lambda x, other: ops.relu(x + other)),
        edges={"batch0": {"x": A((0, 3)), "other": A((0, 3))}, "itself": {"x": A((3, 4)), "other": A((3, 4), "away")}},
        saves=("y",),
    ),
    Case(
        "relu6",
        label="in_a_layer",
        geometry=lambda draw: {"x": A(draw(shapes(0, 4, 5))), "scale": draw(st.sampled_from([1.0, 8.0]))},
        oracle=lambda x, scale: np.clip(scale * x, 0, 6),
        call=inside(lambda x, scale: ops.relu6(scale * x)),
        mistakes=(
            Mistake(
                "integers",
                lambda: inside(lambda x: ops.relu6(x))(x=np.zeros(3, np.int64)),
                DTypeError,
                r"relu6: x has dtype int64, expected float32 or float64",
            ),
        ),
        saves=("y",),
    ),
]
