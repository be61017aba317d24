"""Cases of sampling and shuffling. The oracles weigh every pixel of the image by a hat function round the place."""

import math
from fractions import Fraction

import numpy as np
from hypothesis import strategies as st

from minicnn import ops
from minicnn.errors import ArgumentError, DTypeError, ShapeError
from minicnn.record import record
from tests.ops.case import A, Case, Mistake

side = st.integers(1, 3)
length = st.integers(1, 6)


def read(plane, v, u):
    """The plane at row ``v``, column ``u``: pixels weighted by nearness, those of weight 0 not read."""
    total = 0.0
    for r in range(plane.shape[0]):
        for c in range(plane.shape[1]):
            share = max(0.0, 1 - abs(v - r)) * max(0.0, 1 - abs(u - c))
            if share:
                total += share * plane[r, c]
    return total


# ---- affine_grid


def affine_oracle(theta, size, align_corners=False):
    n, _, oh, ow = size
    grid = np.zeros((n, oh, ow, 2))

    def places(count):
        if align_corners:
            return np.linspace(-1, 1, count) if count > 1 else [0.0]
        return [-1 + (2 * i + 1) / count for i in range(count)]

    for m in range(n):
        for i, y in enumerate(places(oh)):
            for j, x in enumerate(places(ow)):
                for axis in (0, 1):
                    grid[m, i, j, axis] = theta[m, axis, 0] * x + theta[m, axis, 1] * y + theta[m, axis, 2]
    return grid


def affine_geometry(draw):
    n = draw(side)
    return {
        "theta": A((n, 2, 3)),
        "size": (n, draw(side), draw(length), draw(length)),
        "align_corners": draw(st.booleans()),
    }


AFFINE = Case(
    "affine_grid",
    geometry=affine_geometry,
    oracle=affine_oracle,
    exact=False,  # the places are fractions
    edges={
        "batch0": {"theta": A((0, 2, 3)), "size": (0, 1, 2, 2)},
        "one_pixel": {"theta": A((1, 2, 3)), "size": (1, 1, 1, 1)},
        "one_pixel_corners": {"theta": A((1, 2, 3)), "size": (1, 1, 1, 1), "align_corners": True},
    },
    mistakes=(
        Mistake(
            "volume",
            lambda: ops.affine_grid(np.zeros((1, 3, 4)), (1, 1, 2, 2, 2)),
            ShapeError,
            r"affine_grid: theta has shape \(1, 3, 4\), expected \(N, 2, 3\)",
        ),
        Mistake(
            "size_of_two",
            lambda: ops.affine_grid(np.zeros((1, 2, 3)), (4, 4)),
            ArgumentError,
            r"affine_grid: size=\(4, 4\), expected \(N, C, H, W\)",
        ),
        Mistake(
            "other_batch",
            lambda: ops.affine_grid(np.zeros((1, 2, 3)), (2, 1, 4, 4)),
            ShapeError,
            "affine_grid: .* 2 images, but theta has 1",
        ),
    ),
)


# ---- grid_sample


def mirrored(u, low, high):
    if low == high:
        return 0.0
    while not low <= u <= high:
        u = 2 * low - u if u < low else 2 * high - u
    return u


def position(g, size, padding_mode, align_corners):
    u = (g + 1) / 2 * (size - 1) if align_corners else ((g + 1) * size - 1) / 2
    if padding_mode == "reflection":
        u = mirrored(u, 0, size - 1) if align_corners else mirrored(u, -0.5, size - 0.5)
    return u if padding_mode == "zeros" else min(max(u, 0.0), size - 1.0)


def grid_oracle(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False):
    y = np.zeros((*x.shape[:2], *grid.shape[1:3]))
    for n, c, i, j in np.ndindex(*y.shape):
        u = position(grid[n, i, j, 0], x.shape[3], padding_mode, align_corners)
        v = position(grid[n, i, j, 1], x.shape[2], padding_mode, align_corners)
        if mode == "nearest":
            u, v = round(u), round(v)
        y[n, c, i, j] = read(x[n, c], v, u)
    return y


