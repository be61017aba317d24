"""Every argument of every operation, replaced by nonsense: an error of ours that names the operation, or a result."""

import inspect

import numpy as np
import pytest

from minicnn import Tensor, ops
from minicnn.errors import MinicnnError
from tests.ops.case import arrays_of, tensors_of
from tests.ops.drawn import asked_of
from tests.ops.test_ops import CASES

NUMBERS = (None, "abc", ["a"], {}, object(), True, -1, 0, 1.5, -(10**6), float("nan"), np.float64(0.5))
LISTS = ((), (1, 2, 3), ("a", "b"), [1, 2], [[1, 2], [3]])
ARRAYS = (np.zeros((0, 0)), np.zeros((1,) * 6, np.float32), np.array(["a"]), np.array([None]), np.zeros(2, complex))
PARTS = {"batch_norm_train": "batch_norm", "batch_norm_eval": "batch_norm"}  # errors name the whole


@pytest.mark.parametrize("case", [case for case in CASES if case.call is None and not case.label], ids=lambda c: c.id)
@asked_of(1)
def test_nonsense_is_refused_by_name(case, geometry, seed):
    arguments = tensors_of(geometry, arrays_of(geometry, seed, dtype=np.float32))
    for name in inspect.signature(getattr(ops, case.op)).parameters:
        good = arguments.get(name)
        for value in (*NUMBERS, *LISTS, *(ARRAYS if isinstance(good, Tensor) else ())):
            try:
                getattr(ops, case.op)(**{**arguments, name: value})
            except MinicnnError as error:
                assert str(error).startswith(PARTS.get(case.op, case.op) + ": "), f"{name}={value!r}: {error}"
            except Exception as error:
                pytest.fail(f"{case.op}: {name}={value!r} ends in {type(error).__name__}: {error}")
