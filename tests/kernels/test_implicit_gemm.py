"""The plan implicit_gemm on the emulator: geometries, tiles, types, thread orders, and planted bugs.

The bound of every comparison: both sides compute with operands rounded to T (to TF32 for float32), so what differs is

1. the result's own rounding, at most half an eps of T (of float32 itself under TF32, which is no storage type), and
2. the K roundings of a sum in float32. Each is at most eps(float32)/2 of the running sum; on random signs the running
   sums are no larger than the results, and the roundings add like sqrt(K).

    |error| <= (eps(T)/2 + 2 sqrt(K) eps(float32)) * largest result
"""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from minicnn.kernels import launch
from minicnn.kernels.conv import implicit_gemm
from minicnn.kernels.launch import CudaSource
from minicnn.kernels.window import Window2d
from tests.close import assert_close
from tests.emulator import EmulatorError, emulated_gpu, emulator_options
from tests.emulator.pretend_linalg import to_tf32
from tests.kernels.planted import planted
from tests.kernels.test_conv_plans import grad_w_oracle, grad_x_oracle
from tests.ops.cases_conv import conv2d_oracle

FILE = "implicit_gemm.cu"
TINY = CudaSource(implicit_gemm.__file__, FILE, TILE_M=16, TILE_N=16, WARPS_M=1, WARPS_N=1)
UNEVEN = CudaSource(implicit_gemm.__file__, FILE, TILE_M=32, TILE_N=16, WARPS_M=2, WARPS_N=1)
TILES = {"tiny": TINY, "uneven": UNEVEN, "small": implicit_gemm.SMALL, "large": implicit_gemm.LARGE}
DTYPES = {"float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
EPS = {"float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}

every_dtype = pytest.mark.parametrize("dtype", sorted(DTYPES))
few = settings(max_examples=15, phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck))


@pytest.fixture(autouse=True)
def gpu(monkeypatch):
    monkeypatch.setattr(launch, "THREADS", 64)
    with emulated_gpu() as cupy:
        yield cupy


def geometry(n, c, k, image, kernel, groups=1, **options):
    """Shapes and options of one convolution, as the oracles take them; ``padding`` ((top, bottom), (left, right))."""
    zero = {"stride": (1, 1), "padding": ((0, 0), (0, 0)), "dilation": (1, 1)}
    return {"x": (n, c, *image), "weight": (k, c // groups, *kernel), "groups": groups, **zero, **options}


EDGES = {
    "plain": geometry(2, 3, 5, (5, 4), (3, 3), padding=((1, 1), (1, 1))),
    "no images": geometry(0, 2, 3, (4, 4), (3, 3)),
    "one pixel": geometry(1, 1, 1, (1, 1), (1, 1)),
    "one output": geometry(2, 3, 4, (3, 2), (3, 2)),
    "stride beyond the kernel": geometry(2, 4, 3, (8, 9), (2, 1), stride=(3, 4)),
    "padding of a kernel": geometry(1, 2, 3, (4, 3), (2, 3), padding=((2, 3), (4, 3))),
    "dilation and stride share a divisor": geometry(1, 2, 2, (11, 9), (3, 2), stride=(2, 3), dilation=(4, 3)),
    "dilation and stride do not": geometry(1, 3, 2, (11, 9), (3, 2), stride=(2, 3), dilation=(3, 2)),
    "asymmetric": geometry(2, 2, 3, (6, 5), (3, 2), stride=(2, 1), padding=((0, 2), (3, 1)), dilation=(1, 2)),
    "groups": geometry(2, 6, 9, (5, 5), (3, 3), 3, padding=((1, 1), (1, 1))),
    "depthwise": geometry(2, 4, 4, (5, 5), (3, 3), 4, padding=((1, 1), (1, 1))),
    "more than one tile": geometry(2, 21, 37, (5, 6), (2, 2)),
    "whole runs of channels": geometry(1, 16, 16, (4, 4), (3, 3), padding=((1, 1), (1, 1))),
    "pointwise": geometry(3, 18, 20, (3, 3), (1, 1)),
    "long sums": geometry(5, 2, 3, (13, 11), (2, 2)),
}


@st.composite
def geometries(draw):
    """Any convolution of a few pixels whose window fits."""

    def two(low, high):
        return draw(st.integers(low, high)), draw(st.integers(low, high))

    groups = draw(st.sampled_from([1, 1, 2, 3]))
    kernel, stride, dilation = two(1, 3), two(1, 4), two(1, 3)
    padding = two(0, 4), two(0, 4)
    spans = [d * (k - 1) + 1 - sum(p) for d, k, p in zip(dilation, kernel, padding, strict=True)]
    image = [max(1, span) + draw(st.integers(0, 6)) for span in spans]
    n, c, k = draw(st.integers(1, 3)), groups * draw(st.integers(1, 10)), groups * draw(st.integers(1, 20))
    return geometry(n, c, k, image, kernel, groups, stride=stride, padding=padding, dilation=dilation)


def window_of(shapes):
    (h, w), (kh, kw) = shapes["x"][2:], shapes["weight"][2:]
    (sh, sw), (dh, dw) = shapes["stride"], shapes["dilation"]
    ((top, bottom), (left, right)) = shapes["padding"]
    oh, ow = (h + top + bottom - dh * (kh - 1) - 1) // sh + 1, (w + left + right - dw * (kw - 1) - 1) // sw + 1
    return Window2d(h, w, kh, kw, sh, sw, top, bottom, left, right, dh, dw, oh, ow)


def drawn(shapes, dtype, seed):
    """x, weight, bias and gy in ``dtype``, and the same numbers in float64 as tensor cores read them."""
    rng, window = np.random.default_rng(seed), window_of(shapes)
    k = shapes["weight"][0]
    sizes = {"x": shapes["x"], "weight": shapes["weight"], "bias": (k,), "gy": (shapes["x"][0], k, *window.out)}
    stored = {name: rng.standard_normal(size).astype(DTYPES[dtype]) for name, size in sizes.items()}
    read = {name: to_tf32(a) if dtype == "float32" and name != "bias" else a for name, a in stored.items()}
    return stored, {name: a.astype(np.float64) for name, a in read.items()}


def passes(gpu, stored, shapes, tile):
    """y, gx and gw of the plan with one size of tile; outputs start as the gate gives them."""
    x, weight, bias, gy = (gpu.asarray(stored[name]) for name in ("x", "weight", "bias", "gy"))
    y, gx, gw = gpu.empty(gy.shape, gy.dtype), gpu.zeros(x.shape, x.dtype), gpu.zeros(weight.shape, x.dtype)
    window, groups = window_of(shapes), shapes["groups"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(implicit_gemm, "LARGE", tile)
        patch.setattr(implicit_gemm, "SMALL", tile)
        implicit_gemm.forward(x, weight, bias, window, groups, y)
        implicit_gemm.grad_x(gy, weight, window, groups, gx)
        implicit_gemm.grad_w(gy, x, window, groups, gw)
    return tuple(a.get() for a in (y, gx, gw))


def check(gpu, shapes, dtype, tile, seed=1):
    stored, read = drawn(shapes, dtype, seed)
    gy, bias = read.pop("gy"), read.pop("bias")
    options = {name: shapes[name] for name in ("stride", "padding", "dilation", "groups")}
    read |= options
    right = conv2d_oracle(**read, bias=bias), grad_x_oracle(gy, **read), grad_w_oracle(gy, **read)
    k, channels, kh, kw = shapes["weight"]
    sums = channels * kh * kw + 1, k // shapes["groups"] * kh * kw, gy.size // k
    for name, result, expected, length in zip(
        ("y", "gx", "gw"), passes(gpu, stored, shapes, tile), right, sums, strict=True
    ):
        bound = EPS[dtype] / 2 + 2 * np.sqrt(max(length, 1)) * EPS["float32"]
        assert result.dtype == DTYPES[dtype]
        assert_close(result.astype(np.float64), expected, bound, name)


# ---- numbers


@every_dtype
@pytest.mark.parametrize("edge", sorted(EDGES))
def test_edge_equals_oracles(gpu, edge, dtype):
    check(gpu, EDGES[edge], dtype, TINY)


@every_dtype
@pytest.mark.parametrize("tile", ["uneven", "small", "large"])
@pytest.mark.parametrize(
    "edge", ["asymmetric", *(pytest.param(e, marks=pytest.mark.slow) for e in ("more than one tile", "groups"))]
)
def test_every_tile_equals_oracles(gpu, edge, tile, dtype):
    check(gpu, EDGES[edge], dtype, TILES[tile])


@every_dtype
@few
@given(
    shapes=geometries(),
    seed=st.integers(0, 2**32 - 1),
    order=st.sampled_from([0, 1, 7]),
    blocks=st.sampled_from([1, 3, 1 << 20]),
    narrow=st.sampled_from([-1, 1 << 30]),
    part=st.sampled_from([1, 16]),
)
def test_no_way_of_running_changes_it(gpu, dtype, shapes, seed, order, blocks, narrow, part):
    """Any geometry; threads in any order, grids of any size, indices of any width, positions in any number of parts."""
    with pytest.MonkeyPatch.context() as patch, emulator_options(order):
        patch.setattr(launch, "MAX_BLOCKS", blocks)
        patch.setattr(launch, "NARROW", narrow)
        patch.setattr(implicit_gemm, "PART_STAGES", part)
        check(gpu, shapes, dtype, TINY, seed)


@every_dtype
@pytest.mark.parametrize("edge", ["more than one tile", "asymmetric", "stride beyond the kernel"])
def test_no_two_blocks_write_one_address(gpu, edge, dtype, monkeypatch):
    monkeypatch.setattr(implicit_gemm, "PART_STAGES", 1)
    with emulator_options(write_sets=True):
        check(gpu, EDGES[edge], dtype, TINY)


def test_parts_of_the_positions_do_not_depend_on_the_grid(gpu, monkeypatch):
    monkeypatch.setattr(implicit_gemm, "PART_STAGES", 1)
    stored, _ = drawn(EDGES["long sums"], "float32", 3)
    whole = passes(gpu, stored, EDGES["long sums"], TINY)
    monkeypatch.setattr(launch, "MAX_BLOCKS", 2)
    assert all(map(np.array_equal, passes(gpu, stored, EDGES["long sums"], TINY), whole))


@every_dtype
def test_nan_and_inf_stay_where_they_are_read(gpu, dtype):
    shapes = EDGES["asymmetric"]
    stored, clean = drawn(shapes, dtype, 5)
    options = {name: shapes[name] for name in ("stride", "padding", "dilation", "groups")}
    stored["x"][1, 0, 2, 3], stored["x"][0, 1, 0, 0], stored["gy"][0, 2, 1, 1] = np.nan, np.inf, np.nan
    damaged = {name: stored[name].astype(np.float64) for name in ("x", "gy")}
    y, gx, _ = passes(gpu, stored, shapes, UNEVEN)
    with np.errstate(invalid="ignore"):
        right = conv2d_oracle(damaged["x"], clean["weight"], clean["bias"], **options)
        right_gx = grad_x_oracle(damaged["gy"], clean["x"], clean["weight"], **options)
    for result, expected in ((y, right), (gx, right_gx)):
        assert np.array_equal(np.isfinite(result.astype(np.float64)), np.isfinite(expected))


def test_tf32_is_rounded_to_nearest(gpu):
    """Half a unit of TF32 goes up, less goes down: truncation would lose it."""
    half = 1 + 2.0**-11
    shapes = geometry(1, 1, 1, (1, 1), (1, 1))
    for value, read in ((half, 1 + 2.0**-10), (-half, -1 - 2.0**-10), (half - 2.0**-23, 1.0)):
        stored = {name: np.full((1, 1, 1, 1), 1, np.float32) for name in ("weight", "gy")}
        stored |= {"x": np.full((1, 1, 1, 1), value, np.float32), "bias": np.zeros(1, np.float32)}
        assert passes(gpu, stored, shapes, TINY)[0].item() == read


def test_tiles_and_parts_follow_the_shape():
    """Many rows and columns take large tiles, few small ones; a long sum with few filters is cut into parts."""
    large, small = implicit_gemm.LARGE, implicit_gemm.SMALL
    assert implicit_gemm._tiles(256, 32 * 28 * 28, 1) == (large, (2, 196))
    assert implicit_gemm._tiles(64, 32 * 56 * 56, 1) == (small, (1, 1568))
    assert implicit_gemm._tiles(256, 7 * 7, 1) == (small, (4, 1))
    assert implicit_gemm._tiles(256, 2304, 1, split=True) == (large, (2, 18))


# ---- planted bugs: the checks above would see them

BUGS = [
    ("    __syncthreads();  // `filling` is complete, and nobody reads `full` any more\n", ""),
    ("    wait_for_copies();\n", ""),
    ("[word + lane / 16 * 4]", "[word + lane / 8 % 2 * 4]"),
    ("[word + lane / 8 % 2 * 4]", "[word + lane / 16 * 4]"),
    ("r * 8 + lane / 4;", "r * 8 + lane % 8;"),
    ("lane % 4 * 2 + c % 2;", "lane % 4 + c % 2 * 4;"),
    ("word += 8) {\n    unsigned a", "word += 16) {\n    unsigned a"),
    ("for (unsigned& w : a[i]) w = round_to_tf32(w);", ";"),
    ("for (unsigned& w : b[j]) w = round_to_tf32(w);", ";"),
    ("stages[~step & 1]", "stages[step & 1]"),
    ("row >= 0 && row < h", "row < h"),
    ("column >= 0 && column < w;", "column < w;"),
    ("if (c < found)", "if (found)"),
    ("if (++tap.q == horizontal.taps)", "if (++tap.q > horizontal.taps)"),
    ("tap.p < vertical.taps && ", ""),
    ("bias[group * rows + m]", "bias[m]"),
    ("start_h + at.i * pace_h", "at.i * pace_h"),
    ("if (j >= ow) j -= ow, i++;", ""),
    ("if (i >= oh) i -= oh, n++;", ""),
    (
        "columns[n] = {(c * h + dp) * w + dq, dp, dq, n0 + n < size};\n    }\n    __syncthreads();",
        "columns[n] = {(c * h + dp) * w + dq, dp, dq, n0 + n < size};\n    }",
    ),
    ("<< 16 * e", "<< 8 * e"),
    ("if (!inside || !column.exists || first + e >= positions)", "if (!inside || !column.exists)"),
    ("first = part * steps", "first = part * (steps + 1)"),
    ("part < cuts; part++", "part < 1; part++"),
]


def everything(gpu):
    """Every edge in every type, threads in several orders, small parts: what a bug above must break."""
    with pytest.MonkeyPatch.context() as patch, np.errstate(all="ignore"):
        patch.setattr(implicit_gemm, "PART_STAGES", 3)
        for dtype in DTYPES:
            test_nan_and_inf_stay_where_they_are_read(gpu, dtype)
            for edge in ("more than one tile", "asymmetric", "groups", "long sums", "padding of a kernel"):
                for order in (0, 1, 7):
                    with emulator_options(order):
                        check(gpu, EDGES[edge], dtype, UNEVEN)


@pytest.mark.slow
def test_without_a_bug_everything_passes(gpu):
    everything(gpu)


@pytest.mark.slow
@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: f"{bug[0].strip()[:40]}->{bug[1].strip()[:20]}")
def test_a_planted_bug_is_seen(gpu, bug):
    with planted(UNEVEN, *bug), pytest.raises((AssertionError, EmulatorError)):
        everything(gpu)
