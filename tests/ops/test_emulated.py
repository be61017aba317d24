"""Every operation once more, on the emulated GPU: the CUDA twins against the same oracles and derivatives.

The emulator (``tests/emulator``) runs the CUDA sources through the code that launches them; blocks are small, so that
small arrays need several, and the order of the threads, the size of the grid and the width of indices change. That no
two blocks of a kernel write one address is proven by ``tests/kernels/test_kernel_table.py``.
"""

import pytest

from minicnn import Tensor, gradcheck
from minicnn.kernels import launch
from tests.close import assert_close
from tests.emulator import emulated_gpu, emulator_options
from tests.ops.case import arrays_of, tensors_of
from tests.ops.drawn import asked_of
from tests.ops.test_ops import CASES, every_case, every_edge

# Thread order, the largest grid, the elements for which int indices are thought enough.
WAYS = ((0, 1 << 20, 1 << 30), (1, 1, 1 << 30), (7, 3, -1))


@pytest.fixture(autouse=True)
def gpu(monkeypatch):
    monkeypatch.setattr(launch, "THREADS", 64)
    with emulated_gpu():
        yield


def run_way(way, function, write_sets=False):
    order, blocks, narrow = way
    with pytest.MonkeyPatch.context() as patch, emulator_options(order, write_sets):
        patch.setattr(launch, "MAX_BLOCKS", blocks)
        patch.setattr(launch, "NARROW", narrow)
        return function()


def check_against_oracle(case, geometry, seed, way, write_sets=False):
    arrays = arrays_of(geometry, seed)
    outputs = run_way(way, lambda: case.run(**tensors_of(geometry, arrays, device="gpu")), write_sets)
    expected = case.expected(**arrays)
    assert len(outputs) == len(expected)
    for y, reference in zip(outputs, expected, strict=True):
        assert y.device == ("cpu" if case.op == "to_device" else "cuda:0")
        assert_close(y.numpy(), reference, case.tolerance)


def check_gradient(case, geometry, seed, way):
    arrays = arrays_of(geometry, seed)
    tensors = tensors_of(geometry, arrays, requires_grad=True, device="gpu")
    leaves = [t for value in tensors.values() for t in (value if isinstance(value, list) else [value])]
    leaves = [t for t in leaves if isinstance(t, Tensor) and t.requires_grad]

    def function(*_):
        return case.run(**tensors)

    function.__name__ = case.op
    run_way(way, lambda: gradcheck(function, *leaves, seed=(seed + 1) % 2**31, directions=1))


@every_case
@asked_of(2)
def test_equals_oracle(case, geometry, seed):
    check_against_oracle(case, geometry, seed, WAYS[seed % len(WAYS)])


@every_edge
def test_edge_equals_oracle(case, edge):
    check_against_oracle(case, case.edges[edge], 1, WAYS[0])


@pytest.mark.parametrize("case", [c for c in CASES if c.gradient], ids=lambda case: case.id)
@asked_of(2)
def test_gradient(case, geometry, seed):
    check_gradient(case, geometry, seed, WAYS[seed % len(WAYS)])


@every_edge
def test_edge_gradient(case, edge):
    if case.gradient:
        check_gradient(case, case.edges[edge], 2, WAYS[2])
