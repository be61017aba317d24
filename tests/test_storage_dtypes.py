"""float16 and bfloat16: ways of storing numbers on the GPU, computed in float32; on the CPU only converted."""

import sys

import numpy as np
import pytest

import minicnn
from minicnn import Tensor, nn, ops
from minicnn.errors import DTypeError
from tests.emulator import emulated_gpu

STORED = ("float16", "bfloat16")
SPACING = {"float16": 2.0**-10, "bfloat16": 2.0**-7}  # of numbers near 1
X = np.linspace(-2, 2, 12, dtype=np.float32).reshape(3, 4)

EVERY_FLOAT_OPERATION = {
    "add": lambda x, y: x + y,
    "add a number": lambda x, y: x + 0.1,
    "subtract from a number": lambda x, y: 1 - x,
    "multiply": lambda x, y: x * y,
    "multiply by a row": lambda x, y: x * y[0],
    "divide": lambda x, y: x / y,
    "negate": lambda x, y: -x,
    "square": lambda x, y: x**2,
    "power": lambda x, y: y**x,
    "exp": lambda x, y: ops.exp(x),
    "log": lambda x, y: ops.log(y),
    "rsqrt": lambda x, y: ops.rsqrt(y),
    "abs": lambda x, y: abs(x),
    "clip": lambda x, y: ops.clip(x, -0.5, 0.75),
    "clip below": lambda x, y: ops.clip(x, min=0),
    "maximum": lambda x, y: ops.maximum(x, y),
    "where": lambda x, y: ops.where(x > y, x, y),
    "where a number": lambda x, y: ops.where(x > 0, x, 0.5),
    "sum": lambda x, y: x.sum(1),
    "mean": lambda x, y: x.mean(0),
    "var": lambda x, y: x.var(1),
    "std": lambda x, y: x.std(),
    "prod": lambda x, y: y.prod(1),
    "logsumexp": lambda x, y: ops.logsumexp(x, 1),
    "max": lambda x, y: x.max(),
    "max along": lambda x, y: x.max(1).values,
    "amin": lambda x, y: ops.amin(x, 0),
    "matmul": lambda x, y: x @ y.T,
    "batches of matmul": lambda x, y: x.reshape(3, 1, 4) @ y.reshape(3, 4, 1),
    "rows": lambda x, y: x[np.array([2, 0, 2])],
    "gather": lambda x, y: ops.gather(x, 1, np.array([[0, 0], [3, 1]])),
    "pad": lambda x, y: ops.pad(x, (1, 2), value=0.5),
    "reflect": lambda x, y: ops.pad(x, (1, 2), mode="reflect"),
    "cat": lambda x, y: ops.cat([x, y]),
    "stack": lambda x, y: ops.stack([x, y]),
    "permute": lambda x, y: x.T.reshape(2, 6),
    "flip": lambda x, y: ops.flip(x, 0),
    "clone": lambda x, y: x.clone(),
}


@pytest.fixture
def gpu():
    with emulated_gpu() as cupy:
        yield cupy


def stored(values, dtype):
    """On the GPU, and as float32 on the CPU."""
    x = Tensor(values, device="gpu").astype(dtype)
    return Tensor(x.data, requires_grad=True), Tensor(x.numpy().astype(np.float32), requires_grad=True)


@pytest.mark.parametrize("dtype", STORED)
@pytest.mark.parametrize("operation", EVERY_FLOAT_OPERATION.values(), ids=EVERY_FLOAT_OPERATION)
def test_values_and_gradients_are_those_of_float32_rounded(gpu, dtype, operation):
    (x, wide_x), (y, wide_y) = stored(X, dtype), stored(np.abs(X[::-1]) + 0.5, dtype)
    result, wide = operation(x, y), operation(wide_x, wide_y)
    assert (result.dtype.name, result.device) == (dtype, "cuda:0")
    assert_near(result, wide, dtype)
    seed = np.linspace(0.5, 1.5, wide.size, dtype=np.float32).reshape(wide.shape)
    seed = Tensor(seed, device="gpu").astype(dtype)
    result.backward(seed)
    wide.backward(seed.astype("float32").numpy())
    for small, large in ((x, wide_x), (y, wide_y)):
        assert (small.grad is None) == (large.grad is None)
        if small.grad is not None:
            assert small.grad.dtype.name == dtype
            assert_near(small.grad, large.grad, dtype, 3)  # a gradient may be rounded on its way: gy * b, then summed


