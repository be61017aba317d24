"""Cases of pooling. The oracles visit every tap of every window and ask of each whether it lies inside the image."""

import math

import numpy as np
from hypothesis import strategies as st

from minicnn import Tensor, ops
from minicnn.errors import ArgumentError, DTypeError, IndexRangeError, ShapeError
from minicnn.kernels.arrays import is_abstract
from tests.ops.case import A, Case, Mistake


def two(value):
    return value if isinstance(value, tuple) else (value, value)


def places(size, k, s, p, d, ceil_mode):
    """Where the windows of one axis start, in pixels: torch's rule."""
    count = (size + 2 * p - d * (k - 1) - 1) / s
    count = (math.ceil(count) if ceil_mode else math.floor(count)) + 1
    starts = [i * s - p for i in range(count)]
    return starts[:-1] if ceil_mode and starts[-1] >= size else starts


def windows(x, kernel_size, stride, padding, dilation, ceil_mode):
    """Yield (i, j, rows of the window, columns of the window); rows and columns may lie outside the image."""
    (kh, kw), (ph, pw), (dh, dw) = two(kernel_size), two(padding), two(dilation)
    sh, sw = two(kernel_size if stride is None else stride)
    for i, top in enumerate(places(x.shape[-2], kh, sh, ph, dh, ceil_mode)):
        for j, left in enumerate(places(x.shape[-1], kw, sw, pw, dw, ceil_mode)):
            yield i, j, [top + p * dh for p in range(kh)], [left + q * dw for q in range(kw)]


def bins(x, output_size):
    wanted = output_size if isinstance(output_size, tuple) else (output_size, output_size)
    oh, ow = (n if n is not None else size for n, size in zip(wanted, x.shape[-2:], strict=True))
    h, w = x.shape[-2:]
    for i in range(oh):
        for j in range(ow):
            rows = range(math.floor(i * h / oh), math.ceil((i + 1) * h / oh))
            yield i, j, rows, range(math.floor(j * w / ow), math.ceil((j + 1) * w / ow))


def reduced(x, covers, reduce):
    """Apply ``reduce(plane, rows, cols)``, which gives (value, index), to each window of each plane: (2, *, OH, OW)."""
    covers = list(covers)
    oh, ow = max(c[0] for c in covers) + 1, max(c[1] for c in covers) + 1
    result = np.zeros((2, *x.shape[:-2], oh, ow))
    for plane in np.ndindex(*x.shape[:-2]):
        for i, j, rows, cols in covers:
            result[(slice(None), *plane, i, j)] = reduce(x[plane], rows, cols)
    return result


def largest(plane, rows, cols):
    inside = [(r, c) for r in rows for c in cols if 0 <= r < plane.shape[0] and 0 <= c < plane.shape[1]]
    if not inside:
        return -np.inf, -1
    broken = [at for at in inside if np.isnan(plane[at])]
    best = broken[-1] if broken else max(inside, key=lambda at: plane[at])  # max takes the first of equals
    return plane[best], best[0] * plane.shape[1] + best[1]


def smallest(plane, rows, cols):
    value, where = largest(-plane, rows, cols)
    return -value, where


