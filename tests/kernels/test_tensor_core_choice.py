"""Who convolves on tensor cores: the chooser, explanations, forced plans, and the precision of float32."""

import types

import numpy as np
import pytest

import minicnn
from minicnn import Tensor, ops
from minicnn.errors import ArgumentError, DeviceError, DTypeError
from minicnn.kernels import conv
from minicnn.kernels.conv import plan as plans
from tests.close import assert_close
from tests.emulator import emulated_gpu
from tests.kernels.test_conv_plans import grad_w_oracle, grad_x_oracle
from tests.kernels.test_implicit_gemm import EPS, geometry, window_of
from tests.ops.cases_conv import conv2d_oracle


@pytest.fixture(autouse=True)
def gpu():
    with emulated_gpu() as cupy:
        yield cupy


@pytest.fixture
def tf32(gpu):
    with minicnn.set_float32_precision("tf32"):
        yield


# ---- through the operations


def run_in_half():
    """conv2d in float16, which chooses the plan by itself, forward and backward: what went in and what came out."""
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(size).astype(np.float16) for size in ((2, 4, 6, 5), (6, 4, 3, 3), (6,))]
    tensors = [Tensor(a, requires_grad=True, device="gpu") for a in arrays]
    y = ops.conv2d(*tensors, padding=1, stride=2)
    y.backward(Tensor(np.ones(y.shape, np.float16), device="gpu").data)
    return arrays, (y, *(t.grad for t in tensors))


def test_operations_use_it_forward_and_backward(noted):
    arrays, results = run_in_half()
    assert {row[0] for row in noted} == {"implicit_gemm"} and len(noted) == 3
    x, weight, bias = (a.astype(np.float64) for a in arrays)
    options = {"stride": (2, 2), "padding": ((1, 1), (1, 1)), "dilation": (1, 1), "groups": 1}
    ones = np.ones(results[0].shape)
    right = conv2d_oracle(x, weight, bias, **options), grad_x_oracle(ones, x, weight, **options)
    right = *right, grad_w_oracle(ones, x, weight, **options), ones.sum((0, 2, 3))
    for result, expected in zip(results, right, strict=True):
        assert result.dtype == np.float16
        assert_close(result.numpy().astype(np.float64), expected, EPS["float16"])


@pytest.fixture
def noted(monkeypatch):
    """Which passes run on tensor cores, and in which precision CuPy multiplies meanwhile."""
    ran = []

    def noting(plan, name, function):
        def note(*args):
            ran.append((plan, name, minicnn.float32_precision()))
            function(*args)

        return note

    for plan, three in conv.PLANS.items():
        wrapped = {name: noting(plan, name, getattr(three, name)) for name in three._fields}
        monkeypatch.setitem(conv.PLANS, plan, conv.Passes(**wrapped))
    return ran


def leaves(channels=2):
    arrays = np.ones((1, channels, 4, 4), np.float32), np.ones((4, 2, 3, 3), np.float32)
    return [Tensor(a, requires_grad=True, device="gpu") for a in arrays]


@pytest.mark.parametrize("forced", ["auto", "implicit_gemm", "im2col"])
def test_backward_keeps_plan_and_precision_of_forward(noted, forced):
    with minicnn.set_float32_precision("tf32"), minicnn.conv_plan(forced):
        y = ops.conv2d(*leaves())
        up = ops.conv_transpose2d(*leaves(channels=4))
    plan = "im2col" if forced == "im2col" else "implicit_gemm"
    for z in (y, up):
        z.backward(Tensor(np.ones(z.shape, np.float32), device="gpu").data)
    assert noted[0] == (plan, "forward", "tf32")
    assert {row[::2] for row in noted} == {(plan, "tf32")} and len(noted) == 6
    noted.clear()
    y = ops.conv2d(*leaves())
    with minicnn.set_float32_precision("tf32"):
        y.backward(Tensor(np.ones(y.shape, np.float32), device="gpu").data)
    assert {row[::2] for row in noted} == {("im2col", "highest")}
    assert minicnn.float32_precision() == "highest"


def test_exact_is_exact_in_any_precision(noted, tf32):
    """Whole numbers beyond the 11 bits of TF32."""
    x, weight = leaves()
    x.data[...] = 4099.0
    with minicnn.conv_plan("exact"):
        y = ops.conv2d(x, weight)
    assert noted == [("im2col", "forward", "highest")]
    assert (y.numpy() == 4099.0 * 18).all()
    assert minicnn.float32_precision() == "tf32"


# ---- the chooser

A100, T4 = ("cuda:0", 80), ("cuda:0", 75)
CHOICES = [
    ("implicit_gemm", "float16 on cuda:0", A100, "float16", "highest", (8, 4)),
    ("implicit_gemm", "bfloat16 on cuda:0", A100, "bfloat16", "highest", (8, 4)),
    ("implicit_gemm", "float32 as TF32", A100, "float32", "tf32", (8, 4)),
    ("im2col", "no tensor cores: float32 is multiplied in 'highest'", A100, "float32", "highest", (8, 4)),
    ("im2col", "do not multiply float64", A100, "float64", "tf32", (8, 4)),
    ("im2col", "capability 7.5", T4, "float16", "highest", (8, 4)),
    ("im2col", "filters a group: 8, taps: 9", ("cpu", 0), "float32", "tf32", (8, 4)),
    ("direct", "filters a group: 1", A100, "float16", "highest", (4, 1)),
]


