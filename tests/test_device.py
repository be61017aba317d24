"""Tensors, modules and their state on the (emulated) GPU, and what is said when there is none."""

import importlib.metadata
import sys
import types

import numpy as np
import pytest

import minicnn
from minicnn import Tensor, nn, ops, optim
from minicnn.devices import choose_device, gpu_facts, gpu_trouble
from minicnn.errors import ArgumentError, DeviceError, DTypeError, GradientError, IndexRangeError
from minicnn.kernels.arena import arena
from minicnn.kernels.arrays import allocate
from tests.emulator import emulated_gpu, synchronisations

X = np.arange(6, dtype=np.float32).reshape(2, 3)


@pytest.fixture
def gpu():
    with emulated_gpu() as cupy:
        synchronisations.clear()
        yield cupy


@pytest.mark.parametrize("name", ["gpu", "cuda", "cuda:0"])
def test_a_tensor_goes_to_the_gpu_and_back(gpu, name):
    x = Tensor(X, requires_grad=True)
    y = x.to(name)
    assert y.device == "cuda:0"
    assert y.to(name) is y
    (y * 2).to("cpu").sum().backward()
    assert x.grad.device == "cpu"
    assert np.array_equal(x.grad.numpy(), np.full((2, 3), 2))
    assert np.array_equal(y.numpy(), X)


@pytest.mark.parametrize("name", ["tpu", "cuda:", "cuda:x", "cpu:0", "gpu:0", "", None, 0])
def test_an_unknown_device_is_refused(gpu, name):
    with pytest.raises(DeviceError, match=r"is unknown; expected 'cpu', 'gpu', 'cuda' or 'cuda:<index>'"):
        Tensor(X).to(name)


def test_a_gpu_that_is_not_there_is_refused(gpu):
    with pytest.raises(DeviceError, match=r"device 'cuda:3': this machine has 1 GPU\(s\); fix: 'cuda:0'"):
        Tensor(X).to("cuda:3")


def test_strided_host_arrays_arrive_contiguous(gpu):
    y = Tensor(X.T).to("gpu")
    assert y.data.flags.c_contiguous
    assert np.array_equal(y.numpy(), X.T)


@pytest.mark.parametrize(
    "made",
    [
        lambda: minicnn.zeros(2, 3, device="gpu"),
        lambda: minicnn.ones(2, 3, device="gpu"),
        lambda: minicnn.full((2, 3), 4, device="cuda:0"),
        lambda: minicnn.arange(3, device="gpu"),
        lambda: minicnn.randn(2, 3, device="gpu"),
        lambda: minicnn.rand(2, 3, device="gpu"),
        lambda: Tensor([1.0, 2.0], device="gpu"),
        lambda: nn.Parameter(X, device="gpu"),
    ],
    ids=["zeros", "ones", "full", "arange", "randn", "rand", "Tensor", "Parameter"],
)
def test_tensors_are_made_on_the_gpu(gpu, made):
    assert made().device == "cuda:0"
    assert not synchronisations


def test_random_numbers_do_not_depend_on_the_device(gpu):
    drawn = [minicnn.randn(4, generator=minicnn.Generator(3), device=device).numpy() for device in ("cpu", "gpu")]
    assert np.array_equal(*drawn)


@pytest.mark.parametrize("operation", [ops.add, ops.matmul, ops.maximum, lambda a, b: ops.cat([a, b])])
def test_devices_are_never_mixed(gpu, operation):
    square = np.ones((2, 2), np.float32)
    with pytest.raises(DeviceError, match=r"is on cpu, but .* is on cuda:0; fix: .*\.to\('cuda:0'\)"):
        operation(Tensor(square, device="gpu"), Tensor(square))


def test_a_seed_on_another_device_is_refused(gpu):
    with pytest.raises(DeviceError, match="backward: seed is on cpu, but the tensor on cuda:0"):
        (Tensor(X, requires_grad=True, device="gpu") * 2).backward(X)


def test_a_hook_must_stay_on_the_device(gpu):
    x = Tensor(X, requires_grad=True, device="gpu")
    x.register_hook(lambda grad: grad.to("cpu"))
    with pytest.raises(GradientError, match=r"on cpu for a gradient of shape \(2, 3\) and dtype float32 on cuda:0"):
        x.sum().backward()


def test_python_numbers_do_not_promote(gpu):
    x = Tensor(X, device="gpu")
    for y in (x + 1, 2.5 * x, 1 / (x + 1), x**2.5, ops.clip(x, 0, 1.5), ops.where(x > 1, x, 0.0)):
        assert (y.dtype, y.device) == (np.float32, "cuda:0")
    assert not synchronisations


@pytest.mark.parametrize("power", [lambda x: x**-1, lambda x: x ** Tensor([1, 0, -1], device="gpu"), lambda x: 2**-x])
def test_integers_to_a_negative_power_are_refused_as_on_the_cpu(gpu, power):
    with pytest.raises(
        ArgumentError, match=r"pow: integers to a negative integer power are no integers; fix: x\.astype"
    ):
        power(Tensor([1, 2, 3], device="gpu"))


