"""Half and bfloat16: every kernel reads and writes them, and computes in float32.

The reference is the CPU in float64 on the same rounded inputs. A single kernel rounds once, at its output: half a unit
in the last place, 2^-11 of half and 2^-8 of bfloat16, of the element. An operation is several kernels and their
derivatives, whose intermediate arrays are rounded too; hence the bounds, normwise: 2^-8 and 2^-5.
"""

import ml_dtypes
import numpy as np
import pytest

from tests.close import assert_close
from tests.gpu.either import results
from tests.ops.case import arrays_of
from tests.ops.test_ops import EDGES

pytestmark = pytest.mark.gpu
BOUNDS = {np.dtype(np.float16): 2.0**-8, np.dtype(ml_dtypes.bfloat16): 2.0**-5}


# Not grid_sample: its case moves the grid off the pixels, which a grid in half or bfloat16 does not survive.
CHOSEN = [(case, edge) for case, edge in EDGES if case.op != "grid_sample"]


@pytest.mark.parametrize("dtype", BOUNDS, ids=lambda dtype: dtype.name)
@pytest.mark.parametrize(("case", "edge"), CHOSEN, ids=[f"{case.id}-{edge}" for case, edge in CHOSEN])
def test_edge_equals_float64(case, edge, dtype):
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
