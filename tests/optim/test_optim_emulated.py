"""Optimisers, clipping and averages on the emulated GPU: the numbers of the CPU, one launch a group, no waiting."""

import copy
import math
from collections import Counter

import numpy as np
import pytest

from minicnn import Tensor, optim
from minicnn.errors import DeviceError, GradientError
from minicnn.kernels import launch
from minicnn.kernels.launch import CudaSource
from minicnn.kernels.optim import cuda
from tests.close import assert_close
from tests.emulator import EmulatorError, emulated_gpu, emulator_options, synchronisations
from tests.optim.test_optimizers import CASES

SIZES = ((), (0,), (1,), (7, 9), (64,), (5, 13), (10, 1, 100))
TOLERANCES = {np.float64: 1e-12, np.float32: 1e-6}

every_case = pytest.mark.parametrize(
    ("make", "options"), [(m, o) for m, _, o in CASES], ids=[f"{m.__name__}-{'-'.join(o)}" for m, _, o in CASES]
)


@pytest.fixture(autouse=True)
def gpu(monkeypatch):
    monkeypatch.setattr(launch, "THREADS", 64)
    monkeypatch.setattr(cuda, "CHUNK", 300)  # so that weights of 1000 need several, the last one shorter
    with emulated_gpu() as cupy:
        yield cupy


@pytest.fixture
def launches(monkeypatch):
    """How often each kernel is launched."""
    seen: Counter[str] = Counter()
    plain = CudaSource.launch_blocks

    def counted(source, kernel, dtype, blocks, *arguments, **options):
        seen[kernel] += bool(blocks)
        plain(source, kernel, dtype, blocks, *arguments, **options)

    monkeypatch.setattr(CudaSource, "launch_blocks", counted)
    return seen


def parameters(device, dtype=np.float64, shapes=SIZES):
    rng = np.random.default_rng(1)
    return [Tensor(rng.standard_normal(s).astype(dtype), requires_grad=True, device=device) for s in shapes]


def give_gradients(tensors, seed, missing=()):
    """The same numbers on every device; ``missing`` parameters get none."""
    rng = np.random.default_rng(seed)
    for index, tensor in enumerate(tensors):
        g = Tensor(rng.standard_normal(tensor.shape).astype(tensor.dtype), device=tensor.device)
        tensor.grad = None if index in missing else g


def groups_of(tensors):
    """Two groups, the second with a rate of its own."""
    return [{"params": tensors[:4]}, {"params": tensors[4:], "lr": 0.05}]


def run(make, options, device, dtype, steps=4):
    tensors = parameters(device, dtype)
    optimizer = make(groups_of(tensors), **options)
    for step in range(steps):
        give_gradients(tensors, step, missing=(3, 6) if step == 1 else ())
        optimizer.step()
    return tensors, optimizer


def assert_same(on_gpu, on_cpu, dtype):
    """Weights and slots alike."""
    for a, b in zip(on_gpu[0], on_cpu[0], strict=True):
        assert a.device == "cuda:0" and a.version == b.version
        assert_close(a.numpy(), b.numpy(), TOLERANCES[dtype])
    (numbers, slots), (expected_numbers, expected) = on_gpu[1].state_dict(), on_cpu[1].state_dict()
    assert numbers == expected_numbers and slots.keys() == expected.keys()
    for name, slot in slots.items():
        assert_close(slot, expected[name], TOLERANCES[dtype], name)


@every_case
@pytest.mark.parametrize("dtype", TOLERANCES)
def test_steps_equal_the_cpu(make, options, dtype):
    """Awkward sizes, two groups, gradients that are missing once."""
    assert_same(run(make, options, "gpu", dtype), run(make, options, "cpu", dtype), dtype)


@every_case
def test_neither_grid_nor_order_matters_and_blocks_write_apart(monkeypatch, make, options):
    straight, _ = run(make, options, "gpu", np.float32, 2)
    for order, blocks, narrow in ((1, 1, 1 << 30), (7, 3, -1)):
        monkeypatch.setattr(launch, "MAX_BLOCKS", blocks)
        monkeypatch.setattr(launch, "NARROW", narrow)
        with emulator_options(order, write_sets=True):
            again, _ = run(make, options, "gpu", np.float32, 2)
        for a, b in zip(again, straight, strict=True):
            assert np.array_equal(a.numpy(), b.numpy())


