"""Every operation on the GPU: the CPU's numbers, its own derivative, the same bits every time."""

import numpy as np
import pytest

from minicnn import Tensor, gradcheck, ops
from tests.close import assert_close
from tests.gpu.either import DEVICES, DIFFERENTIABLE, EMULATED, results
from tests.ops.case import arrays_of, tensors_of
from tests.ops.drawn import asked_of
from tests.ops.test_ops import every_case, every_edge

pytestmark = pytest.mark.gpu
few = asked_of(2 if EMULATED else 6)
TOLERANCES = {"float64": 1e-10, "float32": 1e-5}
every_dtype = pytest.mark.parametrize("dtype", TOLERANCES)


def check_against_cpu(case, geometry, dtype, seed):
    on_cpu, on_gpu = (results(case, geometry, device, dtype, seed) for device in DEVICES)
    assert on_cpu.keys() == on_gpu.keys()
    for name, reference in on_cpu.items():
        assert on_gpu[name].dtype == reference.dtype
        assert_close(on_gpu[name], reference, TOLERANCES[dtype], name)


@every_dtype
@every_case
@few
def test_equals_the_cpu(case, geometry, seed, dtype):
    check_against_cpu(case, geometry, dtype, seed)


@every_dtype
@every_edge
def test_edge_equals_the_cpu(case, edge, dtype):
    check_against_cpu(case, case.edges[edge], dtype, 1)


@pytest.mark.parametrize("case", DIFFERENTIABLE, ids=lambda case: case.id)
@few
def test_gradient(case, geometry, seed):
    tensors = tensors_of(geometry, arrays_of(geometry, seed), requires_grad=True, device="gpu")
    leaves = [t for value in tensors.values() for t in (value if isinstance(value, list) else [value])]

    def function(*_):
        return case.run(**tensors)

    function.__name__ = case.op
    wanted = [t for t in leaves if isinstance(t, Tensor) and t.requires_grad]
    gradcheck(function, *wanted, seed=(seed + 1) % 2**31)


@every_case
@few
def test_repeats_give_the_same_bits(case, geometry, seed):
    first, again = (results(case, geometry, "gpu", np.float32, seed) for _ in range(2))
    for name, value in first.items():
        assert np.array_equal(value, again[name], equal_nan=True), name


MASKS = {
    "dropout": lambda x: ops.dropout(x, 0.3, seed=7),
    "dropout2d": lambda x: ops.dropout2d(x, 0.3, seed=7),
    "drop_connect": lambda x: ops.drop_connect(x, 0.3, seed=7),
    "stochastic_depth": lambda x: ops.stochastic_depth(x, 0.3, "row", seed=7),
    "alpha_dropout": lambda x: ops.alpha_dropout(x, 0.3, training=True, seed=7),
}


@pytest.mark.parametrize("name", MASKS)
def test_masks_are_those_of_the_cpu_bit_for_bit(name):
    ones = np.ones((9, 5, 11, 13), np.float32)
    on_cpu, on_gpu = (MASKS[name](Tensor(ones, device=device)).numpy() for device in DEVICES)
    assert np.array_equal(on_cpu, on_gpu)
    assert len(np.unique(on_cpu)) == 2, "nothing was dropped, or everything"
