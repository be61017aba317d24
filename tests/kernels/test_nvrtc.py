"""Every CUDA source compiles with NVIDIA's own compiler, for every architecture and type it serves, without a warning.

What has been compiled is remembered by its source in the folder of the kernel cache. The fast part is float32 for the
oldest architecture.
"""

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from minicnn.kernels.jit import cache_folder
from minicnn.kernels.launch import CUDA_TYPES
from tests import nvrtc
from tests.kernel_table import sources

pytestmark = pytest.mark.skipif(
    not nvrtc.available(), reason="NVRTC's wheel is not installed: pip install 'minicnn[nvrtc]'"
)

TENSOR_CORES = tuple(name for name in CUDA_TYPES if name != "float64")
SERVES = {"implicit_gemm.cu": TENSOR_CORES}  # other than all types
PROGRAMS = [(source, dtype) for source in sources() for dtype in SERVES.get(source.path.name, CUDA_TYPES)]
# architecture, and whether indices are long long
WAYS = [*((architecture, False) for architecture in nvrtc.ARCHITECTURES), (nvrtc.ARCHITECTURES[-1], True)]


def compiled(code, options, names, architecture):
    """Size of the machine code (0: none) and the compiler's log."""
    facts = json.dumps([nvrtc.version(), code, options, names, architecture])
    remembered = cache_folder() / "nvrtc" / f"{hashlib.sha256(facts.encode()).hexdigest()[:24]}.json"
    if remembered.exists():
        return tuple(json.loads(remembered.read_text(encoding="utf-8")))
    result = nvrtc.compile_cubin(code, options, names, architecture)
    remembered.parent.mkdir(parents=True, exist_ok=True)
    unfinished = remembered.with_suffix(f".{os.getpid()}")
    unfinished.write_text(json.dumps(result), encoding="utf-8")
    unfinished.replace(remembered)
    return result


def check(source, dtype, ways):
    names = source.name_expressions(dtype)
    assert names, f"{source.path.name} has no kernel that the launcher finds"

    def one(way):
        architecture, wide = way
        return way, compiled(source.text, source.options(wide), names, architecture)

    with ThreadPoolExecutor(2) as pool:
        for way, (size, log) in pool.map(one, ways):
            assert size > 0, f"{way} does not compile:\n{log}"
            assert not log.strip(), f"{way} compiles with warnings:\n{log}"


@pytest.mark.parametrize("source", sources(), ids=lambda source: f"{source.path.parent.name}-{source.path.stem}")
def test_compiles_for_the_oldest_architecture(source):
    check(source, "float32", WAYS[:1])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "dtype"), PROGRAMS, ids=[f"{s.path.parent.name}-{s.path.stem}-{dtype}" for s, dtype in PROGRAMS]
)
def test_compiles_for_all(source, dtype):
    check(source, dtype, WAYS)


def test_an_error_and_a_warning_are_seen():
    size, log = nvrtc.compile_cubin("__global__ void f(float* y) { y[0] = nothing; }", (), ("f",), "sm_80")
    assert size == 0
    assert "nothing" in log
    size, log = nvrtc.compile_cubin("__global__ void f(float* y) { int unused; y[0] = 1; }", (), ("f",), "sm_80")
    assert size > 0
    assert "unused" in log
