"""Half and bfloat16: every kernel reads and writes them, and computes in float32.

The reference is the CPU in float64 on the same rounded inputs. A single kernel rounds once, at its output: half a unit
in the last place, 2^-11 of half and 2^-8 of bfloat16, of the element. An operation is several kernels and their
derivatives, whose intermediate arrays are rounded too; hence the bounds, normwise: 2^-8 and 2^-5.
"""

import importlib

import ml_dtypes
import numpy as np
import pytest

from minicnn.kernels import arrays as kinds
from tests.close import assert_close
from tests.gpu.either import results
from tests.ops.case import arrays_of
from tests.ops.test_ops import every_edge

pytestmark = pytest.mark.gpu
BOUNDS = {np.dtype(np.float16): 2.0**-8, np.dtype(ml_dtypes.bfloat16): 2.0**-5}


@pytest.fixture
def storage_types_allowed(monkeypatch):
    """Operations take float32 and float64 from a program; here they take whatever their kernels take."""
    for module in ("minicnn.record", "minicnn.ops.operands"):
        monkeypatch.setattr(importlib.import_module(module), "FLOAT_DTYPES", (*kinds.FLOAT_DTYPES, *BOUNDS))


@pytest.mark.parametrize("dtype", BOUNDS, ids=lambda dtype: dtype.name)
@every_edge
def test_edge_equals_float64(case, edge, dtype, storage_types_allowed):
    geometry = case.edges[edge]
    rounded = arrays_of(geometry, 1, dtype)
    exact = {name: widened(value, dtype) for name, value in rounded.items()}
    on_gpu = results(case, geometry, "gpu", dtype, inputs=rounded)
    for name, reference in results(case, geometry, "cpu", np.float64, inputs=exact).items():
        assert_close(on_gpu[name].astype(np.float64), reference, BOUNDS[dtype], name)


def widened(value, dtype):
    if isinstance(value, list):
        return [widened(item, dtype) for item in value]
    return value.astype(np.float64) if isinstance(value, np.ndarray) and value.dtype == dtype else value
