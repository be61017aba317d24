"""The checks of the CUDA twins catch bugs: each is planted in a copy of a real source, and the check that passed fails.

A missing barrier, a write outside an array, two blocks with one address, and a wrong index in every family.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
import pytest

from minicnn import Tensor, optim
from minicnn.errors import GradientError
from minicnn.kernels import launch
from tests.close import assert_close
from tests.emulator import EmulatorError, emulated_gpu
from tests.kernels.planted import planted
from tests.ops.case import A
from tests.ops.test_emulated import WAYS, check_against_oracle, check_gradient
from tests.ops.test_ops import CASES

CASE = {case.id: case for case in CASES}


@pytest.fixture(autouse=True)
def gpu(monkeypatch):
    monkeypatch.setattr(launch, "THREADS", 64)
    with emulated_gpu():
        yield


def values(case: str, geometry: Any, write_sets: bool = False) -> None:
    check_against_oracle(CASE[case], geometry, 1, WAYS[0], write_sets)


def write_sets(case: str, geometry: Any) -> None:
    values(case, geometry, write_sets=True)


def derivative(case: str, geometry: Any) -> None:
    check_gradient(CASE[case], geometry, 2, WAYS[0])


def steps(case: str, geometry: Any) -> None:
    """Two steps of an optimiser on the GPU are the CPU's."""
    start, weights = np.linspace(-1, 1, 100), []
    for device in ("cpu", "gpu"):
        weight = Tensor(start.copy(), requires_grad=True, device=device)
        optimizer = getattr(optim, case)([weight], **geometry)
        for gradient in (start * start, np.cos(start)):
            weight.grad = Tensor(gradient, device=device)
            optimizer.step()
        weights.append(weight.numpy())
    assert_close(weights[1], weights[0], 1e-12)


class Bug(NamedTuple):
    """``new`` for ``old`` in ``family``'s source; ``check`` of a case on ``geometry`` (or the edge of that name)."""

    name: str
    family: str
    old: str
    new: str
    check: Callable[[str, Any], None]
    case: str
    geometry: Any
    error: type[Exception] | tuple[type[Exception], ...]
    message: str


def wrong(family: str, old: str, new: str, check: Callable[[str, Any], None], case: str, geometry: Any) -> Bug:
    return Bug("wrong index", family, old, new, check, case, geometry, (AssertionError, GradientError), "")


EACH = """blockIdx.x * (Index)blockDim.x + (Index)threadIdx.x, end_##i = (count); i < end_##i; \\
       i += (Index)gridDim.x * (Index)blockDim.x)"""
EVERY_BLOCK_ALL = """0 + (Index)threadIdx.x, end_##i = (count); i < end_##i; \\
       i += (Index)blockDim.x)"""
PRELU = {"x": A((3, 2, 20), "away"), "weight": A((2,))}  # a block sums a channel
IMAGES = {"x": A((2, 6, 4, 4)), "size": 3, "alpha": 1.0}  # several blocks
PICTURES = ("cross_entropy", {"x": A((2, 3, 2, 2)), "target": A((2, 2, 2), "integers", 0, 3), "reduction": "none"})
BATCH = ("batch_norm_train", {"x": A((3, 4, 2)), "weight": A((4,)), "bias": A((4,))})
DROPOUT = ("dropout", {"x": A((3, 4, 5)), "p": 0.5, "training": True, "seed": 1})
BIAS = ("conv2d", {"x": A((2, 3, 5, 5)), "weight": A((4, 3, 3, 3)), "bias": A((4,))})

