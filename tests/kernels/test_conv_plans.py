"""The plans of the convolution, each by name: oracle, gradients, NaN, whole numbers, cuts; and the chooser."""

import threading
from contextlib import contextmanager

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minicnn
from minicnn import Tensor, gradcheck, ops
from minicnn.errors import ArgumentError
from minicnn.kernels import conv
from minicnn.kernels.conv import blocked, tiles, workspace
from minicnn.kernels.conv import plan as plans
from minicnn.kernels.counting import listening
from tests.close import assert_close
from tests.ops.case import arrays_of
from tests.ops.cases_conv import both, conv2d_oracle, conv_geometry, conv_transpose2d_oracle, padded, sides, taps

# How blocked.py cuts: one channel and row at a time, sizes that divide nothing, and what is used.
SIZES = ("UNITS", "ENTRIES", "BLOCK", "SMALL", "ROWS", "PARTS")
CUTS = {"alone": (99, 1, 1, 1, 1, 3), "parts": (3, 97, 13, 31, 5, 2), "used": ()}
CUTS |= {"tiles": (), "small tiles": ()}
EVERYWHERE = {"PLACES": 1, "POINTWISE_PLACES": 1}
TILES: dict[str, dict[str, int]] = {"tiles": EVERYWHERE, "small tiles": {**EVERYWHERE, "ENTRIES": 97, "UNITS": 3}}

# Those for any geometry on the CPU; the other two have tests of their own.
PLANS = sorted(set(conv.PLANS) - {"implicit_gemm", "winograd"})
every_plan = pytest.mark.parametrize("plan", PLANS)
seeds = st.integers(0, 2**32 - 1)


