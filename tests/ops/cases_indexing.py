"""Cases of indexing, gathering and conversions."""

import numpy as np
from hypothesis import strategies as st

from minicnn import Tensor, ops
from minicnn.errors import DeviceError, DTypeError, IndexRangeError, ShapeError
from tests.ops.case import A, Case, Mistake, shapes

X = np.ones((2, 3))
MASK = np.array([[True, False, True], [False, False, True]])


def parts_geometry(draw):
    """A basic index: ints, slices, None and at most one ``...``."""
    shape = draw(shapes(1, 4, 4))
    parts = []
    for size in shape[: draw(st.integers(0, len(shape)))]:
        kind = draw(st.sampled_from(["int", "slice", "slice"]))
        if kind == "int":
            parts.append(draw(st.integers(-size, size - 1)))
        else:
            parts.append(draw(st.slices(size)))
    if draw(st.booleans()):
        parts.insert(draw(st.integers(0, len(parts))), None)
    parts.append(Ellipsis)
    return {"x": A(shape), "index": tuple(parts)}


def basic_oracle(x, index):
    """Each result element looked up singly."""
    shape, lookups, axis = [], [], 0
    for part in index:
        if part is None:
            shape.append(1)
            lookups.append((None, [0]))
        elif part is Ellipsis:
            break
        elif isinstance(part, slice):
            rows = list(range(*part.indices(x.shape[axis])))
            shape.append(len(rows))
            lookups.append((axis, rows))
            axis += 1
        else:
            lookups.append((axis, part))
            axis += 1
    for rest in range(axis, x.ndim):
        shape.append(x.shape[rest])
        lookups.append((rest, list(range(x.shape[rest]))))
    y = np.empty(shape)
    for index_ in np.ndindex(*shape):
        place, where = iter(index_), [0] * x.ndim
        for own, rows in lookups:
            if isinstance(rows, list):
                chosen = rows[next(place)]
                if own is not None:
                    where[own] = chosen
            else:
                where[own] = rows
        y[index_] = x[tuple(where)]
    return y


def rows_geometry(draw):
    shape = (draw(st.integers(1, 4)), *draw(shapes(1, 2, 3)))
    return {"x": A(shape), "index": A(draw(shapes(0, 2, 4)), "integers", -shape[0], shape[0])}


def rows_oracle(x, index):
    y = np.empty((*index.shape, *x.shape[1:]))
    for where in np.ndindex(index.shape):
        y[where] = x[int(index[where])]
    return y


def pairs_oracle(x, rows, columns):
    return np.array([x[int(i), :, int(j)] for i, j in zip(rows, columns, strict=True)]).reshape(len(rows), x.shape[1])


def mask_oracle(x):
    return np.array([x[i] for i in np.ndindex(x.shape) if MASK[i]])


def gather_geometry(draw):
    shape = draw(shapes(1, 3, 4))
    dim = draw(st.integers(0, len(shape) - 1))
    own = tuple(draw(st.integers(1, 5)) if d == dim else draw(st.integers(1, n)) for d, n in enumerate(shape))
    return {"x": A(shape), "dim": dim - len(shape), "index": A(own, "integers", 0, shape[dim])}


def gather_oracle(x, dim, index):
    y = np.empty(index.shape)
    for where in np.ndindex(index.shape):
        source = list(where)
        source[dim] = index[where]
        y[where] = x[tuple(source)]
    return y


def select_geometry(draw):
    shape = draw(shapes(1, 3, 4))
    dim = draw(st.integers(-len(shape), len(shape) - 1))
    return {"x": A(shape), "dim": dim, "index": A((draw(st.integers(1, 5)),), "integers", 0, shape[dim])}


def select_oracle(x, dim, index):
    rows = np.moveaxis(x, dim, 0)
    return np.moveaxis(np.array([rows[int(i)] for i in index]), 0, dim)


def index_bytes(arrays):
    return sum(8 * n for n in arrays["index"].shape)  # the counters along the other dimensions


def same(x):
    return x.copy()


def copying(op, mistake, call):
    return Case(
        op,
        geometry=lambda draw: {"x": A(draw(shapes()))},
        oracle=same,
        edges={"batch0": {"x": A((0, 3))}, "number": {"x": A(())}},
        mistakes=(mistake,),
        call=call,
    )