BUGS = [
    Bug(
        "missing barrier",
        "activation",
        "  if (lane == 0) part[warp] = v;\n  __syncthreads();\n  if (warp == 0) {\n    S total",
        "  if (lane == 0) part[warp] = v;\n  if (warp == 0) {\n    S total",
        derivative,
        "prelu",
        PRELU,
        (EmulatorError, GradientError),  # the garbage of shared memory can be the same in both orders
        "a missing barrier|wrong gradient",
    ),
    Bug(
        "barrier in a branch",
        "activation",
        "  if (lane == 0) part[warp] = v;\n  __syncthreads();\n  if (warp == 0) {\n    S total",
        "  if (lane == 0) part[warp] = v;\n  if (lane == 0) __syncthreads();\n  if (warp == 0) {\n    S total",
        derivative,
        "prelu",
        PRELU,
        EmulatorError,
        r"prelu_\w+<double>: (divergent|deadlock)",
    ),
    Bug(
        "write outside",
        "lrn",
        "y[e] = T(",
        "y[e + 1] = T(",
        values,
        "local_response_norm",
        "even",
        EmulatorError,
        r"lrn_forward<double>: wrote after an array of shape \(7, 2\)",
    ),
    Bug(
        "every block does all the work",
        "lrn",
        EACH,
        EVERY_BLOCK_ALL,
        write_sets,
        "local_response_norm",
        IMAGES,
        EmulatorError,
        "lrn_forward<double>: blocks 0 and 1 both write argument 9",
    ),
    Bug(
        "wrong pixel",
        "lrn",
        "ratio[q * pixels + j];",
        "ratio[q * pixels];",
        derivative,
        "local_response_norm",
        "even",
        GradientError,
        "wrong gradient",
    ),
    Bug(
        "missing barrier of a team",
        "norm",
        "part[threadIdx.x / 32] = v;\n  __syncthreads();",
        "part[threadIdx.x / 32] = v;",
        values,
        "layer_norm",
        {"x": A((3, 300)), "normalized_shape": (300,), "weight": A((300,)), "bias": A((300,))},
        EmulatorError,
        r"layer_norm_forward<double>: argument \d depends on which thread goes first: a missing barrier",
    ),
]

# One wrong index or bound in each family, found by the ordinary edges.
WRONG = [
    wrong("conv", "0 <= j && j < ow && 0 <= b", "0 <= j && j <= ow && 0 <= b", derivative, *BIAS),
    wrong("conv", "u + a && u + a < h", "u + a && u + a <= h", values, "conv2d-groups", "padding_ge_kernel"),
    wrong("indexing", "gy[order[j]]", "gy[j]", derivative, "gather", "read_twice"),
    wrong(
        "loss", "return r / positions * classes * positions + r % positions;", "return r * classes;", values, *PICTURES
    ),
    wrong("norm", "return r / channels / images * groups", "return r / channels * groups", values, *BATCH),
    wrong("optim", "v = mu * v + fresh * gradient;", "v = v + fresh * gradient;", steps, "SGD", {"momentum": 0.5}),
    wrong("pool", "where = r * w + c;", "where = r * h + c;", values, "max_pool2d", "stride_gt_kernel"),
    wrong("random", "key + (index + 1) *", "key + index *", values, *DROPOUT),
    wrong("reduction", "* size + q % size];", "* size];", derivative, *BIAS),
    wrong("sampling", "begin[nearest ? own : own - 1]", "begin[own]", derivative, "grid_sample", "far_outside"),
]


def source_of(family: str) -> Any:
    return import_module(f"minicnn.kernels.{family}.cuda").SOURCE


def named(bug: Bug) -> str:
    return f"{bug.family}-{bug.name}"


@pytest.mark.parametrize("bug", [*BUGS, *(pytest.param(bug, marks=pytest.mark.slow) for bug in WRONG)], ids=named)
def test_a_planted_bug_is_caught(bug):
    geometry = CASE[bug.case].edges[bug.geometry] if isinstance(bug.geometry, str) else bug.geometry
    bug.check(bug.case, geometry)
    with planted(source_of(bug.family), bug.old, bug.new), pytest.raises(bug.error, match=bug.message or None):
        bug.check(bug.case, geometry)
    bug.check(bug.case, geometry)


def test_right_values_do_not_prove_one_writer():
    """Every block writing the same right value is seen by the write sets alone."""
    with planted(source_of("lrn"), EACH, EVERY_BLOCK_ALL):
        values("local_response_norm", IMAGES)


def test_a_bug_must_fit_the_source_once():
    with (
        pytest.raises(ValueError, match="occurs 0 times, expected once"),
        planted(source_of("lrn"), "no such text", ""),
    ):
        pass
    with pytest.raises(ValueError, match=r"occurs \d+ times, expected once"), planted(source_of("lrn"), "Index", ""):
        pass
