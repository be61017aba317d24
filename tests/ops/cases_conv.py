"""Cases of the linear layer and the convolutions."""

import numpy as np
from hypothesis import strategies as st

from minicnn import ops
from minicnn.errors import ArgumentError, DTypeError, ShapeError
from tests.ops.case import A, Case, Mistake, shapes


def both(value):
    return tuple(value) if isinstance(value, tuple) else (value, value)


def sides(padding, kernel=(1, 1), dilation=(1, 1)):
    """((top, bottom), (left, right)) in numbers."""
    if padding == "same":
        total = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        return tuple((t // 2, t - t // 2) for t in total)
    return ((0, 0), (0, 0)) if padding == "valid" else tuple(both(side) for side in both(padding))


def padded(x, padding):
    (top, bottom), (left, right) = padding
    n, c, h, w = x.shape
    big = np.zeros((n, c, h + top + bottom, w + left + right), x.dtype)
    big[:, :, top : top + h, left : left + w] = x
    return big


def conv2d_oracle(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    if x.ndim == 3:
        return conv2d_oracle(x[None], weight, bias, stride, padding, dilation, groups)[0]
    (sh, sw), (dh, dw) = both(stride), both(dilation)
    k_count, c_count, kh, kw = weight.shape
    big = padded(x, sides(padding, (kh, kw), (dh, dw)))
    oh, ow = (big.shape[2] - dh * (kh - 1) - 1) // sh + 1, (big.shape[3] - dw * (kw - 1) - 1) // sw + 1
    y = np.zeros((len(x), k_count, oh, ow))
    for n, k, i, j in np.ndindex(y.shape):
        first = k // (k_count // groups) * c_count
        seen = big[n, first : first + c_count, taps(i * sh, kh, dh), taps(j * sw, kw, dw)]
        y[n, k, i, j] = (weight[k] * seen).sum() + (0.0 if bias is None else bias[k])
    return y


def taps(first, count, step):
    """Where ``count`` taps ``step`` apart lie, the first at ``first``."""
    return slice(first, first + step * (count - 1) + 1, step)


def conv_transpose2d_oracle(x, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
    if x.ndim == 3:
        return conv_transpose2d_oracle(x[None], weight, bias, stride, padding, output_padding, groups, dilation)[0]
    (sh, sw), (dh, dw), (eh, ew) = both(stride), both(dilation), both(output_padding)
    (top, bottom), (left, right) = sides(padding)
    c_count, k_count, kh, kw = weight.shape
    n_count, _, h, w = x.shape
    full = np.zeros(
        (n_count, k_count * groups, (h - 1) * sh + dh * (kh - 1) + 1 + eh, (w - 1) * sw + dw * (kw - 1) + 1 + ew)
    )
    for n, c, i, j in np.ndindex(x.shape):
        first = c // (c_count // groups) * k_count
        full[n, first : first + k_count, taps(i * sh, kh, dh), taps(j * sw, kw, dw)] += x[n, c, i, j] * weight[c]
    y = full[:, :, top : full.shape[2] - bottom, left : full.shape[3] - right]
    return y if bias is None else y + bias[None, :, None, None]


def unfold_oracle(x, kernel_size, dilation=1, padding=0, stride=1):
    if x.ndim == 3:
        return unfold_oracle(x[None], kernel_size, dilation, padding, stride)[0]
    (kh, kw), (sh, sw), (dh, dw) = both(kernel_size), both(stride), both(dilation)
    big = padded(x, sides(padding, (kh, kw), (dh, dw)))
    oh, ow = (big.shape[2] - dh * (kh - 1) - 1) // sh + 1, (big.shape[3] - dw * (kw - 1) - 1) // sw + 1
    y = np.zeros((len(x), x.shape[1], kh, kw, oh, ow))
    for n, c, p, q, i, j in np.ndindex(y.shape):
        y[n, c, p, q, i, j] = big[n, c, i * sh + p * dh, j * sw + q * dw]
    return y.reshape(len(x), x.shape[1] * kh * kw, oh * ow)


def fold_oracle(x, output_size, kernel_size, dilation=1, padding=0, stride=1):
    if x.ndim == 2:
        return fold_oracle(x[None], output_size, kernel_size, dilation, padding, stride)[0]
    (kh, kw), (sh, sw), (dh, dw), (h, w) = both(kernel_size), both(stride), both(dilation), both(output_size)
    (top, bottom), (left, right) = sides(padding, (kh, kw), (dh, dw))
    oh, ow = (h + top + bottom - dh * (kh - 1) - 1) // sh + 1, (w + left + right - dw * (kw - 1) - 1) // sw + 1
    taps = x.reshape(len(x), x.shape[1] // (kh * kw), kh, kw, oh, ow)
    big = np.zeros((len(x), taps.shape[1], h + top + bottom, w + left + right))
    for n, c, p, q, i, j in np.ndindex(taps.shape):
        big[n, c, i * sh + p * dh, j * sw + q * dw] += taps[n, c, p, q, i, j]
    return big[:, :, top : top + h, left : left + w]


def linear_oracle(x, weight, bias=None):
    y = np.zeros((*x.shape[:-1], len(weight)))
    for index in np.ndindex(y.shape):
        y[index] = 0.0 if bias is None else bias[index[-1]]
        for i in range(weight.shape[1]):
            y[index] += x[(*index[:-1], i)] * weight[index[-1], i]
    return y


def linear_geometry(draw):
    lead, inputs, outputs = draw(shapes(0, 3, 4)), draw(st.integers(1, 6)), draw(st.integers(1, 5))
    bias = A((outputs,)) if draw(st.booleans()) else None
    return {"x": A((*lead, inputs)), "weight": A((outputs, inputs)), "bias": bias}


def one_or_two(draw, low, high):
    numbers = st.integers(low, high)
    return draw(st.one_of(numbers, st.tuples(numbers, numbers)))


def conv_geometry(draw, groups=(1, 2), channels=(1, 3), pointwise=False):
    group_count, c, k = draw(st.integers(*groups)), draw(st.integers(*channels)), draw(st.integers(1, 3))
    kh, kw = (1, 1) if pointwise else (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    stride, dilation = (1, 1) if pointwise else (one_or_two(draw, 1, 3), one_or_two(draw, 1, 2))
    number = st.integers(0, 3)
    pair = st.tuples(number, number)
    kinds = [number, pair, st.tuples(pair, pair), st.just("valid")]
    if both(stride) == (1, 1):
        kinds.append(st.just("same"))
    padding = 0 if pointwise else draw(st.one_of(kinds))
    dh, dw = both(dilation)
    (top, bottom), (left, right) = sides(padding, (kh, kw), (dh, dw))
    h = max(draw(st.integers(1, 6)), dh * (kh - 1) + 1 - top - bottom)
    w = max(draw(st.integers(1, 6)), dw * (kw - 1) + 1 - left - right)
    batch = draw(st.sampled_from([(), (1,), (2,), (3,)]))
    return {
        "x": A((*batch, group_count * c, h, w)),
        "weight": A((group_count * k, c, kh, kw)),
        "bias": A((group_count * k,)) if draw(st.booleans()) else None,
        "stride": stride,
        "padding": padding,
        "dilation": dilation,
        "groups": group_count,
    }


def transposed_geometry(draw, groups=(1, 2), channels=(1, 3)):
    group_count, c, k = draw(st.integers(*groups)), draw(st.integers(*channels)), draw(st.integers(1, 3))
    kh, kw = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    (sh, sw), (dh, dw) = [draw(st.tuples(st.integers(1, 3), st.integers(1, 2))) for _ in range(2)]
    extra = draw(st.integers(0, max(sh, dh) - 1)), draw(st.integers(0, max(sw, dw) - 1))
    h, w = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    full = (h - 1) * sh + dh * (kh - 1) + extra[0], (w - 1) * sw + dw * (kw - 1) + extra[1]  # at padding 0, less 1
    top, left = draw(st.integers(0, min(3, full[0]))), draw(st.integers(0, min(3, full[1])))
    bottom, right = draw(st.integers(0, min(3, full[0] - top))), draw(st.integers(0, min(3, full[1] - left)))
    return {
        "x": A((*draw(st.sampled_from([(), (1,), (2,)])), group_count * c, h, w)),
        "weight": A((group_count * c, k, kh, kw)),
        "bias": A((group_count * k,)) if draw(st.booleans()) else None,
        "stride": (sh, sw),
        "padding": ((top, bottom), (left, right)),
        "output_padding": extra,
        "groups": group_count,
        "dilation": (dh, dw),
    }


def unfold_geometry(draw):
    g = conv_geometry(draw)
    names = ("dilation", "padding", "stride")
    return {"x": g["x"], "kernel_size": g["weight"].shape[2:], **{name: g[name] for name in names}}


def fold_geometry(draw):
    g = unfold_geometry(draw)
    shape = g["x"].shape
    with_columns = unfold_oracle(np.zeros(shape), **{name: g[name] for name in g if name != "x"}).shape
    return {**g, "x": A(with_columns), "output_size": shape[-2:]}


def image(*shape, kind="f4"):
    return np.ones(shape, kind)


def conv_mistake(name, match, error=ShapeError, x=(1, 4, 6, 6), weight=(2, 4, 3, 3), bias=None, **options):
    def call():
        return ops.conv2d(image(*x), image(*weight), None if bias is None else image(*bias), **options)

    return Mistake(name, call, error, match)


def transposed_mistake(name, match, error=ShapeError, x=(1, 4, 6, 6), weight=(4, 2, 3, 3), bias=None, **options):
    def call():
        return ops.conv_transpose2d(image(*x), image(*weight), None if bias is None else image(*bias), **options)

    return Mistake(name, call, error, match)


CONV_EDGES = {
    "batch0": {"x": A((0, 3, 5, 5)), "weight": A((2, 3, 3, 3)), "bias": A((2,))},
    "one_pixel": {"x": A((2, 3, 1, 1)), "weight": A((2, 3, 1, 1)), "bias": A((2,))},
    "stride_gt_kernel": {"x": A((2, 2, 9, 8)), "weight": A((3, 2, 2, 2)), "bias": None, "stride": (4, 3)},
    "padding_ge_kernel": {"x": A((2, 2, 4, 4)), "weight": A((3, 2, 3, 2)), "bias": A((3,)), "padding": (4, 3)},
    "no_tap": {"x": A((2, 1, 1, 2)), "weight": A((2, 1, 2, 2)), "bias": A((2,)), "padding": 2, "dilation": 3},
    "asymmetric": {"x": A((1, 2, 5, 4)), "weight": A((2, 2, 3, 3)), "bias": None, "padding": ((0, 3), (2, 1))},
    "same_even_kernel": {"x": A((1, 2, 5, 4)), "weight": A((2, 2, 4, 2)), "bias": None, "padding": "same"},
    "unbatched": {"x": A((2, 5, 4)), "weight": A((2, 2, 3, 3)), "bias": A((2,))},
}

DEPTHWISE_EDGES = {
    "batch0": {"x": A((0, 3, 5, 5)), "weight": A((3, 1, 3, 3)), "bias": A((3,)), "groups": 3},
    "one_pixel": {"x": A((2, 2, 1, 1)), "weight": A((2, 1, 1, 1)), "bias": A((2,)), "groups": 2},
    "stride_gt_kernel": {"x": A((2, 2, 9, 8)), "weight": A((4, 1, 2, 2)), "bias": None, "stride": (4, 3), "groups": 2},
    "padding_ge_kernel": {"x": A((2, 2, 4, 6)), "weight": A((2, 1, 3, 3)), "bias": None, "padding": 5, "groups": 2},
    "no_tap": {
        "x": A((2, 2, 1, 2)),
        "weight": A((2, 1, 2, 3)),
        "bias": A((2,)),
        "padding": 3,
        "dilation": 3,
        "groups": 2,
    },
}

POINTWISE = {"x": A((2, 2, 3, 3)), "weight": A((2, 2, 1, 1)), "bias": None, "dilation": 2}
TRANSPOSED_EDGES = {
    "batch0": {"x": A((0, 3, 5, 5)), "weight": A((3, 2, 3, 3)), "bias": A((2,))},
    "one_pixel": {"x": A((2, 3, 1, 1)), "weight": A((3, 2, 1, 1)), "bias": A((2,))},
    "stride_gt_kernel": {"x": A((2, 2, 3, 2)), "weight": A((2, 3, 2, 2)), "bias": A((3,)), "stride": (4, 3)},
    "padding_ge_kernel": {"x": A((2, 2, 9, 9)), "weight": A((2, 3, 3, 2)), "bias": None, "padding": (4, 3)},
    "no_tap": {"x": A((1, 1, 2, 3)), "weight": A((1, 2, 2, 2)), "bias": None, "padding": ((1, 3), 2), "dilation": 4},
    "pointwise_line_to_column": {
        **POINTWISE,
        "x": A((2, 2, 1, 2)),
        "padding": ((0, 0), (1, 0)),
        "output_padding": (1, 0),
    },
    "pointwise_shifted": {**POINTWISE, "padding": ((1, 0), (0, 0)), "output_padding": (1, 0)},
    "pointwise_with_output_padding": {
        "x": A((1, 2, 3, 3)),
        "weight": A((2, 2, 1, 1)),
        "bias": A((2,)),
        "output_padding": 1,
        "dilation": 2,
    },
    "unbatched": {"x": A((2, 3, 3)), "weight": A((2, 2, 2, 2)), "bias": A((2,)), "stride": 2},
}

CONV_MISTAKES = (
    conv_mistake(
        "channels", r"conv2d: x has 4 channels.*expects 3; fix: a weight of shape \(2, 4", weight=(2, 3, 3, 3)
    ),
    conv_mistake("groups and filters", "conv2d: groups=2 does not divide the 3 filters", weight=(3, 2, 3, 3), groups=2),
    conv_mistake(
        "groups and channels", "conv2d: groups=3 does not divide the 4 channels", weight=(3, 2, 3, 3), groups=3
    ),
    conv_mistake("zero groups", "conv2d: groups=0 is too small", ArgumentError, groups=0),
    conv_mistake("bias length", r"conv2d: bias has shape \(3,\), expected \(2,\)", bias=(3,)),
    conv_mistake("window too large", "conv2d: the window spans 9 pixels of height.*has only 8", padding=1, dilation=4),
    conv_mistake("negative padding", "conv2d: padding=-1 is too small", ArgumentError, padding=-1),
    conv_mistake("zero stride", "conv2d: stride=0 is too small", ArgumentError, stride=0),
    conv_mistake("zero dilation", "conv2d: dilation=0 is too small", ArgumentError, dilation=0),
    conv_mistake("fractional stride", "conv2d: stride=1.5 is a float", ArgumentError, stride=1.5),
    conv_mistake("unknown padding", "conv2d: padding='full' is unknown", ArgumentError, padding="full"),
    conv_mistake("same with stride", "conv2d: padding='same' needs stride 1", ArgumentError, padding="same", stride=2),
    conv_mistake("weight rank", r"conv2d: weight has shape \(2, 4, 3\), expected \(K, C/groups", weight=(2, 4, 3)),
    conv_mistake("x rank", r"conv2d: x has shape \(6, 6\), expected \(N, C, H, W\)", x=(6, 6)),
    conv_mistake("empty image", "conv2d: the image has height 0", x=(1, 4, 0, 6)),
    conv_mistake("empty kernel", "conv2d: kernel_size=.*0.*too small", ArgumentError, weight=(2, 4, 0, 3)),
    Mistake(
        "mixed dtypes",
        lambda: ops.conv2d(image(1, 4, 6, 6, kind="f8"), image(2, 4, 3, 3)),
        DTypeError,
        "conv2d: weight has dtype float32, but x has float64",
    ),
    Mistake(
        "integer images",
        lambda: ops.conv2d(image(1, 4, 6, 6, kind="u1"), image(2, 4, 3, 3)),
        DTypeError,
        "conv2d: x has dtype uint8.*divided by 255",
    ),
)

CASES = [
    Case(
        "linear",
        geometry=linear_geometry,
        oracle=linear_oracle,
        edges={
            "batch0": {"x": A((0, 3)), "weight": A((2, 3)), "bias": A((2,))},
            "one_vector": {"x": A((3,)), "weight": A((2, 3)), "bias": A((2,))},
        },
        mistakes=(
            Mistake(
                "features",
                lambda: ops.linear(image(2, 400), image(10, 120)),
                ShapeError,
                r"linear: x has shape \(2, 400\).*last dimension to be 120; fix: flatten",
            ),
            Mistake(
                "weight rank", lambda: ops.linear(image(2, 4), image(4)), ShapeError, r"linear: weight has shape \(4,\)"
            ),
            Mistake(
                "bias length",
                lambda: ops.linear(image(2, 4), image(3, 4), image(4)),
                ShapeError,
                r"linear: bias has shape \(4,\), expected \(3,\)",
            ),
        ),
        saves=("x", "weight"),
    ),
    Case(
        "conv2d",
        geometry=conv_geometry,
        oracle=conv2d_oracle,
        edges=CONV_EDGES,
        mistakes=CONV_MISTAKES,
        saves=("x", "weight"),
    ),
    Case(
        "conv2d",
        label="groups",
        geometry=lambda draw: conv_geometry(draw, groups=(2, 3), channels=(1, 6)),
        oracle=conv2d_oracle,
        edges=DEPTHWISE_EDGES,
        saves=("x", "weight"),
    ),
    Case(
        "conv_transpose2d",
        geometry=transposed_geometry,
        oracle=conv_transpose2d_oracle,
        edges=TRANSPOSED_EDGES,
        mistakes=(
            transposed_mistake("channels", r"x has 4 channels.*expects 3; fix: .*\(4, 2", weight=(3, 2, 3, 3)),
            transposed_mistake("groups", "groups=3 does not divide the 4 filters", groups=3),
            transposed_mistake("bias length", r"bias has shape \(4,\), expected \(2,\)", bias=(4,)),
            transposed_mistake(
                "output padding", "output_padding=2 is too large.*stride 2", ArgumentError, stride=2, output_padding=2
            ),
            transposed_mistake("same", "padding='same' is not defined here", ArgumentError, padding="same"),
            transposed_mistake("no pixel left", r"padding=4 gives an output of \(0, 0\)", padding=4),
            transposed_mistake("weight rank", r"weight has shape \(4, 2\), expected \(C, K/groups", weight=(4, 2)),
            transposed_mistake("x rank", r"conv_transpose2d: x has shape \(4,\)", x=(4,)),
            transposed_mistake("zero stride", "conv_transpose2d: stride=0 is too small", ArgumentError, stride=0),
        ),
        saves=("x", "weight"),
    ),
    Case(
        "conv_transpose2d",
        label="groups",
        geometry=lambda draw: transposed_geometry(draw, groups=(2, 3), channels=(1, 2)),
        oracle=conv_transpose2d_oracle,
        saves=("x", "weight"),
    ),
    Case(
        "unfold",
        geometry=unfold_geometry,
        oracle=unfold_oracle,
        edges={
            "batch0": {"x": A((0, 2, 4, 4)), "kernel_size": 2},
            "one_pixel": {"x": A((2, 2, 1, 1)), "kernel_size": 1},
            "stride_gt_kernel": {"x": A((2, 2, 9, 8)), "kernel_size": 2, "stride": (4, 3)},
            "padding_ge_kernel": {"x": A((1, 2, 3, 3)), "kernel_size": (2, 3), "padding": 3},
            "no_tap": {"x": A((1, 1, 1, 2)), "kernel_size": 2, "padding": 2, "dilation": 3},
        },
        mistakes=(
            Mistake(
                "window too large",
                lambda: ops.unfold(image(1, 2, 4, 4), 5),
                ShapeError,
                "unfold: the window spans 5 pixels of height",
            ),
            Mistake("x rank", lambda: ops.unfold(image(4, 4), 2), ShapeError, r"unfold: x has shape \(4, 4\)"),
        ),
    ),
    Case(
        "fold",
        geometry=fold_geometry,
        oracle=fold_oracle,
        edges={
            "batch0": {"x": A((0, 8, 9)), "output_size": 4, "kernel_size": 2},
            "one_pixel": {"x": A((2, 3, 1)), "output_size": 1, "kernel_size": 1},
            "stride_gt_kernel": {"x": A((2, 8, 6)), "output_size": (9, 8), "kernel_size": 2, "stride": (4, 3)},
            "padding_ge_kernel": {"x": A((1, 4, 64)), "output_size": 3, "kernel_size": 2, "padding": 3},
            "no_tap": {"x": A((1, 4, 6)), "output_size": (1, 2), "kernel_size": 2, "padding": 2, "dilation": 3},
        },
        mistakes=(
            Mistake(
                "rows",
                lambda: ops.fold(image(1, 7, 9), 4, 2),
                ShapeError,
                "fold: x has 7 rows.*multiple of the 4 taps",
            ),
            Mistake(
                "columns",
                lambda: ops.fold(image(1, 8, 8), 4, 2),
                ShapeError,
                r"fold: x has 8 columns.*image of \(4, 4\) has 3 x 3 = 9",
            ),
            Mistake("x rank", lambda: ops.fold(image(8), 4, 2), ShapeError, r"fold: x has shape \(8,\)"),
        ),
    ),
]