def off_the_pixels(grid):
    """Moved so that no place of the "distinct" ladder, multiples of 0.05, lies on a pixel or an edge: no kinks."""
    return record("move", grid.data + 0.0137, (grid,), lambda gy, needs: (gy,))


def grid_geometry(draw, kind="distinct"):
    n = draw(side)
    return {
        "x": A((n, draw(side), draw(length), draw(length))),
        "grid": A((n, draw(side), draw(length), 2), kind),
        "mode": draw(st.sampled_from(["bilinear", "bilinear", "nearest"])),
        "padding_mode": draw(st.sampled_from(["zeros", "border", "reflection"])),
        "align_corners": draw(st.booleans()),
    }


X, G = np.zeros((2, 1, 4, 4), np.float32), np.zeros((2, 3, 3, 2), np.float32)

GRID = Case(
    "grid_sample",
    geometry=grid_geometry,
    oracle=lambda x, grid, **options: grid_oracle(x, grid + 0.0137, **options),
    call=lambda x, grid, **options: ops.grid_sample(x, off_the_pixels(grid), **options),
    exact=False,  # moved by a fraction; on_pixels is exact
    saves=("x", "grid"),
    edges={
        "batch0": {"x": A((0, 1, 3, 3)), "grid": A((0, 2, 2, 2), "distinct")},
        "one_pixel": {"x": A((1, 2, 1, 1)), "grid": A((1, 4, 5, 2), "distinct")},
        "one_pixel_reflected": {
            "x": A((1, 2, 1, 1)),
            "grid": A((1, 4, 5, 2), "distinct"),
            "padding_mode": "reflection",
            "align_corners": True,
        },
        "far_outside": {"x": A((2, 2, 3, 2)), "grid": A((2, 9, 9, 2), "distinct"), "padding_mode": "reflection"},
        "empty_grid": {"x": A((1, 2, 3, 3)), "grid": A((1, 0, 3, 2))},
    },
    mistakes=(
        Mistake(
            "bicubic",
            lambda: ops.grid_sample(X, G, mode="bicubic"),
            ArgumentError,
            "grid_sample: mode='bicubic' is not supported, expected one of 'bilinear', 'nearest'",
        ),
        Mistake(
            "padding_mode",
            lambda: ops.grid_sample(X, G, padding_mode="reflect"),
            ArgumentError,
            "grid_sample: padding_mode='reflect' .*'zeros', 'border', 'reflection'",
        ),
        Mistake(
            "grid_last",
            lambda: ops.grid_sample(X, G[..., :1]),
            ShapeError,
            r"grid_sample: grid has shape \(2, 3, 3, 1\), expected \(2, OH, OW, 2\)",
        ),
        Mistake("other_batch", lambda: ops.grid_sample(X, G[:1]), ShapeError, r"grid has shape \(1, 3, 3, 2\)"),
        Mistake("unbatched", lambda: ops.grid_sample(X[0], G), ShapeError, r"x has shape \(1, 4, 4\), expected \(N, C"),
        Mistake("mixed", lambda: ops.grid_sample(X, G.astype(float)), DTypeError, "grid has dtype float64.*fix"),
    ),
)

ON_PIXELS = Case(
    "grid_sample",
    label="on_pixels",
    geometry=lambda draw: grid_geometry(draw, "normal"),
    oracle=grid_oracle,
    gradient=False,  # whole coordinates lie on kinks
)


# ---- interpolate


