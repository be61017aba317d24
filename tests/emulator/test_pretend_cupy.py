"""The pretended CuPy promises nothing that the real one does not have."""

import inspect
import re

import numpy as np
import pytest

from tests.emulator import emulated_gpu, pretend_cuda, pretend_linalg, synchronisations
from tests.emulator.pretend_cupy import FUNCTIONS, METHODS, ndarray

# The parameters that minicnn passes by name or position: (function, them). Methods start with a dot.
USED = [
    ("arange", ("start", "stop", "step", "dtype")),
    ("asarray", ("a", "dtype", "order")),
    ("broadcast_to", ("array", "shape")),
    ("clip", ("a", "a_min", "a_max")),
    ("concatenate", ("tup", "axis")),
    ("cumprod", ("a", "axis")),
    ("empty", ("shape", "dtype")),
    ("full", ("shape", "fill_value", "dtype")),
    ("put_along_axis", ("arr", "indices", "values", "axis")),
    ("stack", ("tup", "axis")),
    ("take_along_axis", ("a", "indices", "axis")),
    ("zeros", ("shape", "dtype")),
    ("RawModule", ("code", "options", "name_expressions")),
    (".argmax", ("axis",)),
    (".argmin", ("axis",)),
    (".argsort", ("axis",)),
    (".astype", ("dtype", "copy")),
    (".clip", ("min", "max")),
    (".copy", ("order",)),
    (".max", ("axis", "keepdims")),
    (".min", ("axis", "keepdims")),
    (".prod", ("axis", "keepdims")),
    (".sum", ("axis", "dtype", "keepdims")),
]


@pytest.fixture(scope="module")
def real():
    return pytest.importorskip("cupy")


def test_every_function_exists(real):
    assert [name for name in sorted(FUNCTIONS) if not callable(getattr(real, name, None))] == []


def test_every_method_exists(real):
    own = {name for name in vars(ndarray) if not name.startswith("_")} - {"host", "memory"}
    assert [name for name in sorted(own | set(METHODS.split())) if not hasattr(real.ndarray, name)] == []


def test_everything_of_the_modules_exists(real):
    with emulated_gpu() as pretended:
        names = [name for name in vars(pretended) if not name.startswith("_")]
        inner = [name for name in vars(pretended.cuda) if not name.startswith("_")]
        runtime = list(vars(pretended.cuda.runtime))
    assert [name for name in names if not hasattr(real, name)] == []
    assert [name for name in inner if not hasattr(real.cuda, name)] == []
    assert [name for name in runtime if not hasattr(real.cuda.runtime, name)] == []
    assert hasattr(real.cuda.memory, "OutOfMemoryError")
    assert callable(real.cuda.nvrtc.getVersion)
    assert callable(real.add.at)
    for pretended_class, real_class in (
        (pretend_cuda.Device, real.cuda.Device),
        (pretend_cuda.Stream, real.cuda.Stream),
        (pretend_cuda.MemoryPool, real.cuda.MemoryPool),
    ):
        own = [name for name in vars(pretended_class) if not name.startswith("_")]
        assert [name for name in own if not hasattr(real_class, name)] == []


@pytest.mark.parametrize(("name", "parameters"), USED, ids=lambda value: value if isinstance(value, str) else "")
def test_the_parameters_exist(real, name, parameters):
    function = getattr(real.ndarray, name[1:]) if name.startswith(".") else getattr(real, name)
    try:
        known = set(inspect.signature(function).parameters)
    except ValueError:  # compiled: the signature is the first line of its documentation
        known = set(re.findall(r"(\w+)(?==|,|\)|:)", (function.__doc__ or "").strip().splitlines()[0]))
    assert set(parameters) <= known


def test_what_is_refused_and_what_waits():
    with emulated_gpu() as cupy:
        x = cupy.asarray(np.arange(4.0))
        with pytest.raises(TypeError, match="Implicit conversion"):
            np.asarray(x)
        with pytest.raises(TypeError, match="Unsupported type"):
            x + np.ones(4)
        synchronisations.clear()
        assert isinstance(x.sum(), ndarray)
        assert not synchronisations
        x.nonzero(), x.get(), x.item(1), bool(x[0] > 0), x[x > 1]
        assert set(synchronisations) == {"nonzero", "get", "item", "bool", "boolean index"}


def test_views_know_whose_memory_they_are():
    with emulated_gpu() as cupy:
        x = cupy.zeros((2, 3))
        assert x.base is None
        assert x.reshape(3, 2).base is x
        assert x.T[0].base is x
        assert (x + 1).base is None


def test_an_index_out_of_range_wraps():
    with emulated_gpu() as cupy:
        x = cupy.asarray(np.arange(6).reshape(2, 3))
        rows = cupy.asarray(np.array([2, -1]))
        assert x[..., rows].get().tolist() == [[2, 2], [5, 5]]
        assert x[rows].get().tolist() == [[0, 1, 2], [3, 4, 5]]
        with pytest.raises(IndexError):
            x[2]


def test_the_precision_of_products_is_set_as_in_cupy(real):
    """A name of CuPy's inside, the only one minicnn uses (``kernels/precision.py``)."""
    linalg = real._core._routines_linalg
    for name in ("COMPUTE_TYPE_FP32", "COMPUTE_TYPE_TF32"):
        assert getattr(linalg, name) == getattr(pretend_linalg, name)
    assert callable(linalg.set_compute_type)


def test_integers_have_negative_powers():
    with emulated_gpu() as cupy:
        assert (cupy.asarray(np.array([2, 1, -1])) ** -3).get().tolist() == [0, 1, -1]
        assert (cupy.asarray(np.array([2, 3])) ** 2).get().tolist() == [4, 9]