@every_case
def test_one_launch_a_group_and_nothing_waits(launches, make, options):
    tensors = parameters("gpu", np.float32)
    optimizer = make(groups_of(tensors), **options)
    give_gradients(tensors, 0)
    synchronisations.clear()
    optimizer.step()
    assert sum(launches.values()) == 2 and not synchronisations


def test_parameters_that_missed_a_step_are_moved_apart_where_the_step_counts(launches):
    for make, options, expected in ((optim.SGD, {"momentum": 0.9}, 1), (optim.Adam, {}, 2)):
        tensors = parameters("gpu")
        optimizer = make(tensors, **options)
        give_gradients(tensors, 0, missing=(3,))
        optimizer.step()
        give_gradients(tensors, 1)
        launches.clear()
        optimizer.step()
        assert sum(launches.values()) == expected


def test_parameters_of_two_dtypes_in_one_group(launches):
    def both(device):
        tensors = parameters(device, np.float32, ((3,), (4,))) + parameters(device, np.float64, ((5,),))
        optimizer = optim.SGD(tensors, 0.1)
        give_gradients(tensors, 0)
        optimizer.step()
        return [tensor.numpy() for tensor in tensors]

    for a, b in zip(both("gpu"), both("cpu"), strict=True):
        assert a.dtype == b.dtype
        assert_close(a, b, 1e-6)
    assert launches == {"sgd_step": 2}


def test_tables_are_sent_again_only_where_arrays_are_new(gpu, monkeypatch):
    sent = []
    monkeypatch.setattr(gpu, "asarray", lambda data, asarray=gpu.asarray: sent.append(data) or asarray(data))
    tensors = parameters("gpu", shapes=((3,), (70,)))
    optimizer = optim.SGD(tensors, 0.1)
    give_gradients(tensors, 0)
    kept = [tensor.grad for tensor in tensors]
    start = len(sent)
    optimizer.step()
    first = len(sent) - start
    optimizer.step()
    assert 1 <= first <= 2 and len(sent) == start + first, "same arrays: nothing to send"
    give_gradients(tensors, 1)
    start = len(sent)
    optimizer.step()
    assert [data.dtype for data in sent[start:]] == [np.uint64], "new gradients: addresses alone"
    del kept


def test_strided_weights_and_gradients_are_moved(gpu):
    w = Tensor(gpu.asarray(np.arange(12.0).reshape(3, 4)).T, requires_grad=True)
    w.grad = Tensor(gpu.asarray(np.arange(12.0).reshape(3, 4)).T)
    optim.SGD([w], 0.5).step()
    assert np.array_equal(w.numpy(), np.arange(12.0).reshape(3, 4).T / 2)


def test_a_step_that_raises_moves_nothing():
    tensors = parameters("gpu", shapes=((3,), (4,)))
    before = [tensor.numpy() for tensor in tensors]
    optimizer = optim.Adam(tensors)
    give_gradients(tensors, 0)
    tensors[1].grad = Tensor(np.ones(4))
    with pytest.raises(DeviceError, match=r"gradient of parameter 1 is on cpu, expected cuda:0"):
        optimizer.step()
    assert all(np.array_equal(t.numpy(), b) for t, b in zip(tensors, before, strict=True))
    assert optimizer.state_dict()[0]["steps"] == [0, 0]


def test_a_table_is_refused_where_a_kernel_would_leave_an_array(gpu):
    w, g = gpu.asarray(np.ones(4)), gpu.asarray(np.ones(3))
    with pytest.raises(ValueError, match="array 1 of weight 0 has 3 elements of float64, expected 4 of float64"):
        cuda.sgd_step([w], [g], 0.1, 0.0, False)
    with pytest.raises(ValueError, match="not contiguous"):
        cuda.sgd_step([w[::2]], [w[::2]], 0.1, 0.0, False)