def interpolate_oracle(
    x, size=None, scale_factor=None, mode="nearest", align_corners=None, recompute_scale_factor=None
):
    h, w = x.shape[2:]
    both = size if size is not None else scale_factor
    both = both if isinstance(both, tuple) else (both, both)
    oh, ow = both if size is not None else (math.floor(n * f) for n, f in zip((h, w), both, strict=True))
    given = size is None and not recompute_scale_factor

    def place(i, n, out, factor):
        by_sizes = not given or out == n or (mode == "nearest" and out == 2 * n)
        ratio = Fraction(n, out) if by_sizes else 1 / Fraction(factor)
        if mode == "nearest":
            return min(math.floor(i * ratio), n - 1)
        if align_corners:
            return float(Fraction(i * (n - 1), max(out - 1, 1)))
        return float(min(max((i + Fraction(1, 2)) * ratio - Fraction(1, 2), 0), n - 1))

    y = np.zeros((*x.shape[:2], oh, ow))
    for n, c, i, j in np.ndindex(*y.shape):
        y[n, c, i, j] = read(x[n, c], place(i, h, oh, both[0]), place(j, w, ow, both[1]))
    return y


def interpolate_geometry(draw):
    mode = draw(st.sampled_from(["nearest", "bilinear"]))
    geometry = {"x": A((draw(side), draw(side), draw(length), draw(length))), "mode": mode}
    if mode == "bilinear":
        geometry["align_corners"] = draw(st.sampled_from([None, False, True]))
    if draw(st.booleans()):
        return geometry | {"size": draw(st.one_of(length, st.tuples(length, st.integers(1, 12))))}
    factor = st.sampled_from([1.0, 1.25, 1.5, 2, 2.75])
    return geometry | {
        "scale_factor": draw(st.one_of(factor, st.tuples(factor, factor))),
        "recompute_scale_factor": draw(st.sampled_from([None, True, False])),
    }


INTERPOLATE = Case(
    "interpolate",
    geometry=interpolate_geometry,
    oracle=interpolate_oracle,
    edges={
        "batch0": {"x": A((0, 1, 2, 2)), "size": 3},
        "one_pixel": {"x": A((1, 1, 1, 1)), "size": (3, 2), "mode": "bilinear"},
        "to_one_pixel": {"x": A((1, 1, 3, 4)), "size": 1, "mode": "bilinear", "align_corners": True},
        "smaller": {"x": A((1, 2, 8, 9)), "scale_factor": (0.5, 0.75), "mode": "bilinear"},
        "large_nearest": {"x": A((1, 1, 1, 2)), "size": (1, 82)},  # where float32 ratios round to the pixel before
    },
    exact=False,  # thirds and sevenths of a pixel
    mistakes=(
        Mistake("bicubic", lambda: ops.interpolate(X, 2, mode="bicubic"), ArgumentError, "mode='bicubic' is not supp"),
        Mistake("area", lambda: ops.interpolate(X, 2, mode="area"), ArgumentError, "expected one of 'nearest', 'bilin"),
        Mistake("antialias", lambda: ops.interpolate(X, 2, antialias=True), ArgumentError, "antialias=True.*fix"),
        Mistake("neither", lambda: ops.interpolate(X), ArgumentError, "size=None, scale_factor=None: expected exactly"),
        Mistake(
            "both", lambda: ops.interpolate(X, 2, 2.0), ArgumentError, "size=2, scale_factor=2.0: expected exactly"
        ),
        Mistake(
            "corners_of_nearest",
            lambda: ops.interpolate(X, 2, align_corners=False),
            ArgumentError,
            "align_corners=False has no meaning for mode='nearest'",
        ),
        Mistake(
            "recompute_size",
            lambda: ops.interpolate(X, 2, recompute_scale_factor=True),
            ArgumentError,
            "recompute_scale_factor=True needs scale_factor",
        ),
        Mistake("size_0", lambda: ops.interpolate(X, (0, 2)), ArgumentError, "size=0 is too small"),
        Mistake("three", lambda: ops.interpolate(X, (1, 2, 3)), ArgumentError, "size=.* has 3 numbers"),
        Mistake("factor", lambda: ops.interpolate(X, scale_factor=-1), ArgumentError, "scale_factor=-1, expected posi"),
        Mistake("tiny", lambda: ops.interpolate(X, scale_factor=0.1), ShapeError, "4 x 4 to 0 x 0 pixels; fix"),
        Mistake("unbatched", lambda: ops.interpolate(X[0], 2), ShapeError, r"interpolate: x has shape \(1, 4, 4\)"),
    ),
)