# ---- indexing: CuPy wraps what is out of range

INDICES = [
    [0, 1, -1],
    np.array([[1], [0]]),
    np.array([True, False]),
    np.array([[True, False, True], [False, True, False]]),
    (np.array([0, 1]), slice(None, None, 2)),
    (Ellipsis, np.array([2, 0], np.uint8)),
    (None, [1], None),
    (np.array([0, 1]), np.array([1, 2])),
]


@pytest.mark.parametrize("index", INDICES, ids=range(len(INDICES)))
@pytest.mark.parametrize("where", ["host", "device"])
def test_indexing_equals_numpys(gpu, index, where):
    parts = index if isinstance(index, tuple) else (index,)
    if where == "device":
        parts = tuple(Tensor(np.asarray(p), device="gpu") if isinstance(p, (list, np.ndarray)) else p for p in parts)
    x = Tensor(X, requires_grad=True, device="gpu")
    y = x[parts]
    assert bool(synchronisations) == (where == "device")
    expected = X[index]
    assert np.array_equal(y.numpy(), expected)
    seed = np.arange(1.0, expected.size + 1, dtype=np.float32).reshape(expected.shape)
    synchronisations.clear()
    y.backward(Tensor(seed, device="gpu"))
    assert not synchronisations
    gradient = np.zeros_like(X)
    np.add.at(gradient, index, seed)
    assert np.array_equal(x.grad.numpy(), gradient)


@pytest.mark.parametrize("index", [True, np.True_, (0, np.array(False))], ids=str)
def test_a_single_bool_is_no_index_there(gpu, index):
    with pytest.raises(DTypeError, match=r"a single bool is no index on the GPU; fix: x\[None\]"):
        Tensor(X, device="gpu")[index]


@pytest.mark.parametrize("where", ["host", "device"])
@pytest.mark.parametrize(
    ("index", "message"),
    [
        ([0, 2], "index 2 is out of bounds for axis 0 with size 2"),
        (np.array([-3]), "index -3 is out of bounds"),
        ((0, [3]), "index 3 is out of bounds for axis 1 with size 3"),
        (np.array([True, False, True]), r"a mask of shape \(3,\) meets dimensions of \(2,\)"),
        ((0, 0, [0]), "too many indices"),
    ],
)
def test_an_index_out_of_range_is_refused(gpu, where, index, message):
    parts = index if isinstance(index, tuple) else (index,)
    if where == "device":
        parts = tuple(Tensor(np.asarray(p), device="gpu") if isinstance(p, (list, np.ndarray)) else p for p in parts)
    with pytest.raises(IndexRangeError, match=message):
        Tensor(X, device="gpu")[parts]


def test_gather_takes_an_index_from_the_host_without_waiting(gpu):
    x = Tensor(X, requires_grad=True, device="gpu")
    ops.gather(x, 1, np.array([[0, 0], [2, 2]])).sum().backward()
    ops.index_select(x, 0, [1, 1]).sum().backward()
    assert not synchronisations
    assert np.array_equal(x.grad.numpy(), [[2, 0, 0], [2, 2, 4]])


# ---- modules, their state, optimisers


def small_model():
    return nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))