def extreme_oracle(pick):
    def oracle(x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
        y, index = reduced(x, windows(x, kernel_size, stride, padding, dilation, ceil_mode), pick)
        return (y, index.astype(np.int64)) if return_indices else y

    return oracle


def avg_oracle(x, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None):
    ph, pw = two(padding)

    def mean(plane, rows, cols):
        h, w = plane.shape
        taps = [(r, c) for r in rows for c in cols if r < h + ph and c < w + pw]  # beyond the padding: never counted
        inside = [(r, c) for r, c in taps if 0 <= r < h and 0 <= c < w]
        divisor = divisor_override or (len(taps) if count_include_pad else len(inside))
        return sum(plane[at] for at in inside) / divisor, -1

    return reduced(x, windows(x, kernel_size, stride, padding, 1, ceil_mode), mean)[0]


def adaptive_max_oracle(x, output_size=1, return_indices=False):
    y, index = reduced(x, bins(x, output_size), largest)
    return (y, index.astype(np.int64)) if return_indices else y


def adaptive_avg_oracle(x, output_size=1):
    def mean(plane, rows, cols):
        return sum(plane[r, c] for r in rows for c in cols) / (len(rows) * len(cols)), -1

    return reduced(x, bins(x, output_size), mean)[0]


def unpool_oracle(x, indices, kernel_size, stride=None, padding=0, output_size=None):
    (kh, kw), (ph, pw) = two(kernel_size), two(padding)
    sh, sw = two(kernel_size if stride is None else stride)
    h, w = x.shape[-2:]
    oh, ow = output_size[-2:] if output_size else ((h - 1) * sh - 2 * ph + kh, (w - 1) * sw - 2 * pw + kw)
    y = np.zeros((*x.shape[:-2], oh, ow))
    for *plane, i, j in np.ndindex(*x.shape):
        r, c = divmod(int(indices[(*plane, i, j)]), ow)
        y[(*plane, r, c)] = x[(*plane, i, j)]
    return y


side = st.integers(1, 3)


def image(draw, least, kind):
    h, w = draw(st.integers(least[0], least[0] + 5)), draw(st.integers(least[1], least[1] + 5))
    shape = (draw(side), h, w) if draw(st.booleans()) else (draw(st.integers(1, 2)), draw(side), h, w)
    return A(shape, kind)


def window_geometry(draw, kind, dilated=True):
    kernel = (draw(side), draw(side))
    padding = tuple(draw(st.integers(0, k // 2)) for k in kernel)
    dilation = (draw(side), draw(side)) if dilated else (1, 1)
    span = [d * (k - 1) + 1 - 2 * p for d, k, p in zip(dilation, kernel, padding, strict=True)]
    geometry = {
        "x": image(draw, [max(n, d) for n, d in zip(span, dilation, strict=True)], kind),  # every window has a tap
        "kernel_size": kernel,
        "stride": draw(st.one_of(st.none(), side, st.tuples(side, st.integers(1, 4)))),
        "padding": padding,
        "ceil_mode": draw(st.booleans()),
    }
    return geometry | ({"dilation": dilation} if dilated else {})


def avg_geometry(draw):
    return window_geometry(draw, "normal", dilated=False) | {
        "count_include_pad": draw(st.booleans()),
        "divisor_override": draw(st.sampled_from([None, None, 3])),
    }


def adaptive_geometry(draw, kind="normal"):
    length = st.one_of(st.none(), st.integers(1, 6))
    return {
        "x": image(draw, (1, 1), kind),
        "output_size": draw(st.one_of(st.integers(1, 6), st.tuples(length, length))),
    }


def unpool_geometry(draw):
    h, w, batch = draw(side), draw(side), draw(st.sampled_from([(2,), (2, 2)]))
    stride = draw(st.integers(1, 3))
    output_size = draw(st.sampled_from([None, ((h - 1) * stride + 2, (w - 1) * stride + 2)]))
    high = ((h - 1) * stride + 2) * ((w - 1) * stride + 2)
    return {
        "x": A((*batch, h, w)),
        "indices": A((*batch, h, w), "integers", 0, high),
        "kernel_size": 2,
        "stride": stride,
        "output_size": output_size,
    }


def window_edges(kind):
    return {
        "batch0": {"x": A((0, 2, 4, 4), kind), "kernel_size": 2},
        "no channels": {"x": A((2, 0, 4, 4), kind), "kernel_size": 2},
        "one_pixel": {"x": A((1, 1, 1, 1), kind), "kernel_size": 1},
        "stride_gt_kernel": {"x": A((2, 2, 7, 8), kind), "kernel_size": 2, "stride": (3, 5)},
        "padding_half_kernel": {"x": A((1, 2, 2, 3), kind), "kernel_size": (4, 5), "stride": 1, "padding": 2},
        "ceil drops the last window": {"x": A((1, 1, 3, 4), kind), "kernel_size": 1, "stride": 3, "ceil_mode": True},
        "ceil window hangs over": {"x": A((1, 1, 2, 2), kind), "kernel_size": 3, "stride": 2, "ceil_mode": True},
        "ceil and padding": {
            "x": A((1, 2, 5, 6), kind),
            "kernel_size": 3,
            "stride": (3, 2),
            "padding": 1,
            "ceil_mode": True,
        },
    }


IMAGE = np.zeros((1, 1, 4, 4), np.float32)


def window_mistakes(op):
    call = getattr(ops, op)
    return (
        Mistake("padding_over_half", lambda: call(IMAGE, 3, padding=2), ShapeError, rf"{op}: padding=2 .*half.*fix"),
        Mistake("negative_padding", lambda: call(IMAGE, 3, padding=-1), ArgumentError, rf"{op}: padding=-1 .*least 0"),
        Mistake("stride_0", lambda: call(IMAGE, 3, stride=0), ArgumentError, rf"{op}: stride=0 .*at least 1"),
        Mistake("kernel_0", lambda: call(IMAGE, 0), ArgumentError, rf"{op}: kernel_size=0 .*at least 1"),
        Mistake("window_too_large", lambda: call(IMAGE, 5), ShapeError, rf"{op}: the window spans 5 .*only 4.*fix"),
        Mistake("two_dimensions", lambda: call(IMAGE[0, 0], 2), ShapeError, rf"{op}: x has shape \(4, 4\).*C, H, W"),
        Mistake("no_pixel", lambda: call(IMAGE[:, :, :0], 1), ShapeError, rf"{op}: .*\(1, 1, 0, 4\).*at least 1 x 1"),
        Mistake("uint8", lambda: call(IMAGE.astype(np.uint8), 2), DTypeError, rf"{op}: x has dtype uint8.*fix"),
    )


def extreme_cases(op, pick):
    def with_ties(x):
        whole = x if is_abstract(x.data) else Tensor(np.round(x.numpy()), device=x.device)
        return getattr(ops, op)(whole, 3, 2, 1, return_indices=True)

    return [
        Case(
            op,
            geometry=lambda draw: window_geometry(draw, "distinct") | {"return_indices": draw(st.booleans())},
            oracle=extreme_oracle(pick),
            edges={name: edge | {"return_indices": True} for name, edge in window_edges("distinct").items()},
            mistakes=window_mistakes(op),
            saves=("y",),  # int32 positions: no larger than y
        ),
        Case(
            op,
            label="ties",
            geometry=lambda draw: {"x": A((2, draw(side), draw(st.integers(1, 7)), 6))},
            oracle=lambda x: extreme_oracle(pick)(np.round(x), 3, 2, 1, return_indices=True),
            call=with_ties,
            gradient=False,  # rounded on the way
        ),
        Case(
            op,
            label="no_tap",
            # two rows, the taps at rows -1 and 2: y is infinite, which no difference quotient survives
            geometry=lambda draw: {
                "x": A((2, draw(side), 2, draw(st.integers(1, 6))), "distinct"),
                "kernel_size": (2, 1),
                "padding": (1, 0),
                "dilation": (3, 1),
                "return_indices": True,
            },
            oracle=extreme_oracle(pick),
            gradient=False,
        ),
    ]


def global_case(op, oracle, kind, saves=()):
    call = getattr(ops, op)
    return Case(
        op,
        geometry=lambda draw: {"x": image(draw, (1, 1), kind)},
        oracle=oracle,
        edges={"batch0": {"x": A((0, 2, 3, 3))}, "one_pixel": {"x": A((1, 1, 1, 1))}},
        mistakes=(Mistake("two_dimensions", lambda: call(IMAGE[0, 0]), ShapeError, rf"{op}: x has shape \(4, 4\)"),),
        saves=saves,
    )


def adaptive_mistakes(op):
    call = getattr(ops, op)
    return (
        Mistake("output_0", lambda: call(IMAGE, 0), ArgumentError, rf"{op}: output_size=.*0.*at least 1"),
        Mistake("three_numbers", lambda: call(IMAGE, (1, 2, 3)), ArgumentError, rf"{op}: output_size=.*3 numbers"),
        Mistake("no_pixel", lambda: call(IMAGE[..., :0], 1), ShapeError, rf"{op}: .*\(1, 1, 4, 0\).*at least 1 x 1"),
    )


ADAPTIVE_EDGES = {
    "batch0": {"x": A((0, 2, 3, 3)), "output_size": 2},
    "one_pixel": {"x": A((1, 1, 1, 1)), "output_size": (3, 2)},
    "more bins than pixels": {"x": A((1, 2, 3, 2), "distinct"), "output_size": (5, 7)},
    "None keeps the length": {"x": A((2, 5, 4), "distinct"), "output_size": (None, 3)},
}


ZERO = np.zeros((1, 1, 2, 2), np.int64)

CASES = [
    *extreme_cases("max_pool2d", largest),
    *extreme_cases("min_pool2d", smallest),
    Case(
        "avg_pool2d",
        geometry=avg_geometry,
        oracle=avg_oracle,
        edges=window_edges("normal")
        | {
            "padding not counted": {
                "x": A((1, 2, 5, 6)),
                "kernel_size": 3,
                "stride": (3, 2),
                "padding": 1,
                "ceil_mode": True,
                "count_include_pad": False,
            },
            "divisor": {"x": A((1, 1, 3, 3)), "kernel_size": 2, "divisor_override": 7},
        },
        mistakes=(
            *window_mistakes("avg_pool2d"),
            Mistake(
                "divisor_0",
                lambda: ops.avg_pool2d(IMAGE, 2, divisor_override=0),
                ArgumentError,
                "avg_pool2d: divisor_override=0 .*at least 1",
            ),
        ),
    ),
    Case(
        "adaptive_avg_pool2d",
        geometry=adaptive_geometry,
        oracle=adaptive_avg_oracle,
        edges=ADAPTIVE_EDGES,
        mistakes=adaptive_mistakes("adaptive_avg_pool2d"),
    ),
    Case(
        "adaptive_max_pool2d",
        geometry=lambda draw: adaptive_geometry(draw, "distinct") | {"return_indices": draw(st.booleans())},
        oracle=adaptive_max_oracle,
        edges={name: edge | {"return_indices": True} for name, edge in ADAPTIVE_EDGES.items()},
        mistakes=adaptive_mistakes("adaptive_max_pool2d"),
        saves=("y",),
    ),
    global_case("global_avg_pool2d", adaptive_avg_oracle, "normal"),
    global_case("global_max_pool2d", adaptive_max_oracle, "distinct", saves=("y",)),
    Case(
        "max_unpool2d",
        geometry=unpool_geometry,
        oracle=unpool_oracle,
        edges={
            "batch0": {"x": A((0, 1, 2, 2)), "indices": A((0, 1, 2, 2), "integers"), "kernel_size": 2},
            "one_pixel": {"x": A((1, 1, 1, 1)), "indices": A((1, 1, 1, 1), "integers", 0, 1), "kernel_size": 1},
            "all at one place": {"x": A((1, 2, 3, 3)), "indices": A((1, 2, 3, 3), "integers", 5, 6), "kernel_size": 2},
            "padding": {
                "x": A((2, 3, 3)),
                "indices": A((2, 3, 3), "integers", 0, 25),
                "kernel_size": 3,
                "stride": 2,
                "padding": 1,
            },
        },
        saves=("indices",),
        mistakes=(
            Mistake(
                "index_outside",
                lambda: ops.max_unpool2d(IMAGE[..., :2, :2], ZERO + np.array([[0, 0], [0, 16]]), 2),
                IndexRangeError,
                r"max_unpool2d: indices\[0, 0, 1, 1\] is 16, outside .*4 x 4.*fix",
            ),
            Mistake(
                "index_-1",
                lambda: ops.max_unpool2d(IMAGE[..., :2, :2], ZERO - 1, 2),
                IndexRangeError,
                "max_unpool2d: .* is -1",
            ),
            Mistake(
                "float_indices",
                lambda: ops.max_unpool2d(IMAGE[..., :2, :2], IMAGE[..., :2, :2], 2),
                DTypeError,
                "max_unpool2d: indices has dtype float32, expected the integers",
            ),
            Mistake(
                "other_shape",
                lambda: ops.max_unpool2d(IMAGE, ZERO, 2),
                ShapeError,
                r"max_unpool2d: indices has shape \(1, 1, 2, 2\), expected .*\(1, 1, 4, 4\)",
            ),
            Mistake(
                "impossible_size",
                lambda: ops.max_unpool2d(IMAGE[..., :2, :2], ZERO, 2, output_size=(6, 4)),
                ShapeError,
                r"max_unpool2d: output_size=\(6, 4\) differs from \(4, 4\).*fix",
            ),
        ),
    ),
]
