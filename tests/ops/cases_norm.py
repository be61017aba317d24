"""Cases of the normalisations. The oracles loop over what shares a statistic, in NumPy's float64."""

import numpy as np
from hypothesis import strategies as st

from minicnn import ops
from minicnn.errors import ArgumentError, DTypeError, ShapeError
from tests.ops.case import A, Case, Mistake, shapes


def normalised(values, eps):
    return (values - values.mean()) / np.sqrt(((values - values.mean()) ** 2).mean() + eps)


def scaled(y, weight, bias):
    for k in range(y.shape[1]):
        y[:, k] = y[:, k] * (1 if weight is None else weight[k]) + (0 if bias is None else bias[k])
    return y


def batch_norm_oracle(x, running_mean=None, running_var=None, weight=None, bias=None, training=True, eps=1e-5, **_):
    y = np.empty_like(x)
    for k in range(x.shape[1]):
        if training and x.size:
            y[:, k] = normalised(x[:, k], eps)
        elif x.size:
            y[:, k] = (x[:, k] - running_mean[k]) / np.sqrt(running_var[k] + eps)
    return scaled(y, weight, bias)


def instance_norm_oracle(
    x, running_mean=None, running_var=None, weight=None, bias=None, use_input_stats=True, eps=1e-5, **_
):
    if not use_input_stats:
        return batch_norm_oracle(x, running_mean, running_var, weight, bias, False, eps)
    return group_norm_oracle(x, x.shape[1], weight, bias, eps)


def group_norm_oracle(x, num_groups, weight=None, bias=None, eps=1e-5):
    y, each = np.empty_like(x), x.shape[1] // num_groups
    for i in range(x.shape[0]):
        for g in range(num_groups):
            y[i, g * each : (g + 1) * each] = normalised(x[i, g * each : (g + 1) * each], eps)
    return scaled(y, weight, bias)


def layer_norm_oracle(x, normalized_shape, weight=None, bias=None, eps=1e-5):
    y = np.empty_like(x)
    for index in np.ndindex(x.shape[: x.ndim - len(normalized_shape)]):
        y[index] = normalised(x[index], eps)
    return y * (1 if weight is None else weight) + (0 if bias is None else bias)


def normalize_oracle(x, p=2.0, dim=1, eps=1e-12):
    moved = np.moveaxis(x, dim, -1)
    y = np.empty_like(moved)
    for index in np.ndindex(moved.shape[:-1]):
        y[index] = moved[index] / max(sum(abs(v) ** p for v in moved[index]) ** (1 / p), eps)
    return np.moveaxis(y, -1, dim)


def normalize_geometry(draw):
    shape = (*draw(shapes(1, 3, 4)), 5)
    options = {"p": draw(st.sampled_from([1.0, 2.0, 3.5])), "dim": draw(st.integers(-len(shape), len(shape) - 1))}
    return {"x": A(shape, "away"), **options, "eps": draw(st.sampled_from([1e-12, 0.5]))}


def affine(draw, shape):
    return {name: A(shape) if draw(st.booleans()) else None for name in ("weight", "bias")}


def image(draw, least=8):
    """(N, C, *) with at least ``least`` values per channel and image."""
    n, c = draw(shapes(2, 2, 4))
    return (n, c, *draw(shapes(0, 2, 3)), least)


def eps_of(draw):
    return draw(st.sampled_from([1e-5, 0.1]))


def train_geometry(draw):
    shape = image(draw)
    return {"x": A(shape), **affine(draw, shape[1:2]), "eps": eps_of(draw)}


def running_geometry(draw):
    shape = image(draw)
    running = {"running_mean": A(shape[1:2], grad=False), "running_var": A(shape[1:2], "positive", grad=False)}
    return {"x": A(shape), **running, **affine(draw, shape[1:2]), "eps": eps_of(draw)}


def group_geometry(draw):
    groups, each = draw(shapes(2, 2, 3))
    n = draw(shapes(1, 1, 3))
    shape = (*n, groups * each, *draw(shapes(0, 2, 3)), 8)
    return {"x": A(shape), "num_groups": groups, **affine(draw, shape[1:2]), "eps": eps_of(draw)}


def layer_geometry(draw):
    outer, inner = draw(shapes(0, 3, 5)), (*draw(shapes(0, 2, 3)), 8)
    return {"x": A((*outer, *inner)), "normalized_shape": inner, **affine(draw, inner), "eps": eps_of(draw)}