def place(hardware, dtype, precision):
    return plans.Place(dtype, *hardware, precision)


@pytest.mark.parametrize(("plan", "reason", "hardware", "dtype", "precision", "filters"), CHOICES)
def test_auto_chooses_by_dtype_and_device(plan, reason, hardware, dtype, precision, filters):
    shapes = geometry(2, 4, filters[0], (6, 6), (3, 3), 4 // filters[1])
    sizes = 2, 4, filters[0], window_of(shapes), shapes["groups"]
    chosen = plans.choose("auto", *sizes, place(hardware, dtype, precision))
    assert chosen.plan == plan and reason in chosen.reason
    assert plans.choose("exact", *sizes, place(hardware, dtype, precision)).plan != "implicit_gemm"


def test_explain_knows_dtype_and_device(gpu):
    shapes = (2, 4, 8, 8), (8, 4, 3, 3)
    assert conv.explain(*shapes, dtype="float16", device="gpu").startswith("implicit_gemm: float16 on gpu")
    assert conv.explain(*shapes, device="cuda:0").startswith("im2col: ")
    with minicnn.set_float32_precision("tf32"):
        assert conv.explain(*shapes, device="cuda:0").startswith("implicit_gemm: float32 as TF32")
    with pytest.raises(ArgumentError, match=r"device='tpu' is unknown"):
        conv.explain(*shapes, device="tpu")


FORCED = [
    (("cpu", 0), "float32", "tf32", ArgumentError, r"on the CPU, .*fix: x\.to\('gpu'\)"),
    (
        T4,
        "float16",
        "highest",
        ArgumentError,
        r"compute capability 7\.5, expected 8\.0 or more; fix: conv_plan\('auto'\)",
    ),
    (A100, "float64", "tf32", DTypeError, r"do not multiply float64 here; fix: x\.astype\('float16'\)"),
    (A100, "float32", "highest", DTypeError, r"fix: minicnn\.set_float32_precision\('tf32'\)"),
]


@pytest.mark.parametrize(("hardware", "dtype", "precision", "error", "match"), FORCED)
def test_forcing_it_where_it_cannot_run_is_explained(hardware, dtype, precision, error, match):
    shapes = geometry(2, 4, 8, (6, 6), (3, 3))
    with pytest.raises(error, match=match):
        plans.choose("implicit_gemm", 2, 4, 8, window_of(shapes), 1, place(hardware, dtype, precision))


def test_forcing_it_on_the_cpu_raises_in_the_operation():
    with minicnn.conv_plan("implicit_gemm"), pytest.raises(ArgumentError, match=r"implicit_gemm.*on the CPU"):
        ops.conv2d(np.ones((1, 2, 4, 4)), np.ones((3, 2, 3, 3)))


# ---- precision


def test_precision_is_a_call_and_a_block(gpu):
    a = gpu.asarray(np.full((2, 2), 1 + 2.0**-12, np.float32))

    def rounded():
        assert gpu.matmul(a[None], a[None]).get()[0, 0, 0] != 2  # CuPy leaves stacks of matrices alone
        return gpu.matmul(a, a).get()[0, 0] == 2

    assert minicnn.float32_precision() == "highest" and not rounded()
    with minicnn.set_float32_precision("tf32"):
        assert minicnn.float32_precision() == "tf32" and rounded()
        with minicnn.set_float32_precision("highest"):
            assert not rounded()
        assert rounded()
    assert not rounded()
    minicnn.set_float32_precision("tf32")
    assert rounded()
    minicnn.set_float32_precision("highest")
    assert minicnn.float32_precision() == "highest" and not rounded()


@pytest.mark.parametrize("precision", ["high", "TF32", None])
def test_an_unknown_precision_is_explained(precision):
    with pytest.raises(ArgumentError, match=r"precision=.* does not exist, expected 'highest' or 'tf32'"):
        minicnn.set_float32_precision(precision)
    assert minicnn.float32_precision() == "highest"


def test_explain_speaks_of_a_gpu_that_is_not_there(monkeypatch):
    """Without CuPy, and with CuPy but no driver, the plan of a recent GPU is told and nothing fails."""
    shapes = ((8, 64, 56, 56), (64, 64, 3, 3))

    def missing():
        raise DeviceError("no CuPy")

    driverless = types.SimpleNamespace(cuda=types.SimpleNamespace(is_available=lambda: False))
    for found in (missing, lambda: driverless):
        monkeypatch.setattr(plans, "cupy", found)
        assert conv.explain(*shapes, dtype="bfloat16", device="gpu").startswith("implicit_gemm: bfloat16 on gpu")