def assert_near(actual, expected, dtype, roundings=1):
    a, b = actual.numpy().astype(np.float32), expected.numpy()
    assert a.shape == b.shape
    assert np.abs(a - b).max() <= 0.5 * roundings * SPACING[dtype] * np.abs(b).max()


@pytest.mark.parametrize("dtype", STORED)
def test_sums_do_not_overflow_on_the_way(gpu, dtype):
    x = Tensor(np.full(5000, 30.0, np.float32), device="gpu").astype(dtype)
    assert x.mean().item() == 30
    assert x.var().item() == 0


@pytest.mark.parametrize("dtype", STORED)
def test_comparisons_and_positions(gpu, dtype):
    x = Tensor(X, device="gpu").astype(dtype)
    assert (x > 0).dtype == bool
    assert np.array_equal((x > 0.1).numpy(), X > 0.1)
    assert np.array_equal(x.argmax(1).numpy(), X.argmax(1))


@pytest.mark.parametrize("dtype", STORED)
@pytest.mark.parametrize(
    "operation",
    [lambda x: x + 1, ops.exp, ops.sum, ops.argmax, ops.relu, lambda x: x @ x.T, lambda x: x == x, ops.amax],
)
def test_the_cpu_refuses_to_compute(dtype, operation):
    x = Tensor(X).astype(dtype)
    with pytest.raises(
        DTypeError, match=rf"x has dtype {dtype}, in which only a GPU computes; fix: x\.astype\('float32'\)"
    ):
        operation(x)


@pytest.mark.parametrize("dtype", STORED)
def test_the_cpu_converts(dtype):
    x = Tensor(X, requires_grad=True)
    half = x.astype(dtype)
    assert (half.dtype.name, half.data.itemsize, half.requires_grad) == (dtype, 2, True)
    half.astype("float32").sum().backward()
    assert np.array_equal(x.grad.numpy(), np.ones_like(X))
    assert dtype in repr(half)


@pytest.mark.parametrize("dtype", STORED)
def test_storage_dtypes_are_never_mixed(gpu, dtype):
    x = Tensor(X, device="gpu")
    with pytest.raises(DTypeError, match="never mixed"):
        x.astype(dtype) * x
    other = STORED[dtype == STORED[0]]
    with pytest.raises(DTypeError, match="never mixed"):
        x.astype(dtype) + x.astype(other)


@pytest.mark.parametrize("dtype", STORED)
def test_tensors_and_modules_are_made_of_them(gpu, dtype):
    assert minicnn.zeros(2, dtype=dtype, device="gpu").dtype.name == dtype
    assert minicnn.randn(2, dtype=dtype).dtype.name == dtype
    assert minicnn.rand(100, dtype=dtype).numpy().astype(float).max() < 1
    layer = nn.Linear(4, 2).to("gpu")
    values = layer.state_dict()
    assert layer.astype(dtype) is layer
    assert {p.dtype.name for p in layer.parameters()} == {dtype}
    nn.init.normal_(layer.weight)
    layer.load_state_dict(values)
    saved = layer.state_dict()
    assert saved["weight"].dtype.name == dtype
    np.testing.assert_allclose(saved["weight"].astype(np.float32), values["weight"], rtol=SPACING[dtype])


@pytest.mark.parametrize("dtype", STORED)
def test_checkpoints_keep_them_exactly(tmp_path, dtype):
    from minicnn.train.checkpoint import load_checkpoint, save_checkpoint

    x = Tensor(X).astype(dtype).numpy()
    save_checkpoint(tmp_path / "a.safetensors", {"x": x}, {})
    found = load_checkpoint(tmp_path / "a.safetensors").arrays["x"]
    assert found.dtype.name == ("float32" if dtype == "bfloat16" else dtype)  # readable without ml_dtypes
    assert np.array_equal(found.astype(x.dtype), x)


def test_a_module_is_only_made_of_floats():
    with pytest.raises(DTypeError, match=r"Linear\.astype: dtype=int64 holds no fractions"):
        nn.Linear(2, 2).astype("int64")


def test_without_ml_dtypes_the_line_that_installs_it_is_given(monkeypatch):
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    with pytest.raises(DTypeError, match="dtype bfloat16 needs the package ml_dtypes; fix: pip install ml_dtypes"):
        Tensor(X).astype("bfloat16")