def two_numbers_each(statistics):
    """Mean and reciprocal deviation are kept in float64."""
    return lambda arrays: 16 * statistics(arrays)


def channel_count(arrays):
    return arrays["x"].shape[1]


def flat(*shape):
    return np.zeros(shape, np.float32)


CASES = [
    Case(
        "batch_norm_train",
        geometry=train_geometry,
        oracle=batch_norm_oracle,
        call=lambda **arguments: ops.batch_norm_train(**arguments)[0],
        edges={
            "batch0": {"x": A((0, 3, 2, 2)), "weight": A((3,)), "bias": A((3,))},
            "one_pixel": {"x": A((6, 3, 1, 1)), "weight": A((3,)), "bias": A((3,))},
            "matrix": {"x": A((7, 2)), "weight": A((2,)), "bias": None},
            "many_rows": {"x": A((3, 70, 5)), "weight": A((70,)), "bias": A((70,))},
        },
        mistakes=(
            Mistake(
                "one value a channel",
                lambda: ops.batch_norm_train(flat(1, 3, 1, 1)),
                ShapeError,
                r"batch_norm: x of shape \(1, 3, 1, 1\) has one value per channel.*more than 1.*fix: a larger batch",
            ),
            Mistake(
                "wrong weight",
                lambda: ops.batch_norm_train(flat(2, 3, 4), flat(4)),
                ShapeError,
                r"batch_norm: weight has shape \(4,\), expected \(3,\), one number per channel of x \(2, 3, 4\)",
            ),
        ),
        exact=False,  # divides by a square root
        saves=("x", "weight"),
        extra_bytes=two_numbers_each(channel_count),
    ),
    Case(
        "batch_norm",
        label="training",
        geometry=lambda draw: {**train_geometry(draw), "running_mean": None, "running_var": None, "training": True},
        oracle=batch_norm_oracle,
        edges={
            "running": {
                "x": A((4, 70, 2)),
                "running_mean": A((70,), grad=False),
                "running_var": A((70,), "positive", grad=False),
                "training": True,
            }
        },
        mistakes=(
            Mistake(
                "wrong running mean",
                lambda: ops.batch_norm(flat(2, 3, 4), flat(2), flat(3), training=True),
                ShapeError,
                r"batch_norm: running_mean has shape \(2,\), expected \(3,\)",
            ),
            Mistake(
                "running list",
                lambda: ops.batch_norm(flat(2, 3, 4), [0.0, 0.0, 0.0], None, training=True),
                ArgumentError,
                r"batch_norm: running_mean is a list, expected a Tensor or an array to update in place",
            ),
            Mistake(
                "running float64",
                lambda: ops.batch_norm(flat(2, 3, 4), np.zeros(3), None, training=True),
                DTypeError,
                r"batch_norm: running_mean has dtype float64, but x has float32; fix",
            ),
            Mistake(
                "momentum None",
                lambda: ops.batch_norm(flat(2, 3, 4), flat(3), flat(3), training=True, momentum=None),
                ArgumentError,
                r"batch_norm: momentum=None is a NoneType, expected a number",
            ),
            Mistake(
                "negative eps",
                lambda: ops.batch_norm(flat(2, 3, 4), None, None, training=True, eps=-1),
                ArgumentError,
                r"batch_norm: eps=-1 is out of range",
            ),
            Mistake(
                "vector",
                lambda: ops.batch_norm(flat(3), None, None, training=True),
                ShapeError,
                r"batch_norm: x has shape \(3,\), expected \(N, C, \*\)",
            ),
        ),
        exact=False,
        saves=("x", "weight"),
        extra_bytes=two_numbers_each(channel_count),
    ),
    Case(
        "batch_norm_eval",
        geometry=running_geometry,
        oracle=lambda **arguments: batch_norm_oracle(**arguments, training=False),
        edges={
            "batch0": {
                "x": A((0, 3, 2, 2)),
                "running_mean": A((3,), grad=False),
                "running_var": A((3,), "positive", grad=False),
                "weight": A((3,)),
            },
            "one_pixel": {
                "x": A((1, 2, 1, 1)),
                "running_mean": A((2,), grad=False),
                "running_var": A((2,), "positive", grad=False),
            },
        },
        mistakes=(
            Mistake(
                "no statistics",
                lambda: ops.batch_norm(flat(2, 3, 4), flat(3), None),
                ArgumentError,
                r"batch_norm: running_var is None, expected an array; fix: training=True",
            ),
            Mistake(
                "no statistics of its own",
                lambda: ops.batch_norm_eval(flat(2, 3, 4), None, flat(3)),
                ArgumentError,
                r"batch_norm: running_mean is None",
            ),
        ),
        exact=False,
        saves=("x", "weight"),
        extra_bytes=two_numbers_each(channel_count),
    ),
    Case(
        "instance_norm",
        geometry=train_geometry,
        oracle=instance_norm_oracle,
        edges={"batch0": {"x": A((0, 3, 2, 2)), "weight": A((3,)), "bias": A((3,))}},
        mistakes=(
            Mistake(
                "one pixel",
                lambda: ops.instance_norm(flat(2, 3, 1, 1)),
                ShapeError,
                r"instance_norm: x of shape \(2, 3, 1, 1\) has one value per channel and image.*fix",
            ),
            Mistake(
                "unknown statistics",
                lambda: ops.instance_norm(flat(2, 3, 4), use_input_stats=False),
                ArgumentError,
                r"running_mean is None",
            ),
        ),
        exact=False,
        saves=("x", "weight"),
        extra_bytes=two_numbers_each(lambda arrays: arrays["x"].shape[0] * arrays["x"].shape[1]),
    ),
    Case(
        "instance_norm",
        label="running",
        geometry=lambda draw: {**running_geometry(draw), "use_input_stats": False},
        oracle=instance_norm_oracle,
        exact=False,
        saves=("x", "weight"),
        extra_bytes=two_numbers_each(channel_count),
    ),
    Case(
        "group_norm",
        geometry=group_geometry,
        oracle=group_norm_oracle,
        edges={
            "batch0": {"x": A((0, 4, 2)), "num_groups": 2, "weight": A((4,)), "bias": A((4,))},
            "one_pixel": {"x": A((3, 8, 1, 1)), "num_groups": 2, "weight": A((8,)), "bias": A((8,))},
        },
        mistakes=(
            Mistake(
                "groups do not divide",
                lambda: ops.group_norm(flat(2, 6, 4), 4),
                ShapeError,
                r"group_norm: num_groups=4 does not divide the 6 channels of x",
            ),
            Mistake(
                "one value",
                lambda: ops.group_norm(flat(1, 1, 1, 1), 1),
                ShapeError,
                r"group_norm: x of shape \(1, 1, 1, 1\) has one value per group",
            ),
            Mistake("no groups", lambda: ops.group_norm(flat(2, 6), 0), ArgumentError, r"group_norm: num_groups=0"),
        ),
        exact=False,
        saves=("x", "weight"),
        extra_bytes=two_numbers_each(lambda arrays: arrays["x"].shape[0] * arrays["num_groups"]),
    ),
    Case(
        "layer_norm",
        geometry=layer_geometry,
        oracle=layer_norm_oracle,
        edges={
            "batch0": {"x": A((0, 3, 4)), "normalized_shape": (4,), "weight": A((4,)), "bias": A((4,))},
            "many_rows": {"x": A((13, 11, 4)), "normalized_shape": (4,), "weight": A((4,)), "bias": A((4,))},
        },
        mistakes=(
            Mistake(
                "wrong shape",
                lambda: ops.layer_norm(flat(2, 3, 4), (3,)),
                ShapeError,
                r"layer_norm: x has shape \(2, 3, 4\), expected its last dimensions to be \(3,\)",
            ),
            Mistake(
                "wrong weight",
                lambda: ops.layer_norm(flat(2, 3), 3, flat(2)),
                ShapeError,
                r"layer_norm: weight has shape \(2,\), expected normalized_shape \(3,\)",
            ),
        ),
        exact=False,
        saves=("x", "weight"),
        extra_bytes=two_numbers_each(
            lambda arrays: arrays["x"].size // max(1, int(np.prod(arrays["normalized_shape"])))
        ),
    ),
    Case(
        "normalize",
        geometry=normalize_geometry,
        oracle=normalize_oracle,
        edges={"batch0": {"x": A((0, 3))}, "shorter_than_eps": {"x": A((3, 4)), "eps": 100.0}},
        mistakes=(
            Mistake(
                "no dimension", lambda: ops.normalize(flat(3)), ShapeError, r"normalize: x has shape \(3,\), which"
            ),
            Mistake("p 0", lambda: ops.normalize(flat(3, 3), p=0), ArgumentError, r"normalize: p=0 is out of range"),
        ),
        exact=False,
        saves=("x",),
        extra_bytes=lambda arrays: 2 * arrays["x"].nbytes // max(1, arrays["x"].shape[arrays.get("dim", 1)]),
    ),
]