def test_the_emulator_sees_writes_through_the_table(gpu, monkeypatch):
    """A chunk too many, and two blocks with the same chunk, are found out."""
    w, g = gpu.asarray(np.ones(4)), gpu.asarray(np.ones(4))
    monkeypatch.setattr(cuda, "_chunks", lambda sizes, length: np.array([[0, 0, 5]]))
    with pytest.raises(EmulatorError, match="wrote after an array"):
        cuda.sgd_step([w], [g], 0.1, 0.0, False)
    w = gpu.asarray(np.ones(4))
    monkeypatch.setattr(cuda, "_chunks", lambda sizes, length: np.array([[0, 0, 3], [0, 2, 2]]))
    with emulator_options(write_sets=True), pytest.raises(EmulatorError, match="both write"):
        cuda.sgd_step([w], [g], 0.1, 0.0, False)


def test_a_saved_optimizer_continues_on_the_other_device():
    tensors, optimizer = run(optim.AdamW, {"amsgrad": True}, "gpu", np.float64)
    state = copy.deepcopy(optimizer.state_dict())
    moved = [Tensor(tensor.numpy(), requires_grad=True) for tensor in tensors]
    resumed = optim.AdamW(groups_of(moved), amsgrad=True)
    resumed.load_state_dict(*state)
    for own, new in ((tensors, optimizer), (moved, resumed)):
        give_gradients(own, 9)
        new.step()
    for a, b in zip(tensors, moved, strict=True):
        assert_close(a.numpy(), b.numpy(), 1e-12)


# ---- clipping


@pytest.mark.parametrize("norm_type", [2.0, 1.0, 3.5, math.inf])
@pytest.mark.parametrize("max_norm", [0.5, 1e6])
@pytest.mark.parametrize("dtype", TOLERANCES)
def test_the_joint_norm_is_clipped_as_on_the_cpu(norm_type, max_norm, dtype):
    found = {}
    for device in ("cpu", "gpu"):
        tensors = parameters(device, dtype) + parameters(device, np.float64, ((3, 5),))
        give_gradients(tensors, 3, missing=(2,))
        synchronisations.clear()
        norm = optim.clip_grad_norm_(tensors, max_norm, norm_type)
        assert not synchronisations
        found[device] = [float(norm), *(t.grad.numpy() for t in tensors if t.grad is not None)]
    for a, b in zip(found["gpu"], found["cpu"], strict=True):
        assert_close(a, b, TOLERANCES[dtype])
    assert isinstance(norm, Tensor) and norm.device == "cuda:0" and norm.dtype == np.float64


@pytest.mark.parametrize("norm_type", [2.0, math.inf])
def test_clipping_takes_four_launches_and_its_bits_do_not_depend_on_the_grid(monkeypatch, launches, norm_type):
    found = []
    for order, blocks in ((0, 1 << 20), (1, 1), (7, 3)):
        monkeypatch.setattr(launch, "MAX_BLOCKS", blocks)
        tensors = parameters("gpu", np.float32)
        give_gradients(tensors, 4)
        launches.clear()
        with emulator_options(order, write_sets=True):
            norm = optim.clip_grad_norm_(tensors, 1.0, norm_type)
        optim.clip_grad_value_(tensors, 0.1)
        assert launches == {"norm_of_chunks": 1, "joint_norm": 1, "scale_to_norm": 1, "clip_values": 1}
        found.append([norm.numpy(), *(tensor.grad.numpy() for tensor in tensors)])
    for other in found[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(found[0], other, strict=True))


@pytest.mark.parametrize("norm_type", [2.0, math.inf])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_norms_that_are_no_numbers_spoil_or_raise(norm_type, value):
    def gradients(device):
        tensors = [Tensor(np.ones(400), requires_grad=True, device=device) for _ in range(2)]
        for tensor in tensors:
            tensor.grad = Tensor(np.where(np.arange(400) == 333, value, 5.0), device=device)
        return tensors

    on_gpu, on_cpu = gradients("gpu"), gradients("cpu")
    with pytest.raises(GradientError, match=r"the norm of the gradients is (nan|inf); fix"):
        optim.clip_grad_norm_(on_gpu, 1.0, norm_type, error_if_nonfinite=True)
    assert on_gpu[0].grad.numpy()[0] == 5.0
    for tensors in (on_gpu, on_cpu):
        with np.errstate(all="ignore"):
            optim.clip_grad_norm_(tensors, 1.0, norm_type)
    assert np.array_equal(on_gpu[1].grad.numpy(), on_cpu[1].grad.numpy(), equal_nan=True)


