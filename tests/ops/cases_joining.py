"""Cases of joining, splitting, flipping and padding."""

import itertools
import math

from hypothesis import strategies as st

from minicnn.errors import ArgumentError, ShapeError
from tests.ops.case import A, Case, shapes
from tests.ops.cases_shape import X, bad, built


def listed_geometry(same):
    def geometry(draw):
        shape = draw(shapes(0 if same else 1, 3, 4))
        rank = len(shape)
        dim = draw(st.integers(-rank - same, rank - 1 + same))
        parts = []
        for _ in range(draw(st.integers(1, 3))):
            sizes = list(shape)
            if not same:
                sizes[dim] = draw(st.integers(0, 3))
            parts.append(A(tuple(sizes)))
        return {"tensors": parts, "dim": dim}

    return geometry


def cat_oracle(tensors, dim):
    axis = dim % tensors[0].ndim
    rows = [(t, i) for t in tensors for i in range(t.shape[axis])]
    shape = list(tensors[0].shape)
    shape[axis] = len(rows)

    def source(index):
        t, i = rows[index[axis]]
        return t[(*index[:axis], i, *index[axis + 1 :])]

    return built(shape, source)


def stack_oracle(tensors, dim):
    axis = dim % (tensors[0].ndim + 1)
    shape = list(tensors[0].shape)
    shape.insert(axis, len(tensors))
    return built(shape, lambda index: tensors[index[axis]][(*index[:axis], *index[axis + 1 :])])


def pieces(x, sizes, axis):
    starts = [0, *itertools.accumulate(sizes)]
    return tuple(
        built(
            [size if d == axis else n for d, n in enumerate(x.shape)],
            lambda i, start=start: x[tuple(k + start * (d == axis) for d, k in enumerate(i))],
        )
        for start, size in zip(starts, sizes, strict=False)
    )


def split_geometry(draw):
    shape = draw(shapes(1, 3, 5))
    dim = draw(st.integers(-len(shape), len(shape) - 1))
    first = draw(st.integers(0, shape[dim]))
    how = draw(st.sampled_from([1, 2, 7, (first, shape[dim] - first)]))
    return {"x": A(shape), "split_size_or_sections": how, "dim": dim}


def split_oracle(x, split_size_or_sections, dim):
    axis, how = dim % x.ndim, split_size_or_sections
    if isinstance(how, int):
        left, how = x.shape[axis], []
        while left > 0 or not how:
            how.append(min(split_size_or_sections, left))
            left -= how[-1]
    return pieces(x, how, axis)


def chunk_geometry(draw):
    shape = draw(shapes(1, 3, 5))
    dim = draw(st.integers(-len(shape), len(shape) - 1))
    return {"x": A(shape), "chunks": draw(st.integers(1, 6)), "dim": dim}


def chunk_oracle(x, chunks, dim):
    size = x.shape[dim % x.ndim]
    return pieces(x, [0] * chunks, dim % x.ndim) if size == 0 else split_oracle(x, math.ceil(size / chunks), dim)


def flip_geometry(draw):
    shape = draw(shapes(1, 4))
    return {"x": A(shape), "dims": tuple(draw(st.lists(st.integers(0, len(shape) - 1), unique=True)))}


def flip_oracle(x, dims):
    turned = [d % x.ndim for d in dims]
    return built(x.shape, lambda i: x[tuple(x.shape[d] - 1 - k if d in turned else k for d, k in enumerate(i))])