@contextmanager
def only(plan, cut="used"):
    """Every convolution inside the block runs by one plan, cut in this way."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conv, "choose", lambda *_: plans.Choice(plan, "the test says so"))
        for name, value in zip(SIZES, CUTS[cut], strict=False):
            patch.setattr(blocked, name, value)
        patch.setattr(tiles, "enough_registers", lambda: cut in TILES)
        for name, value in TILES.get(cut, {}).items():
            patch.setattr(tiles, name, value)
        yield


@st.composite
def geometries(draw):
    """A geometry for any plan: the pointwise plan takes only its own."""
    return {
        "pointwise": conv_geometry(draw, groups=(1, 3), pointwise=True),
        "any": conv_geometry(draw, groups=(1, 3), channels=(1, 5)),
    }


def picked(geometry, plan):
    return geometry["pointwise" if plan == "pointwise" else "any"]


def grad_x_oracle(gy, x, weight, stride, padding, dilation, groups, **_):
    """The transposed convolution, with the pixels no window reached as output padding."""
    (sh, sw), (dh, dw), kernel = both(stride), both(dilation), weight.shape[2:]
    (top, bottom), (left, right) = pads = sides(padding, kernel, (dh, dw))
    rest_h = (x.shape[2] + top + bottom - dh * (kernel[0] - 1) - 1) % sh
    rest_w = (x.shape[3] + left + right - dw * (kernel[1] - 1) - 1) % sw
    return conv_transpose2d_oracle(gy, weight, None, stride, pads, (rest_h, rest_w), groups, dilation)


def grad_w_oracle(gy, x, weight, stride, padding, dilation, groups, **_):
    (sh, sw), (dh, dw) = both(stride), both(dilation)
    big = padded(x, sides(padding, weight.shape[2:], (dh, dw)))
    gw = np.zeros_like(weight)
    for k, c, p, q in np.ndindex(weight.shape):
        source = big[:, k // (len(weight) // groups) * weight.shape[1] + c]
        read = source[:, taps(p * dh, gy.shape[2], sh), taps(q * dw, gy.shape[3], sw)]
        gw[k, c, p, q] = (gy[:, k] * read).sum()
    return gw


def run(arrays, gy=None):
    """y, and with ``gy`` also gx and gw."""
    tensors = {k: Tensor(v, requires_grad=True) if isinstance(v, np.ndarray) else v for k, v in arrays.items()}
    y = ops.conv2d(**tensors)
    if gy is None:
        return y.numpy()
    y.backward(gy)
    return y.numpy(), tensors["x"].grad.numpy(), tensors["weight"].grad.numpy()


def batch_of(geometry, seed, **options):
    arrays = arrays_of(geometry, seed, **options)
    return {**arrays, "x": arrays["x"][None]} if arrays["x"].ndim == 3 else arrays


@every_plan
@pytest.mark.parametrize("cut", CUTS)
@settings(max_examples=25)
@given(geometry=geometries(), seed=seeds)
def test_plan_equals_oracles(plan, cut, geometry, seed):
    with only(plan, cut):
        arrays = batch_of(picked(geometry, plan), seed)
        expected = conv2d_oracle(**arrays)
        gy = np.random.default_rng(seed + 1).standard_normal(expected.shape)
        y, gx, gw = run(arrays, gy)
    assert_close(y, expected, what="y")
    assert_close(gx, grad_x_oracle(gy, **arrays), what="gx")
    assert_close(gw, grad_w_oracle(gy, **arrays), what="gw")


@every_plan
@settings(max_examples=25)
@given(geometry=geometries(), seed=seeds, cut=st.sampled_from(sorted(CUTS)))
def test_plan_sums_whole_numbers_exactly(plan, geometry, seed, cut):
    with only(plan, cut):
        arrays = batch_of(picked(geometry, plan), seed, integers=True)
        expected = conv2d_oracle(**arrays)
        gy = np.random.default_rng(seed + 1).integers(-4, 5, expected.shape).astype(np.float32)
        results = run(arrays, gy)
    for actual, right in zip(
        results, (expected, grad_x_oracle(gy, **arrays), grad_w_oracle(gy, **arrays)), strict=True
    ):
        assert actual.dtype == np.float32 and np.array_equal(actual, right)


@every_plan
@settings(max_examples=25)
@given(geometry=geometries(), seed=seeds, cut=st.sampled_from(sorted(CUTS)))
def test_plan_keeps_nan_and_inf_local(plan, geometry, seed, cut):
    """Non-finite pixels reach only the outputs that read them; non-finite gy only the pixels that were read."""
    rng = np.random.default_rng(seed)
    with only(plan, cut), np.errstate(all="ignore"):
        clean = batch_of(picked(geometry, plan), seed)
        expected = conv2d_oracle(**clean)
        damaged = {**clean, "x": clean["x"].copy()}
        gy = rng.standard_normal(expected.shape)
        for value in (np.nan, np.inf, -np.inf):
            damaged["x"].flat[rng.integers(damaged["x"].size)] = value
            gy.flat[rng.integers(gy.size)] = value
        assert_close(run(damaged), conv2d_oracle(**damaged), 1e-9)
        assert_close(run(clean, gy)[1], grad_x_oracle(gy, **clean), 1e-9)
        finite = np.nan_to_num(gy, nan=1.0, posinf=1.0, neginf=1.0)
        assert_close(run(damaged, finite)[2], grad_w_oracle(finite, **damaged), 1e-9)


@every_plan
def test_plan_passes_gradcheck(plan):
    rng = np.random.default_rng(3)
    shapes = ((2, 4, 3, 5), (6, 2, 1, 1), (6,)) if plan == "pointwise" else ((2, 4, 6, 5), (6, 2, 3, 2), (6,))
    x, weight, bias = (Tensor(rng.standard_normal(shape), requires_grad=True) for shape in shapes)
    options = {} if plan == "pointwise" else {"stride": (2, 1), "padding": ((0, 2), (1, 3)), "dilation": (1, 2)}
    for cut in CUTS:
        with only(plan, cut):
            assert gradcheck(lambda *inputs: ops.conv2d(*inputs, groups=2, **options), x, weight, bias)


@pytest.mark.parametrize("plan", ["direct", "im2col"])
def test_padding_times_an_infinite_weight_is_nan(plan):
    """As zero times infinity is; the direct plan of a GPU differs, as the docstring of the plans says."""
    arrays = {"x": np.ones((1, 1, 2, 2)), "weight": np.full((1, 1, 3, 3), np.inf), "padding": 1}
    with only(plan), np.errstate(invalid="ignore"):
        assert np.isnan(run(arrays)).all()


# ---- the chooser: one row a branch

BRANCHES = [
    ("direct", "groups: 8, channels", (2, 8, 9, 9), (8, 1, 3, 3), {"groups": 8, "padding": 1, "stride": 2}),
    ("direct", "groups: 9, channels", (2, 36, 9, 9), (36, 4, 1, 1), {"groups": 9}),
    ("im2col", "filters a group: 1, taps: 9", (2, 7, 9, 9), (7, 1, 3, 3), {"groups": 7}),
    ("im2col", "filters a group: 1, taps: 9", (2, 40, 9, 9), (8, 5, 3, 3), {"groups": 8, "stride": 2}),
    ("im2col", "filters a group: 5, taps: 9", (2, 8, 9, 9), (40, 1, 3, 3), {"groups": 8, "stride": 2}),
    ("im2col", "filters a group: 3, taps: 9", (2, 4, 9, 9), (6, 2, 3, 3), {"groups": 2}),
    ("pointwise", "its own column matrix", (2, 3, 16, 16), (4, 3, 1, 1), {}),
    ("pointwise", "its own column matrix", (2, 3, 16, 16), (1, 3, 1, 1), {}),
    ("pointwise", "its own column matrix", (1, 3, 2, 2), (4, 3, 1, 1), {}),
    ("winograd", "less work than without", (4, 64, 16, 16), (128, 64, 3, 3), {"padding": 1}),
    ("im2col", "taps: 9", (2, 3, 16, 16), (8, 3, 3, 3), {"padding": 1}),
    ("im2col", "taps: 1", (1, 3, 7, 7), (4, 3, 1, 1), {"stride": 2}),
    ("im2col", "taps: 1", (1, 3, 7, 7), (4, 3, 1, 1), {"padding": ((1, 0), (0, 0))}),
]


@pytest.fixture
def noted(monkeypatch):
    """Which passes of which plan run."""
    ran = []

    def noting(plan, name, function):
        def note(*args):
            ran.append((plan, name))
            function(*args)

        return note

    for plan, passes in conv.PLANS.items():
        wrapped = {name: noting(plan, name, getattr(passes, name)) for name in passes._fields}
        monkeypatch.setitem(conv.PLANS, plan, conv.Passes(**wrapped))
    return ran


@pytest.mark.parametrize(("plan", "reason", "x", "weight", "options"), BRANCHES)
def test_auto_picks_and_explains_and_runs(plan, reason, x, weight, options, noted):
    explained = conv.explain(x, weight, **options)
    assert explained.startswith(f"{plan}: ") and reason in explained
    rng = np.random.default_rng(0)
    arrays = {"x": rng.standard_normal(x), "weight": rng.standard_normal(weight), **options}
    y = conv2d_oracle(**arrays)
    assert_close(run(arrays, np.ones_like(y))[0], y)
    assert noted == [(plan, "forward"), (plan, "grad_x"), (plan, "grad_w")]


def test_every_plan_has_a_row():
    assert {row[0] for row in BRANCHES} == {*PLANS, "winograd"}


@pytest.mark.parametrize("knob", ["im2col", "direct"])
def test_a_forced_plan_holds_for_the_backward_pass_too(knob, noted):
    x, weight = Tensor(np.ones((1, 2, 3, 3)), requires_grad=True), Tensor(np.ones((2, 2, 1, 1)), requires_grad=True)
    with minicnn.conv_plan(knob):
        y = ops.conv2d(x, weight)
    y.backward(np.ones(y.shape))
    assert noted == [(knob, "forward"), (knob, "grad_x"), (knob, "grad_w")]


def test_exact_is_one_of_the_plans_that_are_exact(noted):
    with minicnn.conv_plan("exact"):
        ops.conv2d(np.ones((1, 2, 3, 3)), np.ones((2, 2, 1, 1)))
    assert noted == [("pointwise", "forward")]


@pytest.mark.parametrize("knob", ["fft", "pointwise", "IM2COL", None])
def test_an_unknown_plan_is_explained(knob):
    expected = "does not exist, expected one of 'auto', 'exact', 'im2col', 'direct', 'implicit_gemm', 'winograd'"
    with pytest.raises(ArgumentError, match=expected), minicnn.conv_plan(knob):
        pass
    assert conv.current_plan() == "auto"


def test_another_thread_starts_with_auto():
    seen = []
    with minicnn.conv_plan("direct"):
        thread = threading.Thread(target=lambda: seen.append(conv.current_plan()))
        thread.start()
        thread.join()
    assert seen == ["auto"]


@pytest.mark.parametrize("knob", ["auto", "im2col", "direct", "winograd"])
@pytest.mark.parametrize(("n", "c", "k"), [(0, 2, 3), (2, 0, 3), (2, 3, 0)])
def test_sums_of_nothing_are_zero(n, c, k, knob):
    """No images, no channels, no filters: what is left is the bias."""
    arrays = {"x": np.ones((n, c, 5, 4)), "weight": np.ones((k, c, 3, 3)), "bias": np.arange(1.0, k + 1)}
    with minicnn.conv_plan(knob):
        y, gx, gw = run(arrays, np.ones((n, k, 3, 2)))
    assert np.array_equal(y, np.broadcast_to(arrays["bias"][:, None, None], (n, k, 3, 2)))
    assert np.array_equal(gx, np.zeros((n, c, 5, 4))) and np.array_equal(gw, np.zeros((k, c, 3, 3)))


# ---- workspace


def test_scratch_is_reused(monkeypatch):
    monkeypatch.setattr(workspace, "_kept", threading.local())
    rng = np.random.default_rng(0)
    arrays = {"x": rng.standard_normal((3, 2, 10, 9)), "weight": rng.standard_normal((4, 2, 3, 2)), "padding": 1}
    gy = np.ones((3, 4, 10, 10))
    with only("im2col"):
        run(arrays, gy)
        buffers = workspace._kept.buffers
        assert buffers
        before = {key: id(buffer) for key, buffer in buffers.items()}
        run(arrays, gy)
        assert {key: id(buffer) for key, buffer in buffers.items()} == before


def test_large_scratch_goes_back(monkeypatch):
    monkeypatch.setattr(workspace, "_kept", threading.local())
    x = np.zeros(1, np.float32)
    most = workspace.scratch(x, "rows", (2, workspace.KEPT_BYTES // 8))
    assert np.shares_memory(most, workspace.scratch(x, "rows", (1, 1)))
    larger = workspace.scratch(x, "rows", (2, workspace.KEPT_BYTES // 8 + 1))
    assert larger.shape == (2, workspace.KEPT_BYTES // 8 + 1) and larger.dtype == x.dtype
    assert not any(np.shares_memory(larger, buffer) for buffer in workspace._kept.buffers.values())


@pytest.mark.parametrize(
    ("fitting", "pixels", "images", "expected"),
    [(1, 100, 8, 1), (30, 100, 8, 25), (99, 100, 8, 50), (100, 100, 8, 100), (250, 100, 8, 200), (9999, 100, 8, 800)],
)
def test_a_chunk_is_whole_images_or_an_even_part_of_one(fitting, pixels, images, expected):
    assert workspace.positions_a_chunk(fitting * 4 * 7, rows=7, itemsize=4, pixels=pixels, images=images) == expected


def test_two_threads_and_any_number_of_numba_threads_give_the_same_bits():
    rng = np.random.default_rng(0)
    cases = []
    for groups in (1, 4):
        x, weight = rng.standard_normal((3, 4, 9, 8)), rng.standard_normal((8, 4 // groups, 3, 3))
        cases.append({"x": x, "weight": weight, "padding": 1, "groups": groups})
    gy = rng.standard_normal((3, 8, 9, 8))
    first = [run(case, gy) for case in cases]
    results, threads = [], []
    for case in cases * 2:
        threads.append(threading.Thread(target=lambda case=case: results.append((case, run(case, gy)))))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    available = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        results += [(case, run(case, gy)) for case in cases]
    finally:
        numba.set_num_threads(available)
    for case, result in results:
        right = first[0] if case is cases[0] else first[1]
        assert all(np.array_equal(a, b) for a, b in zip(result, right, strict=True))


# ---- multiply-adds


def test_multiply_adds_are_reported_for_real_and_abstract_runs():
    expected = {"conv2d": 2 * 6 * 3 * 5 * (4 // 2) * 3 * 2, "conv_transpose2d": 2 * 4 * 6 * 5 * 3 * 2 * 2}
    expected["linear"] = 2 * 3 * 5 * 7

    def counted():
        counts = {}
        with listening(lambda op, macs: counts.__setitem__(op, counts.get(op, 0) + macs)):
            x = Tensor(np.ones((2, 4, 6, 5), np.float32))
            ops.conv2d(x, Tensor(np.ones((6, 2, 3, 2), np.float32)), stride=2, padding=(1, 3), groups=2)
            ops.conv_transpose2d(x, Tensor(np.ones((4, 3, 2, 2), np.float32)), stride=2)
            ops.linear(Tensor(np.ones((2, 3, 5), np.float32)), Tensor(np.ones((7, 5), np.float32)))
        return counts

    assert counted() == expected
    with minicnn.abstract():
        assert counted() == expected


def test_multiply_adds_of_the_backward_pass_have_their_own_names():
    counts = []
    x, weight = Tensor(np.ones((2, 4, 6, 5)), requires_grad=True), Tensor(np.ones((6, 4, 3, 2)), requires_grad=True)
    with listening(lambda op, macs: counts.append((op, macs))):
        y = ops.conv2d(x, weight)
        y.backward(np.ones(y.shape))
    macs = 2 * 6 * 4 * 4 * 4 * 3 * 2
    assert counts == [("conv2d", macs), ("conv2d_grad_x", macs), ("conv2d_grad_w", macs)]