def test_gradients_that_are_absent_empty_or_strided(gpu):
    idle, empty = (Tensor(np.ones(n), requires_grad=True, device="gpu") for n in (3, 0))
    assert optim.clip_grad_norm_([idle], 1.0) == 0.0
    optim.clip_grad_value_([idle], 1.0)
    empty.grad = Tensor(np.ones(0), device="gpu")
    assert float(optim.clip_grad_norm_([empty], 1.0)) == 0.0
    strided = Tensor(np.ones((4, 3)), requires_grad=True, device="gpu")
    strided.grad = Tensor(gpu.asarray(np.arange(12.0).reshape(3, 4)).T)
    assert float(optim.clip_grad_norm_([strided, empty], 1.0)) == pytest.approx(math.sqrt(506))
    assert_close(strided.grad.numpy(), np.arange(12.0).reshape(3, 4).T / math.sqrt(506), 1e-6)
    here = Tensor(np.ones(3), requires_grad=True)
    here.grad = Tensor(np.ones(3))
    with pytest.raises(DeviceError, match="gradients are on cpu and cuda:0; fix"):
        optim.clip_grad_norm_([here, strided], 1.0)


def test_values_are_clipped_and_nan_stays():
    values = np.float32([-3, 0.5, 3, math.nan, math.inf, -math.inf, -0.0])
    w = Tensor(np.ones(7, np.float32), requires_grad=True, device="gpu")
    w.grad = Tensor(values, device="gpu")
    synchronisations.clear()
    optim.clip_grad_value_(w, 1.0)
    assert not synchronisations
    assert np.array_equal(w.grad.numpy(), np.clip(values, -1, 1), equal_nan=True)


# ---- averages


@pytest.mark.parametrize("decay", [0.5, None])
def test_averages_equal_the_cpu_in_one_launch_an_update(launches, decay):
    found = {}
    for device in ("cpu", "gpu"):
        tensors = [*parameters(device, np.float32), Tensor(np.array([3, 4]), device=device)]
        average = optim.WeightAverage(tensors, decay)
        for step in range(3):
            give_gradients(tensors[:-1], step)
            optim.SGD(tensors[:-1], 0.5).step()
            launches.clear()
            synchronisations.clear()
            average.update()
            assert not synchronisations
            assert launches == ({"average_step": 1} if device == "gpu" else {})
        found[device] = average.state_dict()
    for name, array in found["cpu"].items():
        assert_close(found["gpu"][name], array, 1e-6)


def test_averages_of_strided_weights(gpu):
    w = Tensor(gpu.asarray(np.arange(12.0).reshape(3, 4)).T, requires_grad=True)
    average = optim.WeightAverage([w], None)
    w.data = gpu.asarray(np.arange(12.0).reshape(3, 4) + 1).T
    average.update()
    average.update()
    assert_close(average.state_dict()["0"], np.arange(12.0).reshape(3, 4).T + 1, 1e-12)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_parameters_of_two_bytes_are_moved_and_averaged(dtype):
    (wide,), (narrow,) = parameters("cpu", np.float32, [(9, 7)]), parameters("cpu", np.float32, [(9, 7)])
    narrow = narrow.detach().to("gpu").astype(dtype).requires_grad_()
    wide = Tensor(narrow.astype("float32").numpy(), requires_grad=True)
    average, start = optim.WeightAverage([narrow], decay=0.5), wide.numpy().copy()
    for parameter in (wide, narrow):
        parameter.grad = Tensor(np.full((9, 7), 0.25, np.float32), device=parameter.device).astype(parameter.dtype)
        optim.SGD([parameter], lr=0.5).step()
    average.update()
    rounding = {"float16": 2.0**-10, "bfloat16": 2.0**-7}[dtype]
    assert narrow.dtype.name == dtype
    assert_close(narrow.astype("float32").numpy(), wide.numpy(), rounding)
    with average.applied():  # decay 2/11 at the first update
        mean = start + 9 / 11 * (wide.numpy() - start)
        assert_close(narrow.astype("float32").numpy(), mean, 2 * rounding)