# ---- shuffles


def channel_shuffle_oracle(x, groups):
    y, each = np.empty_like(x), x.shape[1] // groups
    for g in range(groups):
        for i in range(each):
            y[:, i * groups + g] = x[:, g * each + i]
    return y


def pixel_shuffle_oracle(x, upscale_factor):
    r = upscale_factor
    *lead, channels, h, w = x.shape
    y = np.empty((*lead, channels // (r * r), h * r, w * r))
    for c, i, j in np.ndindex(*y.shape[-3:]):
        y[..., c, i, j] = x[..., c * r * r + (i % r) * r + j % r, i // r, j // r]
    return y


def pixel_unshuffle_oracle(x, downscale_factor):
    r = downscale_factor
    *lead, channels, h, w = x.shape
    y = np.empty((*lead, channels * r * r, h // r, w // r))
    for c, i, j in np.ndindex(*x.shape[-3:]):
        y[..., c * r * r + (i % r) * r + j % r, i // r, j // r] = x[..., c, i, j]
    return y


def channel_geometry(draw):
    groups = draw(st.integers(1, 4))
    rest = draw(st.lists(side, min_size=1, max_size=3))
    return {"x": A((draw(side), groups * draw(side), *rest)), "groups": groups}


def shuffle_geometry(draw):
    r, lead = draw(side), draw(st.lists(side, max_size=2))
    return {"x": A((*lead, r * r * draw(side), draw(side), draw(side))), "upscale_factor": r}


def unshuffle_geometry(draw):
    r, lead = draw(side), draw(st.lists(side, max_size=2))
    return {"x": A((*lead, draw(side), r * draw(side), r * draw(side))), "downscale_factor": r}


SHUFFLES = [
    Case(
        "channel_shuffle",
        geometry=channel_geometry,
        oracle=channel_shuffle_oracle,
        edges={"batch0": {"x": A((0, 4, 2, 2)), "groups": 2}, "one_pixel": {"x": A((1, 6, 1, 1)), "groups": 3}},
        mistakes=(
            Mistake("groups", lambda: ops.channel_shuffle(X, 3), ShapeError, "groups=3 does not divide the 1 channels"),
            Mistake("groups_0", lambda: ops.channel_shuffle(X, 0), ArgumentError, "groups=0 is too small"),
            Mistake("flat", lambda: ops.channel_shuffle(X[0, 0], 1), ShapeError, r"x has shape \(4, 4\), expected"),
        ),
    ),
    Case(
        "pixel_shuffle",
        geometry=shuffle_geometry,
        oracle=pixel_shuffle_oracle,
        edges={
            "batch0": {"x": A((0, 4, 2, 2)), "upscale_factor": 2},
            "one_pixel": {"x": A((1, 9, 1, 1)), "upscale_factor": 3},
        },
        mistakes=(
            Mistake("channels", lambda: ops.pixel_shuffle(X, 2), ShapeError, "1 channels, expected a multiple of .*4"),
            Mistake("flat", lambda: ops.pixel_shuffle(X[0, 0], 1), ShapeError, r"x has shape \(4, 4\), expected"),
        ),
    ),
    Case(
        "pixel_unshuffle",
        geometry=unshuffle_geometry,
        oracle=pixel_unshuffle_oracle,
        edges={
            "batch0": {"x": A((0, 1, 2, 2)), "downscale_factor": 2},
            "one_block": {"x": A((1, 1, 3, 3)), "downscale_factor": 3},
        },
        mistakes=(
            Mistake(
                "size", lambda: ops.pixel_unshuffle(X, 3), ShapeError, "downscale_factor=3 does not divide the 4 x 4"
            ),
            Mistake("flat", lambda: ops.pixel_unshuffle(X[0, 0], 1), ShapeError, r"x has shape \(4, 4\), expected"),
        ),
    ),
]

CASES = [AFFINE, GRID, ON_PIXELS, INTERPOLATE, *SHUFFLES]
