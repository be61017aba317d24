"""Cases of reshapes, permutations, joining, splitting and padding."""

import math

import numpy as np
from hypothesis import strategies as st

from minicnn import ops
from minicnn.errors import ArgumentError, ShapeError
from tests.ops.case import A, Case, Mistake, shapes

X = np.ones((2, 3))


def built(shape, source):
    """An array whose element at ``index`` is ``source(index)``."""
    y = np.empty(shape)
    for index in np.ndindex(*shape):
        y[index] = source(index)
    return y


def refilled(x, shape):
    """The elements of x in order, laid into ``shape``."""
    y, values = np.empty(shape), iter([x[index] for index in np.ndindex(x.shape)])
    for index in np.ndindex(*shape):
        y[index] = next(values)
    return y


def reshape_geometry(draw):
    shape = draw(shapes())
    wanted = [draw(st.permutations(shape)), [math.prod(shape)], [*shape, 1], [-1, *shape[1:]]][draw(st.integers(0, 3))]
    return {"x": A(shape), "shape": tuple(wanted)}


def reshape_oracle(x, shape):
    rest = math.prod(n for n in shape if n != -1)
    return refilled(x, tuple(x.size // rest if n == -1 else n for n in shape))


def flatten_geometry(draw):
    shape = draw(shapes(1, 4))
    start = draw(st.integers(0, len(shape) - 1))
    end = draw(st.integers(start, len(shape) - 1))
    return {"x": A(shape), "start_dim": start, "end_dim": end - len(shape)}


def flatten_oracle(x, start_dim, end_dim):
    end = end_dim % max(x.ndim, 1) + 1
    return refilled(x, (*x.shape[:start_dim], math.prod(x.shape[start_dim:end]), *x.shape[end:]))


def permute_geometry(draw):
    shape = draw(shapes())
    dims = draw(st.permutations(range(len(shape))))
    return {"x": A(shape), "dims": tuple(d - len(shape) * draw(st.integers(0, 1)) for d in dims)}


def permute_oracle(x, dims):
    dims = [d % x.ndim for d in dims]
    return built([x.shape[d] for d in dims], lambda index: x[tuple(index[dims.index(d)] for d in range(x.ndim))])


def transpose_geometry(draw):
    shape = draw(shapes(1, 4))
    dim = st.integers(-len(shape), len(shape) - 1)
    return {"x": A(shape), "dim0": draw(dim), "dim1": draw(dim)}


def transpose_oracle(x, dim0, dim1):
    dims = list(range(x.ndim))
    dims[dim0], dims[dim1] = dims[dim1], dims[dim0]
    return permute_oracle(x, dims)


def squeeze_geometry(draw):
    shape = tuple(draw(st.sampled_from([1, 1, 2, 3])) for _ in range(draw(st.integers(1, 4))))
    several = tuple(draw(st.lists(st.integers(0, len(shape) - 1), unique=True, min_size=1)))
    return {"x": A(shape), "dim": draw(st.sampled_from([None, several[0] - len(shape), several]))}


def squeeze_oracle(x, dim):
    dims = range(x.ndim) if dim is None else [d % x.ndim for d in np.atleast_1d(dim)]
    return refilled(x, [n for d, n in enumerate(x.shape) if n != 1 or d not in dims])


def unsqueeze_geometry(draw):
    shape = draw(shapes())
    return {"x": A(shape), "dim": draw(st.integers(-len(shape) - 1, len(shape)))}


def unsqueeze_oracle(x, dim):
    shape = list(x.shape)
    shape.insert(dim if dim >= 0 else dim + x.ndim + 1, 1)
    return refilled(x, shape)


def broadcast_geometry(draw):
    full = draw(shapes(0, 4, 4))
    kept = full[draw(st.integers(0, len(full))) :]
    own = tuple(1 if draw(st.booleans()) else n for n in kept)
    asked = tuple(-1 if d >= len(full) - len(own) and draw(st.booleans()) else n for d, n in enumerate(full))
    wanted = tuple(own[d - len(full) + len(own)] if n == -1 else n for d, n in enumerate(asked))
    return {"x": A(own), "shape": asked if wanted == full or -1 in asked else full}


def broadcast_oracle(x, shape):
    extra = len(shape) - x.ndim
    full = [x.shape[d - extra] if n == -1 else n for d, n in enumerate(shape)]
    return built(full, lambda i: x[tuple(0 if n == 1 else k for n, k in zip(x.shape, i[extra:], strict=True))])


def bad(op, error, match, *args, name="wrong call"):
    return Mistake(name, lambda: getattr(ops, op)(*args), error, match)


NUMBER = {"x": A(())}

CASES = [
    Case(
        "reshape",
        geometry=reshape_geometry,
        oracle=reshape_oracle,
        edges={"batch0": {"x": A((0, 3, 4)), "shape": (0, 12)}, "to_a_number": {"x": A((1, 1)), "shape": ()}},
        mistakes=(
            bad(
                "reshape",
                ShapeError,
                r"reshape: x of shape \(2, 3\) has 6 elements, but shape \(4, 2\) has 8",
                X,
                (4, 2),
            ),
            bad("reshape", ShapeError, r"known sizes of shape \(4, -1\) do not divide", X, (4, -1), name="no divisor"),
            bad("reshape", ShapeError, r"more than one -1", X, (-1, -1), name="two open sizes"),
            bad("reshape", ArgumentError, r"shape=-2 is too small", X, (-2, 3), name="negative size"),
        ),
    ),
    Case(
        "flatten",
        geometry=flatten_geometry,
        oracle=flatten_oracle,
        edges={
            "number": {**NUMBER, "start_dim": 0, "end_dim": -1},
            "batch0": {"x": A((0, 2, 3)), "start_dim": 1, "end_dim": -1},
        },
        mistakes=(bad("flatten", ArgumentError, "flatten: start_dim=1 comes after end_dim=0", X, 1, 0),),
    ),
    Case(
        "permute",
        geometry=permute_geometry,
        oracle=permute_oracle,
        edges={
            "batch0": {"x": A((0, 2, 3)), "dims": (2, 0, 1)},
            "images": {"x": A((2, 3, 4, 5)), "dims": (0, 2, 3, 1)},
        },
        mistakes=(bad("permute", ArgumentError, r"permute: dims=\(0, 0\) is no order of the 2 dim", X, (0, 0)),),
    ),
    Case(
        "transpose",
        geometry=transpose_geometry,
        oracle=transpose_oracle,
        edges={"batch0": {"x": A((0, 2)), "dim0": 0, "dim1": 1}},
        mistakes=(bad("transpose", ArgumentError, r"transpose: dim1=2 is out of range for x of shape", X, 0, 2),),
    ),
    Case(
        "squeeze",
        geometry=squeeze_geometry,
        oracle=squeeze_oracle,
        edges={"batch0": {"x": A((0, 1)), "dim": None}, "one": {"x": A((1, 1)), "dim": (0, 1)}},
        mistakes=(bad("squeeze", ArgumentError, r"squeeze: dim=\(0, -2\) names a dimension twice", X, (0, -2)),),
    ),
    Case(
        "unsqueeze",
        geometry=unsqueeze_geometry,
        oracle=unsqueeze_oracle,
        edges={"batch0": {"x": A((0, 2)), "dim": 1}},
        mistakes=(bad("unsqueeze", ArgumentError, r"unsqueeze: dim=3 is out of range", X, 3),),
    ),
    Case(
        "broadcast_to",
        geometry=broadcast_geometry,
        oracle=broadcast_oracle,
        edges={"to_nothing": {"x": A((1, 3)), "shape": (0, 3)}, "number": {**NUMBER, "shape": (2, 2)}},
        mistakes=(
            bad("broadcast_to", ShapeError, r"x of shape \(2, 3\) cannot be repeated to shape \(4, 3\)", X, (4, 3)),
        ),
    ),
]