def pad_geometry(draw):
    shape = draw(shapes(1, 4, 4))
    mode = draw(st.sampled_from(["constant", "reflect", "replicate", "circular"]))
    margins = []
    for size in shape[::-1][: draw(st.integers(1, len(shape)))]:
        least = -((size - 1) // 2) if mode == "constant" else 0
        most = {"reflect": size - 1, "circular": size}.get(mode, 3)
        margins += [draw(st.integers(least, most)), draw(st.integers(least, most))]
    value = draw(st.sampled_from([None, 0.5, -2])) if mode == "constant" else None
    return {"x": A(shape), "pad": tuple(margins), "mode": mode, "value": value}


def pad_oracle(x, pad, mode="constant", value=None):
    before, shape = [0] * x.ndim, list(x.shape)
    for number, margin in enumerate(pad):
        axis = x.ndim - 1 - number // 2
        shape[axis] += margin
        before[axis] += margin if number % 2 == 0 else 0

    def source(index):
        own = []
        for k, b, n in zip(index, before, x.shape, strict=True):
            i = k - b
            if mode == "constant" and not 0 <= i < n:
                return value or 0.0
            while not 0 <= i < n:
                if mode == "circular":
                    i += n if i < 0 else -n
                elif mode == "replicate":
                    i += 1 if i < 0 else -1
                else:
                    i = -i if i < 0 else 2 * (n - 1) - i
            own.append(i)
        return x[tuple(own)]

    return built(shape, source)


CASES = [
    Case(
        "cat",
        geometry=listed_geometry(same=False),
        oracle=cat_oracle,
        edges={"batch0": {"tensors": [A((0, 2)), A((0, 3))], "dim": 1}},
        mistakes=(
            bad("cat", ShapeError, "cat: the list of tensors is empty", []),
            bad("cat", ArgumentError, "cat: tensors is a ndarray, expected a list", X, name="no list"),
            bad(
                "cat",
                ShapeError,
                r"tensors\[1\] has shape \(2, 2\), but tensors\[0\] has \(2, 3\)",
                [X, X[:, :2]],
                name="sizes",
            ),
        ),
    ),
    Case(
        "stack",
        geometry=listed_geometry(same=True),
        oracle=stack_oracle,
        edges={"batch0": {"tensors": [A((0, 2)), A((0, 2))], "dim": 1}},
        mistakes=(bad("stack", ShapeError, r"tensors\[1\] has shape \(1, 3\), but tensors\[0\]", [X, X[:1]]),),
    ),
    Case(
        "split",
        geometry=split_geometry,
        oracle=split_oracle,
        edges={"batch0": {"x": A((0, 2)), "split_size_or_sections": 1, "dim": 0}},
        mistakes=(bad("split", ShapeError, r"split: sizes \[1, 1\] add up to 2, but dim=1", X, [1, 1], 1),),
    ),
    Case(
        "chunk",
        geometry=chunk_geometry,
        oracle=chunk_oracle,
        edges={"batch0": {"x": A((0, 2)), "chunks": 2, "dim": 0}},
        mistakes=(bad("chunk", ArgumentError, r"chunk: chunks=0 is too small", X, 0),),
    ),
    Case(
        "flip",
        geometry=flip_geometry,
        oracle=flip_oracle,
        edges={"batch0": {"x": A((0, 2)), "dims": (0, -1)}},
        mistakes=(bad("flip", ArgumentError, r"flip: dims=2 is out of range", X, [2]),),
    ),
    Case(
        "pad",
        geometry=pad_geometry,
        oracle=pad_oracle,
        edges={
            "batch0": {"x": A((0, 2, 2)), "pad": (1, 1, 1, 1)},
            "crop_both_ends": {"x": A((2, 3, 5)), "pad": (-1, -2, 1, -1)},
            "one_pixel": {"x": A((1, 1, 1, 1)), "pad": (2, 2, 2, 2), "mode": "replicate"},
            "reflect_crops": {"x": A((3, 5)), "pad": (-1, 2), "mode": "reflect"},
            "twice_round": {"x": A((3, 4)), "pad": (4, 4, 3, 3), "mode": "circular"},
        },
        mistakes=(
            bad(
                "pad",
                ShapeError,
                r"'reflect' can add at most 2 to dimension 1 of x \(2, 3\), got 3",
                X,
                (3, 0),
                "reflect",
            ),
            bad("pad", ArgumentError, "expected two a dimension", X, (1, 2, 3), name="odd count"),
            bad(
                "pad",
                ArgumentError,
                "pad: mode='zeros' is unknown, expected one of 'constant'",
                X,
                (1, 1),
                "zeros",
                name="mode",
            ),
            bad(
                "pad",
                ShapeError,
                r"cuts 4 from dimension 1 of x \(2, 3\), which has 3",
                X,
                (-2, -2),
                name="cut too much",
            ),
            bad("pad", ShapeError, r"names 3 dimensions, but x has shape \(2, 3\)", X, (1,) * 6, name="rank"),
            bad(
                "pad",
                ArgumentError,
                r"value=1 has no meaning with mode='circular'",
                X,
                (1, 1),
                "circular",
                1,
                name="value",
            ),
        ),
        extra_bytes=lambda arrays: 8 * sum(size + 8 for size in arrays["x"].shape),
        exact=True,
    ),
]
