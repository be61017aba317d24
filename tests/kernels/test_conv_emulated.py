"""CUDA twins of the convolutions on the emulator: every plan by name, chunk sizes, dtypes, NaN, and planted bugs."""

from contextlib import contextmanager

import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from minicnn.kernels import conv, launch
from minicnn.kernels.conv import columns, cuda, direct, workspace
from minicnn.kernels.window import Window2d
from tests.close import assert_close
from tests.emulator import EmulatorError, emulated_gpu, emulator_options
from tests.kernels.planted import planted
from tests.kernels.test_conv_plans import batch_of, grad_w_oracle, grad_x_oracle
from tests.ops.case import A
from tests.ops.cases_conv import both, conv2d_oracle, conv_geometry, sides

PLANS = {name: conv.PLANS[name] for name in ("im2col", "direct", "pointwise")}
# Bytes of a chunk: one position at a time, sizes that divide nothing, all at once.
WORKSPACES = (1, 777, 5000, 1 << 20)
DTYPES = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16, "float32": np.float32, "float64": np.float64}
# Half is rounded once in the columns and once in the result, and where an image is cut, once more a piece.
TOLERANCES = {"float64": 1e-10, "float32": 1e-5, "float16": 4e-3, "bfloat16": 3e-2}  # eps 1e-3 and 8e-3

every_plan = pytest.mark.parametrize("plan", sorted(PLANS))
every_dtype = pytest.mark.parametrize("dtype", sorted(DTYPES))
few = settings(max_examples=12, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
seeds = st.integers(0, 2**32 - 1)


@pytest.fixture(autouse=True)
def gpu(monkeypatch):
    monkeypatch.setattr(launch, "THREADS", 64)
    with emulated_gpu() as cupy:
        yield cupy


@contextmanager
def sizes(workspace_bytes=1 << 20, longest=16384, shortest=1024, grid=1 << 20, narrow=1 << 30):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workspace, "GPU_WORKSPACE_BYTES", workspace_bytes)
        patch.setattr(cuda, "LONGEST", longest)
        patch.setattr(cuda, "SHORTEST", shortest)
        patch.setattr(launch, "MAX_BLOCKS", grid)
        patch.setattr(launch, "NARROW", narrow)
        yield


@st.composite
def geometries(draw):
    """One for any plan and one the pointwise plan takes; kernels up to 8 wide, which no thread sums at once."""
    any_window = conv_geometry(draw, groups=(1, 3), channels=(1, 5))
    wide = draw(st.sampled_from([None, None, (3, 8), (5, 9), (7, 2), (4, 1), (5, 3)]))
    if wide:
        k, c = any_window["weight"].shape[:2]
        spans = [d * (size - 1) + 1 for d, size in zip(both(any_window["dilation"]), wide, strict=True)]
        h, w = (span + draw(st.integers(0, 7)) for span in spans)
        any_window |= {"weight": A((k, c, *wide)), "x": A((*any_window["x"].shape[:-2], h, w))}
        any_window |= {"padding": draw(st.sampled_from([0, 1, ((0, 2), (3, 1))]))}
    return {"any": any_window, "pointwise": conv_geometry(draw, groups=(1, 3), pointwise=True)}


def window_of(x, weight, stride, padding, dilation, **_):
    (sh, sw), (dh, dw), (kh, kw) = both(stride), both(dilation), weight.shape[2:]
    (top, bottom), (left, right) = sides(padding, (kh, kw), (dh, dw))
    h, w = x.shape[2:]
    oh, ow = (h + top + bottom - dh * (kh - 1) - 1) // sh + 1, (w + left + right - dw * (kw - 1) - 1) // sw + 1
    return Window2d(h, w, kh, kw, sh, sw, top, bottom, left, right, dh, dw, oh, ow)


def drawn(geometries, plan, seed, dtype="float64", integers=False):
    """Arrays in the dtype, and the same numbers in float64 for the oracles."""
    arrays = batch_of(geometries["pointwise" if plan == "pointwise" else "any"], seed, integers=integers)
    gy_shape = conv2d_oracle(**arrays).shape
    rng = np.random.default_rng(seed + 1)
    arrays["gy"] = rng.integers(-4, 5, gy_shape) if integers else rng.standard_normal(gy_shape)
    rounded = {k: v.astype(DTYPES[dtype]) if isinstance(v, np.ndarray) else v for k, v in arrays.items()}
    exact = {k: v.astype(np.float64) if isinstance(v, np.ndarray) else v for k, v in rounded.items()}
    return rounded, exact


