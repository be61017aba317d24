"""The plan winograd: matrices, oracles, gradients, blocks, threads, rounding, and what it refuses.

Results are compared with other results within the bounds that the plan's docstring gives.
"""

import hashlib
import os
import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minicnn
from minicnn import Tensor, gradcheck, ops
from minicnn.errors import ArgumentError
from minicnn.kernels import blas, conv
from minicnn.kernels.conv import plan as plans
from minicnn.kernels.conv import winograd, winograd_cpu
from minicnn.kernels.window import Window2d
from tests.close import assert_close
from tests.kernels.test_conv_plans import grad_w_oracle, grad_x_oracle, run
from tests.ops.cases_conv import conv2d_oracle

BOUND = {(np.float32, 2): 2e-6, (np.float32, 4): 1e-5, (np.float64, 2): 1e-12, (np.float64, 4): 1e-12}
TILES = (2, 4)
# (bytes, tiles) of a block, filters that share their images: all alone, parts that divide nothing, and what is used.
CUTS = {"alone": ((1, 1), 1), "parts": ((3000, 5), 2), "used": (winograd.BLOCK, winograd.SHARE)}

every_tile = pytest.mark.parametrize("tile", TILES)
layout_of = winograd.layout


@contextmanager
def forced(tile=None, cut="used", workers=None):
    """Every convolution inside the block runs by the plan, with these tiles, blocks and workers."""
    (block, share), shared = CUTS[cut], winograd.SHARED_BLOCK if cut == "used" else CUTS[cut][0]
    with pytest.MonkeyPatch.context() as patch, minicnn.conv_plan("winograd"):
        if tile:
            patch.setattr(
                winograd, "layout", lambda _, w, *_c: winograd._Layout(tile, -(-w.oh // tile), -(-w.ow // tile))
            )
        for name, value in {"BLOCK": block, "SHARED_BLOCK": shared, "SHARE": share, "UNITS": 10**9}.items():
            if cut != "used":
                patch.setattr(winograd, name, value)
        if workers:
            patch.setattr(winograd_cpu, "workers", lambda: workers)
        yield


def drawn(n, c, k, image, padding=0, bias=True, dtype=np.float64, seed=0):
    """The arguments of conv2d and a gradient of its output."""
    rng = np.random.default_rng(seed)
    (top, bottom), (left, right) = padding or ((0, 0), (0, 0))
    out = image[0] + top + bottom - 2, image[1] + left + right - 2
    sizes = {"x": (n, c, *image), "weight": (k, c, 3, 3), "bias": (k,), "gy": (n, k, *out)}
    arrays = {name: rng.standard_normal(size).astype(dtype) for name, size in sizes.items()}
    gy = arrays.pop("gy")
    return {**arrays, "bias": arrays["bias"] if bias else None, "padding": padding}, gy


def check(arrays, gy, tol=1e-12):
    sized = {**arrays, "stride": 1, "dilation": 1, "groups": 1}
    right = conv2d_oracle(**arrays), grad_x_oracle(gy, **sized), grad_w_oracle(gy, **sized)
    for name, actual, expected in zip(("y", "gx", "gw"), run(arrays, gy), right, strict=True):
        assert_close(actual, expected, tol, name)


# ---- the matrices, from the points


def polynomial_matrices(tile):
    """A (t, m), B (t, t), G (t, 3) by polynomial algebra.

    ``N(x) = prod (x - x_i)``; row i of B^T is ``N(x)/(x - x_i)``, row i of G ``(1, x_i, x_i^2)`` over that polynomial
    at ``x_i``, row i of A ``1, x_i, x_i^2, ...``; at infinity N itself and the highest coefficients.
    """
    half, two = 0.5**0.5, 2**0.5
    points = [0.0, 1.0, -1.0] if tile == 2 else [0.0, half, -half, two, -two]
    rows_a, rows_b, rows_g = [], [], []
    for i, point in enumerate(points):
        others = np.polynomial.Polynomial.fromroots(points[:i] + points[i + 1 :])
        rows_b.append([*others.coef, 0.0])
        rows_g.append([point**power / others(point) for power in range(3)])
        rows_a.append([point**power for power in range(tile)])
    rows_b.append(np.polynomial.Polynomial.fromroots(points).coef)
    return np.array([*rows_a, np.eye(tile)[-1]]), np.array(rows_b).T, np.array([*rows_g, np.eye(3)[-1]])


def uncompiled(name):
    function = getattr(winograd_cpu, name)
    return getattr(function, "py_func", function)


def matrix_of(name, tile, columns):
    """The matrix that one of the kernels' transforms is."""
    numbers = () if tile == 2 else (uncompiled("_numbers")(np.zeros(0)),)
    function = uncompiled(f"{name}_of_{tile}")
    return np.array([function(*unit, *numbers) for unit in np.eye(columns)]).T


@every_tile
def test_matrices_follow_from_the_points(tile):
    a, b, g = polynomial_matrices(tile)
    np.testing.assert_allclose(matrix_of("_image", tile, tile + 2), b.T, atol=1e-14)
    np.testing.assert_allclose(matrix_of("_output", tile, tile + 2), a.T, atol=1e-14)
    np.testing.assert_allclose(matrix_of("_spread", tile, tile), a, atol=1e-14)
    np.testing.assert_allclose(winograd.filter_matrix(tile), g, atol=1e-14)


@every_tile
def test_the_polynomials_compute_a_correlation(tile):
    """What the derivation claims, without any of our code: A^T [(G g) * (B^T d)]."""
    a, b, g = polynomial_matrices(tile)
    rng = np.random.default_rng(tile)
    taps, signal = rng.standard_normal(3), rng.standard_normal(tile + 2)
    assert_close(a.T @ ((g @ taps) * (b.T @ signal)), np.correlate(signal, taps, "valid"), 1e-14)


# ---- oracles

EDGES = {
    "one output": (1, 1, 1, (3, 3)),
    "one pixel": (1, 2, 3, (1, 1), ((1, 1), (1, 1))),
    "one pixel in a wide frame": (2, 1, 2, (1, 1), ((4, 3), (5, 3))),
    "no image": (0, 2, 3, (4, 5)),
    "whole tiles": (1, 3, 2, (6, 10)),
    "a row of pixels": (3, 2, 1, (1, 18), ((1, 1), (0, 0))),
    "one channel": (3, 1, 4, (7, 5), ((1, 1), (1, 1))),
    "one filter": (1, 4, 1, (5, 9), ((0, 2), (2, 1))),
    "nothing divides": (2, 3, 4, (7, 9), ((1, 1), (1, 1))),
}


@every_tile
@pytest.mark.parametrize("cut", sorted(CUTS))
@pytest.mark.parametrize("edge", sorted(EDGES))
def test_edge_equals_oracles(edge, cut, tile):
    with forced(tile, cut):
        check(*drawn(*EDGES[edge]))


@settings(max_examples=25)
@given(
    sizes=st.tuples(st.sampled_from([1, 3]), st.integers(1, 3), st.integers(1, 3)),
    image=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    padding=st.tuples(*[st.tuples(st.integers(0, 2), st.integers(0, 2))] * 2),
    bias=st.booleans(),
    tile=st.sampled_from(TILES),
    cut=st.sampled_from(sorted(CUTS)),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_geometry_equals_oracles(sizes, image, padding, bias, tile, cut, seed):
    image = [max(size, 3 - sum(pad)) for size, pad in zip(image, padding, strict=True)]
    with forced(tile, cut):
        check(*drawn(*sizes, image, padding, bias, seed=seed))


@every_tile
def test_float32_is_computed_in_float32(tile):
    arrays, gy = drawn(2, 3, 4, (6, 9), ((1, 1), (1, 1)), dtype=np.float32)
    with forced(tile, "parts"):
        assert all(result.dtype == np.float32 for result in run(arrays, gy))
        check(arrays, gy, 1e-5)


@every_tile
def test_gradcheck(tile):
    arrays, _ = drawn(2, 2, 3, (4, 5), ((1, 0), (2, 1)))
    x, weight, bias = (Tensor(arrays[name], requires_grad=True) for name in ("x", "weight", "bias"))
    with forced(tile, "parts"):
        assert gradcheck(lambda *inputs: ops.conv2d(*inputs, padding=arrays["padding"]), x, weight, bias)


def test_a_transposed_convolution_is_its_grad_x():
    arrays, gy = drawn(2, 3, 2, (5, 6), ((1, 0), (2, 1)))
    del arrays["bias"]
    with forced():
        y = ops.conv_transpose2d(gy, arrays["weight"], padding=arrays["padding"])
    assert_close(y.numpy(), grad_x_oracle(gy, **arrays, stride=1, dilation=1, groups=1), 1e-12)


# ---- rounding


@pytest.mark.parametrize(("dtype", "tile"), BOUND)
@pytest.mark.parametrize("channels", [1, 64, 512])
def test_error_keeps_its_bound(channels, dtype, tile):
    arrays, gy = drawn(2, channels, 16, (14, 14), ((1, 1), (1, 1)), dtype=dtype, seed=channels)
    wide = {name: value.astype(np.float64) if name != "padding" else value for name, value in arrays.items()}
    with minicnn.conv_plan("im2col"):
        right = run(wide, gy.astype(np.float64))
    with forced(tile):
        results = run(arrays, gy)
    for name, actual, expected in zip(("y", "gx", "gw"), results, right, strict=True):
        assert_close(actual, expected, BOUND[dtype, tile], name)


def test_nan_spreads_over_its_tiles_only():
    """Why ``exact`` never picks the plan: a pixel reaches all outputs of a tile that reads it; no other tile."""
    arrays, _ = drawn(2, 3, 2, (18, 18))
    arrays["x"][0, 1, 7, 3] = np.nan  # one tile reads it, that of output rows 4 to 7 and columns 0 to 3
    with forced(4), np.errstate(invalid="ignore"):
        y = run(arrays)
    expected = np.zeros(y.shape, bool)
    expected[0, :, 4:8, :4] = True
    assert np.array_equal(np.isnan(y), expected)


@every_tile
def test_groups_are_convolutions_of_their_own(tile):
    rng = np.random.default_rng(tile)
    x, weight, bias = rng.standard_normal((2, 6, 9, 8)), rng.standard_normal((8, 3, 3, 3)), rng.standard_normal(8)
    arrays = {"x": x, "weight": weight, "bias": bias, "padding": 1, "groups": 2}
    gy = rng.standard_normal((2, 8, 9, 8))
    with forced(tile, "parts"):
        together = run(arrays, gy)
        halves = [
            run(
                {"x": x[:, 3 * g : 3 * g + 3], "weight": weight[4 * g : 4 * g + 4], "bias": None, "padding": 1},
                gy[:, 4 * g : 4 * g + 4],
            )
            for g in (0, 1)
        ]
    y, gx, gw = together[:3]
    assert_close(y, conv2d_oracle(**arrays), 1e-12)
    assert_close(gx, np.concatenate([half[1] for half in halves], 1), 1e-12)
    assert_close(gw, np.concatenate([half[2] for half in halves]), 1e-12)


# ---- threads

WORKED = (2, 5, 70, (9, 14), ((1, 1), (1, 1)))


@every_tile
@pytest.mark.parametrize("cut", ["parts", "used"])
def test_any_number_of_workers_gives_the_same_bits(cut, tile):
    arrays, gy = drawn(*WORKED, dtype=np.float32)
    results = []
    for workers in (1, 2, 3, 4, 64):
        with forced(tile, cut, workers):
            results.append(run(arrays, gy))
    assert all(np.array_equal(a, b) for other in results[1:] for a, b in zip(other, results[0], strict=True))


def print_digest():
    """Of the three results for WORKED and for products large enough that BLAS would share them among its threads."""
    digest = hashlib.sha256()
    for sizes in (WORKED, (2, 128, 128, (20, 20), ((1, 1), (1, 1)))):
        with forced():
            for result in run(*drawn(*sizes, dtype=np.float32)):
                digest.update(result.tobytes())
    print(digest.hexdigest())


@pytest.mark.slow
def test_any_number_of_threads_gives_the_same_bits():
    program = "from tests.kernels.test_winograd import print_digest; print_digest()"
    found = set()
    for threads in ("1", "2", "4"):
        environment = {**os.environ, "NUMBA_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
        found.add(
            subprocess.check_output([sys.executable, "-c", program], env=environment, text=True, encoding="utf-8")
        )
    assert len(found) == 1


class Pool:
    """A BLAS with four threads, as threadpoolctl describes one."""

    def __init__(self):
        self.threads = 4

    def get_num_threads(self):
        return self.threads

    def set_num_threads(self, threads):
        self.threads = threads


def test_blas_has_one_thread_inside_and_all_after_an_error(monkeypatch):
    pools = [Pool(), Pool()]
    monkeypatch.setattr(blas, "_pools", lambda: pools)
    with pytest.raises(RuntimeError), blas.one_blas_thread():
        with blas.one_blas_thread():
            assert [pool.threads for pool in pools] == [1, 1]
        assert [pool.threads for pool in pools] == [1, 1]
        raise RuntimeError
    assert [pool.threads for pool in pools] == [4, 4]


def test_every_pass_limits_blas(monkeypatch):
    pool, seen = Pool(), []
    pool.set_num_threads = lambda threads: (seen.append(threads), setattr(pool, "threads", threads))
    monkeypatch.setattr(blas, "_pools", lambda: [pool])
    with forced():
        run(*drawn(1, 2, 3, (5, 5)))
    assert seen == [1, 4] * 6  # the filters' transform is a product of its own


def test_the_blas_that_numba_calls_is_limited():
    assert any("scipy" in pool.filepath for pool in blas._pools()) or sys.platform == "darwin"


# ---- the choice


def window(size=(8, 8), kernel=(3, 3), stride=(1, 1), dilation=(1, 1)):
    out = [(s - d * (k - 1) - 1) // p + 1 for s, k, p, d in zip(size, kernel, stride, dilation, strict=True)]
    return Window2d(*size, *kernel, *stride, 0, 0, 0, 0, *dilation, *out)


@pytest.mark.parametrize(
    ("n", "out", "tile"),
    [
        (1, (2, 2), 2),
        (8, (2, 2), 2),
        (1, (7, 7), 2),
        (8, (7, 7), 4),
        (1, (14, 14), 2),
        (4, (14, 14), 4),
        (1, (1, 400), 2),
        (1, (56, 56), 4),
    ],
)
def test_small_maps_have_small_tiles(n, out, tile):
    assert layout_of(n, window((out[0] + 2, out[1] + 2)), 64, 64).tile == tile


def test_blocks_are_nearly_equal_and_bounded():
    layout = winograd._Layout(4, 14, 14)
    assert layout.rows_a_block(8, 1000, (10_000, 1)) == 10  # 112 rows in 12 blocks
    assert layout.rows_a_block(8, 1000, (1, 48)) == 4
    assert layout.rows_a_block(1, 1, (10**9, 1)) == 14


@pytest.mark.parametrize(
    ("wrong", "shape", "weight", "options"),
    [
        (r"has a kernel of \(3, 2\), expected \(3, 3\)", (1, 4, 6, 6), (2, 4, 3, 2), {}),
        (r"has a kernel of \(1, 1\), expected \(3, 3\)", (1, 4, 6, 6), (2, 4, 1, 1), {}),
        (r"has stride \(1, 2\), expected \(1, 1\)", (1, 4, 6, 6), (2, 4, 3, 3), {"stride": (1, 2)}),
        (r"has dilation \(2, 1\), expected \(1, 1\)", (1, 4, 6, 6), (2, 4, 3, 3), {"dilation": (2, 1)}),
    ],
)
def test_what_does_not_fit_is_named(wrong, shape, weight, options):
    expected = rf"conv_plan\('winograd'\): the convolution {wrong}; fix: conv_plan\('auto'\)"
    with minicnn.conv_plan("winograd"), pytest.raises(ArgumentError, match=expected):
        ops.conv2d(np.ones(shape), np.ones(weight), **options)


def test_a_gpu_is_refused():
    place = plans.Place("float32", "cuda:1", 90)
    with pytest.raises(ArgumentError, match=r"conv_plan\('winograd'\): the arrays are on cuda:1, expected the CPU"):
        plans.choose("winograd", 1, 4, 4, window(), 1, place)


@pytest.mark.parametrize(
    ("channels", "size", "filters", "plan"),
    [(64, 56, 64, "winograd"), (512, 14, 512, "winograd"), (256, 28, 128, "winograd"), (3, 224, 64, "im2col")],
)
def test_auto_picks_it_where_products_outweigh_transforms(channels, size, filters, plan):
    shape = window((size + 2, size + 2))
    assert plans.choose("auto", 8, channels, filters, shape, 1, plans.Place()).plan == plan
    assert plans.choose("exact", 8, channels, filters, shape, 1, plans.Place()).plan == "im2col"
    assert conv.explain((8, channels, size, size), (filters, channels, 3, 3), padding=1).startswith(plan)
    forcing = plans.choose("winograd", 8, channels, filters, shape, 1, plans.Place())
    assert forcing == ("winograd", "conv_plan('winograd') forces it")
