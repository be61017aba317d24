"""The checks of the CUDA twins catch bugs: each is planted in a copy of a real source, and the check that passed fails.

A missing barrier, a write outside an array, two blocks with one address, and a wrong index in every family.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple

import pytest

from minicnn.errors import GradientError
from minicnn.kernels import launch
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


class Bug(NamedTuple):
    """``new`` for ``old`` in ``family``'s source; ``check`` of a case on ``geometry`` (or the edge of that name)."""

    name: str
    family: str
    old: str
    new: str
    check: Callable[[str, Any], None]
    case: str
    geometry: Any
    error: type[Exception]
    message: str


EACH = """blockIdx.x * (Index)blockDim.x + (Index)threadIdx.x, end_##i = (count); i < end_##i; \\
       i += (Index)gridDim.x * (Index)blockDim.x)"""
EVERY_BLOCK_ALL = """0 + (Index)threadIdx.x, end_##i = (count); i < end_##i; \\
       i += (Index)blockDim.x)"""
CLASSES = {"x": A((3, 100)), "dim": 1}  # a block shares a row
IMAGES = {"x": A((2, 6, 4, 4)), "size": 3, "alpha": 1.0}  # several blocks

BUGS = [
    Bug(
        "missing barrier",
        "activation",
        "  if (lane == 0) part[warp] = v;\n  __syncthreads();\n  if (warp == 0) {\n    S total",
        "  if (lane == 0) part[warp] = v;\n  if (warp == 0) {\n    S total",
        values,
        "softmax",
        CLASSES,
        EmulatorError,
        "softmax_forward<double>: argument 5 depends on which thread goes first: a missing barrier",
    ),
    Bug(
        "barrier in a branch",
        "activation",
        "  if (lane == 0) part[warp] = v;\n  __syncthreads();\n  if (warp == 0) {\n    S total",
        "  if (lane == 0) part[warp] = v;\n  if (lane == 0) __syncthreads();\n  if (warp == 0) {\n    S total",
        values,
        "softmax",
        CLASSES,
        EmulatorError,
        "softmax_forward<double>: (divergent|deadlock)",
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
]


def source_of(family: str) -> Any:
    return import_module(f"minicnn.kernels.{family}.cuda").SOURCE


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: f"{bug.family}-{bug.name}")
def test_a_planted_bug_is_caught(bug):
    geometry = CASE[bug.case].edges[bug.geometry] if isinstance(bug.geometry, str) else bug.geometry
    bug.check(bug.case, geometry)
    with planted(source_of(bug.family), bug.old, bug.new), pytest.raises(bug.error, match=bug.message):
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