def run(gpu, plan, x, weight, bias, gy, groups, **geometry):
    """y, gx, gw of one plan, on the GPU: forward without a gate, gradients into zeros as the gate gives them."""
    window = window_of(x, weight, **geometry)
    passes = PLANS[plan]
    xd, wd, gyd = gpu.asarray(x), gpu.asarray(weight), gpu.asarray(gy)
    bias = None if bias is None else gpu.asarray(bias)
    y, gx, gw = gpu.empty(gy.shape, gy.dtype), gpu.zeros(x.shape, x.dtype), gpu.zeros(weight.shape, weight.dtype)
    passes.forward(xd, wd, bias, window, groups, y)
    passes.grad_x(gyd, wd, window, groups, gx)
    passes.grad_w(gyd, xd, window, groups, gw)
    return tuple(result.get() for result in (y, gx, gw))


def oracles(gy, **arrays):
    return conv2d_oracle(**arrays), grad_x_oracle(gy, **arrays), grad_w_oracle(gy, **arrays)


def check(gpu, plan, geometries, seed, dtype, **options):
    rounded, exact = drawn(geometries, plan, seed, dtype)
    with sizes(**options):
        results = run(gpu, plan, **rounded)
    right = sizes_of_terms = oracles(**exact)
    # Two bytes round the terms of a sum, so their size is what counts: terms may cancel where a kernel is a few pixels.
    if rounded["x"].itemsize == 2:
        sizes_of_terms = oracles(**{k: np.abs(v) if isinstance(v, np.ndarray) else v for k, v in exact.items()})
    for name, result, expected, terms in zip(("y", "gx", "gw"), results, right, sizes_of_terms, strict=True):
        assert result.dtype == DTYPES[dtype]
        tolerance = TOLERANCES[dtype]
        if expected.size:
            tolerance *= np.abs(terms).max() / max(np.abs(expected).max(), 1e-30)
        assert_close(result.astype(np.float64), expected, tolerance, f"{plan} {name}")


# The widest and the narrowest type in one uneven workspace; the slow tests take the others.
FAST = {(777, "float64"), (777, "bfloat16")}
ALL = [(size, dtype) for size in WORKSPACES for dtype in sorted(DTYPES)]


@every_plan
@pytest.mark.parametrize(
    ("workspace_bytes", "dtype"), [pytest.param(*way, marks=() if way in FAST else pytest.mark.slow) for way in ALL]
)
@few
@given(geometries=geometries(), seed=seeds)
def test_plan_equals_oracles(gpu, plan, dtype, workspace_bytes, geometries, seed):
    check(gpu, plan, geometries, seed, dtype, workspace_bytes=workspace_bytes)


@every_plan
@few
@given(
    geometries=geometries(),
    seed=seeds,
    order=st.sampled_from([0, 1, 7]),
    longest=st.sampled_from([1, 7, 100]),
    grid=st.sampled_from([1, 3, 1 << 20]),
    narrow=st.sampled_from([-1, 1 << 30]),
    workspace_bytes=st.sampled_from(WORKSPACES),
)
def test_no_way_of_running_changes_a_plan(gpu, plan, geometries, seed, order, **options):
    """Threads in any order, grids of any size, indices of any width, sums cut anywhere."""
    with emulator_options(order):
        check(gpu, plan, geometries, seed, "float64", shortest=options["longest"], **options)


@pytest.mark.slow  # of the plan that "auto" takes, tests/kernels/test_kernel_table.py proves it
@every_plan
@settings(few, max_examples=5)
@given(geometries=geometries(), seed=seeds, workspace_bytes=st.sampled_from(WORKSPACES))
def test_no_two_blocks_write_one_address(gpu, plan, geometries, seed, workspace_bytes):
    with emulator_options(write_sets=True):
        check(gpu, plan, geometries, seed, "float64", workspace_bytes=workspace_bytes, longest=50, shortest=50)


@every_plan
@few
@given(geometries=geometries(), seed=seeds, workspace_bytes=st.sampled_from(WORKSPACES))
def test_plan_sums_whole_numbers_exactly(gpu, plan, geometries, seed, workspace_bytes):
    rounded, exact = drawn(geometries, plan, seed, "float32", integers=True)
    with sizes(workspace_bytes):
        results = run(gpu, plan, **rounded)
    assert all(np.array_equal(a, b) for a, b in zip(results, oracles(**exact), strict=True))


