"""Oracles and geometries of element-by-element operations: loops over indices, broadcasting spelled out."""

import numpy as np
from hypothesis import strategies as st

from tests.ops.case import A, shapes


def at(x, index):
    """The element of ``x`` that lands at ``index`` of the broadcast result: from the right, 0 where x has size 1."""
    x = np.asarray(x)
    own = index[len(index) - x.ndim :]
    return x[tuple(0 if size == 1 else i for size, i in zip(x.shape, own, strict=True))]


def broadcast(*shapes_):
    rank = max(len(shape) for shape in shapes_)
    padded = [(1,) * (rank - len(shape)) + tuple(shape) for shape in shapes_]
    return tuple(next((size for size in sizes if size != 1), 1) for sizes in zip(*padded, strict=True))


def elementwise(function, dtype=float):
    """An oracle that calls ``function`` on one number (of each argument) at a time."""

    def oracle(*args, **named):
        values = [*args, *named.values()]
        y = np.empty(broadcast(*(np.shape(v) for v in values)), dtype)
        with np.errstate(all="ignore"):
            for index in np.ndindex(y.shape):
                y[index] = function(*(at(v, index) for v in values))
        return y

    return oracle


def two_shapes(draw):
    """Two shapes that broadcast: each forgets some leading sizes and turns some others into 1."""
    full = draw(shapes(0, 4, 4))

    def part():
        kept = full[draw(st.integers(0, len(full))) :]
        return tuple(1 if draw(st.booleans()) else size for size in kept)

    return (full, part()) if draw(st.booleans()) else (part(), full)


def pair(second="other", x="normal", other="normal"):
    """Geometry of an operation of two tensors."""

    def geometry(draw):
        a, b = two_shapes(draw)
        return {"x": A(a, x), second: A(b, other)}

    return geometry


def one(kind="normal"):
    """Geometry of an operation of one tensor."""
    return lambda draw: {"x": A(draw(shapes()), kind)}


def pair_edges(second="other", x="normal", other="normal"):
    return {
        "batch0": {"x": A((0, 3), x), second: A((3,), other)},
        "one": {"x": A((1, 1), x), second: A((), other)},
        "both_grow": {"x": A((3, 1), x), second: A((1, 4), other)},
    }


def one_edges(kind="normal"):
    return {"empty": {"x": A((0, 3), kind)}, "number": {"x": A((), kind)}, "one": {"x": A((1, 1, 1, 1), kind)}}