class Counting(nn.Module):
    """A parameter and a buffer."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(X)
        self.register_buffer("count", Tensor(np.zeros(2)))


def test_a_module_moves_in_place_with_gradients_and_buffers(gpu):
    module = Counting()
    weight = module.weight
    module.weight.sum().backward()
    assert module.to("gpu") is module
    assert module.weight is weight
    assert [module.weight.device, module.weight.grad.device, module.count.device] == ["cuda:0"] * 3
    module.weight.sum().backward()
    module.to("cpu")
    assert [module.weight.device, module.weight.grad.device, module.count.device] == ["cpu"] * 3
    assert np.array_equal(module.weight.grad.numpy(), np.full((2, 3), 2))


def test_state_goes_from_and_to_the_gpu(gpu, tmp_path):
    from minicnn.train.checkpoint import load_checkpoint, save_checkpoint

    source, target = small_model().to("gpu"), small_model().to("gpu")
    saved = source.state_dict()
    assert all(type(array) is np.ndarray for array in saved.values())
    save_checkpoint(tmp_path / "a.safetensors", saved, {})
    target.load_state_dict(load_checkpoint(tmp_path / "a.safetensors").arrays)
    small_model().load_state_dict({name: Tensor(array, device="gpu") for name, array in saved.items()})
    for one, other in zip(source.parameters(), target.parameters(), strict=True):
        assert other.device == "cuda:0"
        assert np.array_equal(one.numpy(), other.numpy())


def test_initialisers_draw_the_same_numbers_on_the_gpu(gpu):
    here, there = (nn.init.normal_(Tensor(X.copy(), device=d), generator=minicnn.Generator(1)) for d in ("cpu", "gpu"))
    assert there.device == "cuda:0"
    assert np.array_equal(here.numpy(), there.numpy())


def test_optimiser_state_follows_the_device_of_its_parameters(gpu):
    def stepped(device):
        model = small_model()
        model.load_state_dict(STATE)
        model.to(device)
        optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        for _ in range(2):
            optimizer.zero_grad()
            (model(Tensor(X, device=device)) ** 2).sum().backward()
            optimizer.step()
        return model, optimizer

    STATE = small_model().state_dict()
    (here, _), (there, optimizer) = stepped("cpu"), stepped("gpu")
    for one, other in zip(here.parameters(), there.parameters(), strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-5)
    state, arrays = optimizer.state_dict()
    assert all(type(array) is np.ndarray for array in arrays.values())
    again = optim.SGD(there.parameters(), lr=0.1, momentum=0.9)
    again.load_state_dict(state, arrays)
    again.step()


def test_gradcheck_works_on_the_gpu(gpu):
    x = Tensor(X.astype(float), requires_grad=True, device="gpu")
    minicnn.gradcheck(lambda x: ops.exp(x / 4), x)
    with pytest.raises(GradientError, match="wrong gradient of input 0"):
        minicnn.gradcheck(_wrong, x)


def _wrong(x):
    (xa,) = minicnn.unwrap("wrong", x=x)
    return minicnn.record("wrong", xa * xa, (x,), lambda gy, needs: (gy * xa,))


# ---- no GPU


@pytest.fixture
def no_cupy(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)


@pytest.fixture
def wheels(monkeypatch):
    """Says which CuPy packages are installed."""
    found, version = ["cupy-cuda13x"], importlib.metadata.version

    def pretended(name):
        if "cupy" not in name:
            return version(name)
        if name in found:
            return "14.2.0"
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", pretended)
    return found


def test_without_cupy_the_line_that_installs_it_is_given(no_cupy, wheels):
    wheels.clear()
    with pytest.raises(DeviceError, match=r"needs CuPy, which is not installed; fix: pip install 'minicnn\[cuda13\]'"):
        Tensor(X).to("gpu")
    with pytest.raises(DeviceError, match=r"device 'gpu': .*pip install 'minicnn\[cuda13\]'.*--device cpu"):
        choose_device("gpu")
    device, why = choose_device("auto")
    assert device == "cpu"
    assert "not installed" in why
    assert gpu_facts() is None


def test_two_cupy_packages_are_told(gpu, wheels):
    wheels.append("cupy-cuda12x")
    assert gpu_trouble().startswith("several CuPy packages are installed (cupy-cuda12x, cupy-cuda13x)")
    assert "pip uninstall -y cupy-cuda12x cupy-cuda13x" in gpu_trouble()


@pytest.mark.parametrize(
    ("driver", "message"),
    [
        (0, "there is no NVIDIA driver"),
        (12080, r"driver is for CUDA 12.8, but CuPy for CUDA 13; fix: update .* pip install 'minicnn\[cuda12\]'"),
        (13010, r"no GPU is visible \(CUDA_VISIBLE_DEVICES=''\); fix: see whether nvidia-smi lists it"),
    ],
)
def test_a_driver_that_is_missing_or_old_is_told(gpu, wheels, monkeypatch, driver, message):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr(gpu.cuda, "is_available", lambda: False)
    monkeypatch.setattr(gpu.cuda.runtime, "driverGetVersion", lambda: driver)
    with pytest.raises(DeviceError, match=message):
        Tensor(X).to("gpu")
    with pytest.raises(DeviceError, match=message):
        choose_device("cuda:0")


def test_a_missing_compiler_is_told(gpu, wheels, monkeypatch):
    def missing():
        raise AssertionError("*** The requested function is not supported")

    monkeypatch.setattr(gpu.cuda, "nvrtc", types.SimpleNamespace(getVersion=missing))
    assert gpu_trouble().startswith("CuPy finds no NVRTC")
    assert "pip install 'minicnn[cuda13-ctk]'" in gpu_trouble()


def test_a_broken_cupy_is_told(monkeypatch, wheels):
    class Broken:
        def find_spec(self, name, path=None, target=None):
            if name == "cupy":
                raise ImportError("\n====\nlibcudart.so.13: cannot open shared object file")

    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    with pytest.raises(DeviceError, match=r"CuPy is installed but cannot be imported: libcudart\.so\.13"):
        Tensor(X).to("gpu")


def test_the_facts_of_the_gpu(gpu, wheels):
    facts = gpu_facts()
    assert (facts.name, facts.capability, facts.driver) == ("emulated GPU", "9.0", "13.0")
    held = Tensor(np.zeros(1 << 18, np.float32), device="gpu")
    assert gpu_facts().memory.used - facts.memory.used == held.data.nbytes
    assert choose_device("auto") == ("gpu", "a GPU is here")


# ---- memory kept for later


def test_kept_memory_is_given_back(gpu):
    pool = gpu.get_default_memory_pool()
    freed = []
    minicnn.empty_cache()
    before = arena.held
    allocate(X, (1 << 26,))  # a region of its own, never written
    assert arena.held >= before + (1 << 28)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(pool), "free_all_blocks", lambda pool: freed.append(pool))
        minicnn.empty_cache()
    assert arena.held == before and len(freed) == 1