@every_plan
@few
@given(geometries=geometries(), seed=seeds, workspace_bytes=st.sampled_from(WORKSPACES))
def test_plan_keeps_nan_and_inf_local(gpu, plan, geometries, seed, workspace_bytes):
    _, clean = drawn(geometries, plan, seed)
    rng = np.random.default_rng(seed)
    x, gy = clean["x"].copy(), clean["gy"].copy()
    arrays = {name: value for name, value in clean.items() if name != "gy"}
    for value in (np.nan, np.inf, -np.inf):
        x.flat[rng.integers(x.size)] = value
        gy.flat[rng.integers(gy.size)] = value
    with sizes(workspace_bytes), np.errstate(all="ignore"):
        y, _, gw = run(gpu, plan, **{**clean, "x": x})
        gx = run(gpu, plan, **{**clean, "gy": gy})[1]
        right_y, right_gw = conv2d_oracle(**{**arrays, "x": x}), grad_w_oracle(clean["gy"], **{**arrays, "x": x})
        right_gx = grad_x_oracle(gy, **arrays)
    for result, expected in ((y, right_y), (gw, right_gw), (gx, right_gx)):
        assert_close(result, expected, 1e-9)


@pytest.mark.parametrize("kernel", [(3, 3), (2, 2), (5, 3)])
def test_an_infinite_weight_meets_no_padding_in_the_direct_plan(gpu, kernel):
    """Unlike on the CPU: an output is infinite or finite, but never ``0 * inf``."""
    x, weight = np.ones((1, 1, 6, 5)), np.ones((1, 1, *kernel))
    weight[0, 0, 0, 0] = np.inf
    geometry = {"stride": 1, "padding": 1, "dilation": 1}
    window = window_of(x, weight, **geometry)
    first, others = np.zeros_like(weight), np.where(np.isinf(weight), 0, weight)
    first[0, 0, 0, 0] = 1
    reached, finite = np.empty((2, 1, 1, *window.out))
    direct.forward(x, first, None, window, 1, reached)
    direct.forward(x, others, None, window, 1, finite)
    y, _, _ = run(gpu, "direct", x, weight, None, np.ones_like(finite), 1, **geometry)
    assert np.isinf(y).any() and np.isfinite(y).any()
    assert_close(y, np.where(reached > 0, np.inf, finite))


