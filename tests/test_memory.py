"""Too little GPU memory: one error, wherever CuPy runs out, that says what to do."""

import gc

import numpy as np
import pytest

import minicnn
from minicnn import Tensor, nn, ops
from minicnn.errors import OutOfMemoryError
from minicnn.kernels import memory
from minicnn.kernels.arrays import allocate
from tests.emulator import emulated_gpu, pretend_cuda

X = np.ones((16, 64), np.float32)


@pytest.fixture
def gpu():
    with emulated_gpu() as cupy:
        yield cupy


@pytest.fixture
def room(gpu):
    """``room(n)``: from now on there is room for n bytes more."""
    pool = gpu.get_default_memory_pool()
    gc.disable()  # what errors of tests before held on to is not given back meanwhile
    yield lambda size: pool.set_limit(pool.used_bytes() + size)
    pool.set_limit(0)
    gc.enable()


class Block(nn.Module):
    """Two layers, the inner one an operation that needs memory."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x)


class Squared(nn.Module):
    def forward(self, x):
        return x * x + 1


def test_array_arithmetic_outside_any_layer(room):
    x = Tensor(X, device="gpu")
    room(X.nbytes - 1)
    message = (
        r"^4\.0 KiB do not fit on cuda:0: of 80\.0 GiB there, .* are in use by this process and .* are free; "
        r"its pool has a limit of .*; fix: a smaller batch or smaller images, "
        r"no_grad\(\) .*, or minicnn\.checkpoint\(block, x\)"
    )
    with pytest.raises(OutOfMemoryError, match=message):
        ops.exp(x)


def test_it_is_cupys_own_error_too(room, gpu):
    x = Tensor(X, device="gpu")
    room(0)
    with pytest.raises(gpu.cuda.memory.OutOfMemoryError) as caught:
        x + x
    assert isinstance(caught.value, (OutOfMemoryError, MemoryError))


def test_moving_to_the_gpu(room):
    held = Tensor(X, device="gpu")
    room(0)
    with pytest.raises(OutOfMemoryError, match=r"4\.0 KiB do not fit on cuda:0"):
        Tensor(X).to("gpu")
    assert held.shape == X.shape


@pytest.mark.parametrize("fill", [None, 0, 1.5])
def test_kernel_outputs_name_their_shape(room, fill):
    x = Tensor(X, device="gpu").data
    room(X.nbytes)
    with pytest.raises(OutOfMemoryError, match=r"^8\.0 KiB for an array of shape \(16, 128\) and float32 do not fit"):
        allocate(x, (16, 128), fill=fill)


def test_inside_a_model_the_layer_is_named(room):
    model = nn.Sequential(Block(Squared()))
    x = Tensor(X, device="gpu")
    room(0)
    with pytest.raises(OutOfMemoryError, match=r"^0\.inner: 4\.0 KiB do not fit"):
        model(x)


def test_in_the_backward_pass_the_layer_and_the_operation_are_named(room):
    model = nn.Sequential(Block(Squared()))
    x = Tensor(X, device="gpu", requires_grad=True)
    y = model(x)
    seed = Tensor(X, device="gpu")
    room(0)
    with pytest.raises(OutOfMemoryError, match=r"^0\.inner: 4\.0 KiB for the gradient of mul do not fit"):
        y.backward(seed)
    assert x.grad is None


def test_numpys_own_error_passes_through_the_backward_pass():
    x = Tensor(X, requires_grad=True)

    def too_large(gy, needs):
        return (np.empty((1 << 60,), np.float32),)

    with pytest.raises(MemoryError, match="Unable to allocate") as caught:
        minicnn.record("large", X.copy(), (x,), too_large).sum().backward()
    assert not isinstance(caught.value, OutOfMemoryError)


def test_what_the_pool_keeps_is_freed_before_giving_up(gpu, monkeypatch):
    Tensor(X, device="gpu")
    freed = []
    real = pretend_cuda.MemoryPool.malloc

    def malloc(pool, size):
        if not freed:
            raise pretend_cuda.OutOfMemoryError(size, 0)
        return real(pool, size)

    allocator = pretend_cuda.get_allocator()
    pool = gpu.get_default_memory_pool()
    monkeypatch.setattr(pretend_cuda.MemoryPool, "free_all_blocks", lambda pool: freed.append(1))
    monkeypatch.setattr(pretend_cuda, "_allocator", [lambda size: malloc(pool, size)])
    memory.explain_shortage(gpu)
    assert pretend_cuda.get_allocator() is not allocator
    assert np.array_equal((Tensor(X, device="gpu") + 1).numpy(), X + 1)
    assert freed == [1]


def test_sizes_are_readable():
    assert [memory.readable(n) for n in (0, 1023, 1024, 3 << 19, 80 << 30, 5 << 40)] == [
        "0 bytes",
        "1,023 bytes",
        "1.0 KiB",
        "1.5 MiB",
        "80.0 GiB",
        "5.0 TiB",
    ]