CASES = [
    Case(
        "getitem",
        geometry=parts_geometry,
        oracle=basic_oracle,
        edges={
            "batch0": {"x": A((0, 3)), "index": (slice(None), 1)},
            "backwards": {"x": A((4, 3)), "index": (slice(None, None, -2),)},
            "nothing": {"x": A((4, 3)), "index": (slice(3, 1),)},
        },
        mistakes=(
            Mistake("int", lambda: Tensor(X)[2], IndexRangeError, r"getitem: x of shape \(2, 3\) has no \[2\].*size 2"),
            Mistake("too many", lambda: Tensor(X)[0, 0, 0], IndexRangeError, r"no \[0, 0, 0\].*too many indices"),
            Mistake("float", lambda: Tensor(X)[0.5], DTypeError, "getitem: 0.5 is a float, expected an int, a slice"),
            Mistake(
                "float array", lambda: Tensor(X)[np.ones(2)], DTypeError, r"index array has dtype float64.*fix: .astype"
            ),
            Mistake("mask", lambda: Tensor(X)[np.ones(3, bool)], IndexRangeError, "array of shape.*boolean index"),
        ),
    ),
    Case(
        "getitem",
        label="rows",
        geometry=rows_geometry,
        oracle=rows_oracle,
        edges={"no_rows": {"x": A((3, 2)), "index": A((0,), "integers")}},
        saves=("index",),
    ),
    Case(
        "getitem",
        label="pairs",
        geometry=lambda draw: {
            "x": A((2, draw(st.integers(1, 3)), 3)),
            "rows": A((4,), "integers", -2, 2),
            "columns": A((4,), "integers", 0, 3),
        },
        oracle=pairs_oracle,
        call=lambda x, rows, columns: x[rows, :, columns],
        saves=("rows", "columns"),
    ),
    Case(
        "getitem",
        label="mask",
        geometry=lambda draw: {"x": A((2, 3))},
        oracle=mask_oracle,
        call=lambda x: x[MASK],
        extra_bytes=lambda arrays: MASK.nbytes,
    ),
    Case(
        "gather",
        geometry=gather_geometry,
        oracle=gather_oracle,
        edges={
            "nothing": {"x": A((2, 3)), "dim": 1, "index": A((2, 0), "integers")},
            "read_twice": {"x": A((2, 3)), "dim": 1, "index": A((2, 9), "integers", 0, 3)},
        },
        mistakes=(
            Mistake(
                "range",
                lambda: ops.gather(X, 1, np.array([[0, 1], [2, 3]])),
                IndexRangeError,
                r"gather: index\[1, 1\] is 3, expected 0 to 2: the dimension has size 3",
            ),
            Mistake(
                "float", lambda: ops.gather(X, 1, X), DTypeError, "gather: index has dtype float64, expected integers"
            ),
            Mistake("rank", lambda: ops.gather(X, 1, [0]), ShapeError, r"gather: index has shape \(1,\), but x has"),
        ),
        saves=("index",),
        extra_bytes=index_bytes,
    ),
    Case(
        "index_select",
        geometry=select_geometry,
        oracle=select_oracle,
        edges={"one": {"x": A((1, 1)), "dim": 0, "index": A((1,), "integers", 0, 1)}},
        mistakes=(
            Mistake(
                "negative",
                lambda: ops.index_select(X, 0, [0, -1]),
                IndexRangeError,
                r"index_select: index\[1\] is -1, expected 0 to 1",
            ),
            Mistake(
                "matrix", lambda: ops.index_select(X, 0, [[0]]), ShapeError, r"index \(1, 1\), expected .* at most 1"
            ),
        ),
        saves=("index",),
    ),
    copying("clone", Mistake("text", lambda: ops.clone("a"), DTypeError, "clone: x has dtype <U1"), ops.clone),
    copying(
        "to_device",
        Mistake("name", lambda: ops.to_device(X, "tpu"), DeviceError, "device 'tpu' is unknown; expected 'cpu'"),
        lambda x: ops.clone(ops.to_device(x, "cpu")),
    ),
    Case(
        "astype",
        geometry=lambda draw: {"x": A(draw(shapes())), "dtype": draw(st.sampled_from(["int64", "int32", "bool"]))},
        oracle=lambda x, dtype: x.astype(dtype),
        mistakes=(
            Mistake("unknown", lambda: ops.astype(X, "flo"), DTypeError, "astype: dtype='flo' is unknown"),
            Mistake("complex", lambda: ops.astype(X, complex), DTypeError, "astype: dtype complex128 is not supported"),
        ),
        gradient=False,  # in tests/test_tensor.py: float64 gradients cannot pass through float32
        nonfinite=False,  # no integer is NaN
    ),
]