SHAPES = [  # n, c, k, image, kernel, stride, groups: mobile and residual networks in small
    (3, 6, 6, (17, 15), (3, 3), 1, 6),
    (2, 6, 6, (16, 14), (3, 3), 2, 6),
    (2, 4, 8, (14, 13), (5, 5), 2, 4),
    (1, 3, 3, (19, 12), (7, 7), 1, 3),
    (2, 3, 9, (21, 20), (7, 7), 2, 1),
    (2, 20, 12, (7, 7), (1, 1), 1, 2),
    (2, 8, 12, (9, 8), (1, 1), 2, 1),
]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("plan", ["direct", "im2col"])
@every_dtype
def test_larger_images_equal_the_cpu(gpu, plan, dtype, shape):
    n, c, k, image, kernel, stride, groups = shape
    rng = np.random.default_rng(5)
    arrays = {"x": rng.standard_normal((n, c, *image)), "weight": rng.standard_normal((k, c // groups, *kernel))}
    geometry = {"stride": stride, "padding": kernel[0] // 2, "dilation": 1}
    window = window_of(**arrays, **geometry)
    arrays |= {"bias": rng.standard_normal(k), "gy": rng.standard_normal((n, k, *window.out))}
    rounded = {name: a.astype(DTYPES[dtype]) for name, a in arrays.items()}
    results = run(gpu, plan, **rounded, groups=groups, **geometry)
    x, weight, bias, gy = (rounded[name].astype(np.float64) for name in ("x", "weight", "bias", "gy"))
    y, gx, gw = np.empty(gy.shape), np.zeros(x.shape), np.zeros(weight.shape)
    columns.forward(x, weight, bias, window, groups, y)
    columns.grad_x(gy, weight, window, groups, gx)
    columns.grad_w(gy, x, window, groups, gw)
    for result, expected in zip(results, (y, gx, gw), strict=True):
        assert_close(result.astype(np.float64), expected, TOLERANCES[dtype], plan)


def test_a_gpu_gets_few_products(gpu, monkeypatch):
    """Batches are not walked image by image, forward or backward."""
    x, weight, gy = np.ones((40, 6, 5, 5), "f4"), np.ones((3, 6, 1, 1), "f4"), np.ones((40, 3, 5, 5), "f4")
    calls = []
    matmul = gpu.matmul
    monkeypatch.setattr(gpu, "matmul", lambda *args, **kwargs: calls.append(1) or matmul(*args, **kwargs))
    for plan in ("im2col", "pointwise"):
        run(gpu, plan, x, weight, None, gy, 1, stride=1, padding=0, dilation=1)
    assert len(calls) == 6


def test_scratch_of_a_gpu_is_not_kept(gpu):
    kept = dict(workspace._kept.__dict__.get("buffers", {}))
    x, gy = np.ones((2, 2, 5, 5)), np.ones((2, 3, 3, 3))
    run(gpu, "im2col", x, np.ones((3, 2, 3, 3)), None, gy, 1, stride=1, padding=0, dilation=1)
    assert workspace._kept.__dict__.get("buffers", {}) == kept


# ---- planted bugs: the tests above would see them


def everything(gpu):
    """One geometry a branch of the kernels, in small chunks and segments, compared with the CPU."""
    rng = np.random.default_rng(0)
    for n, c, k, image, kernel, options, groups in BRANCHES:
        geometry = {"stride": 1, "padding": 0, "dilation": 1} | options
        shapes = (n, c, *image), (k, c // groups, *kernel), (k,)
        x, weight, bias = (rng.standard_normal(shape) for shape in shapes)
        window = window_of(x, weight, **geometry)
        gy = rng.standard_normal((n, k, *window.out))
        expected = oracles(gy, x=x, weight=weight, bias=bias, groups=groups, **geometry)
        for plan, workspace_bytes, longest in WAYS:
            with sizes(workspace_bytes, longest, shortest=longest):
                results = run(gpu, plan, x, weight, bias, gy, groups, **geometry)
            for result, right in zip(results, expected, strict=True):
                assert_close(result, right)
        col = conv.unfold_forward(gpu.asarray(x), window)
        on_cpu = conv.unfold_forward(x, window)
        assert_close(col.get(), on_cpu)
        assert_close(conv.fold_forward(col, window).get(), conv.fold_forward(on_cpu, window))
    for kernel in (3, 3), (2, 2):
        test_an_infinite_weight_meets_no_padding_in_the_direct_plan(gpu, kernel)


WAYS = (("direct", 1, 150), ("direct", 1, 1000), ("im2col", 777, 1), ("im2col", 5000, 1))
BRANCHES = [
    (20, 2, 2, (3, 4), (3, 3), {"padding": 1}, 2),
    (3, 2, 4, (9, 7), (3, 3), {"padding": 1}, 2),
    (2, 2, 2, (9, 10), (5, 3), {"stride": 2, "padding": 2}, 1),
    (2, 2, 2, (4, 9), (3, 9), {"padding": ((1, 1), (8, 4)), "dilation": (1, 2), "stride": (1, 2)}, 2),
    (2, 4, 6, (12, 11), (2, 3), {"stride": (3, 2), "dilation": (2, 3), "padding": ((1, 2), (3, 0))}, 2),
]

BUGS = [
    ("v = before + q * dw;", "v = before + q;"),
    ("pixels = x + (n * planes + c0 + c) * h * w;", "pixels = x + (n * planes + c) * h * w;"),
    ("kh * kw * pitch + n * jump + b;", "kh * kw * pitch + b;"),
    ("0 <= b && b < positions", "b < positions"),
    ("T(compute<T>(gx[at]) + total)", "T(total)"),
    ("v += compute<T>(bias[k0 + k])", "v += compute<T>(bias[k])"),
    ("columns[k * total + b] = gy[(n * filters + k0 + k)", "columns[k * total + b] = gy[(n * filters + k)"),
    ("rest += step) output--;", "rest += step) output += 0;"),
    ("pixel[r * SH + p]", "pixel[r + p]"),
    ("if (i + r >= oh) continue;", ""),
    ("if (total[r] != total[r])", "if (false)"),
    ("if (z < 0 || z >= w) continue;", ""),
    ("u = start; u < min(start + ROWS, h)", "u = start; u < start + 1"),
    ("v = j * sw + q0 * dw - left;", "v = j * sw - left;"),
    ("if (i >= oh) i -= oh, n++;", "if (i >= oh) i -= oh;"),
    ("n += dn;", "n += 1;"),
    ("for (Index segment = 0; segment < segments;", "for (Index segment = 1; segment < segments;"),
]


def test_without_a_bug_everything_passes(gpu):
    everything(gpu)


@pytest.mark.slow
@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug[0])
def test_a_planted_bug_is_seen(gpu, bug):
    with planted(cuda.SOURCE, *bug), np.errstate(all="ignore"), pytest.raises((AssertionError, EmulatorError)):
        everything(gpu)
