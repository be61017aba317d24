"""Under g++'s address sanitizer no kernel reads outside an array; the guard bytes alone see only what is written.

The sanitizer must be loaded before Python, so each test is a process of its own.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from minicnn.kernels.lrn.cuda import SOURCE

ROOT = Path(__file__).resolve().parents[2]


def sanitized(*arguments):
    compiler = os.environ.get("CXX", "g++")
    library = subprocess.check_output([compiler, "-print-file-name=libasan.so"], encoding="utf-8").strip()
    if not Path(library).is_file():
        pytest.skip(f"{compiler} has no address sanitizer")
    environment = os.environ | {
        "LD_PRELOAD": library,
        "ASAN_OPTIONS": "detect_leaks=0",  # Python's own
        "MINICNN_EMULATOR_ASAN": "1",
    }
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, encoding="utf-8", timeout=600)


@pytest.mark.slow
def test_no_kernel_reads_outside():
    """The programs of the kernel table: edges and drawn geometries of all operations reach every kernel there is."""
    done = sanitized("-m", "tests.kernel_table")
    assert (done.returncode, done.stdout) == (0, "no gaps\n"), done.stderr[-4000:]


PLANT = """
import numpy as np
from minicnn import Tensor, ops
from minicnn.kernels.lrn.cuda import SOURCE
from tests.emulator import emulated_gpu
from tests.kernels.planted import planted

with emulated_gpu():
    x = Tensor(np.ones((1, 3, 2, 2), np.float32), device="gpu")
    ops.local_response_norm(x, 5)
    print("the true source passes", flush=True)
    with planted(SOURCE, "high = min(channel + after, channels - 1)", "high = channel + after"):
        ops.local_response_norm(x, 5)
"""


@pytest.mark.slow
def test_a_read_outside_is_caught_with_its_line():
    """A window that is not cut at the last channel of the last image reads beyond x, and writes nothing wrong there."""
    done = sanitized("-c", PLANT)
    assert done.stdout == "the true source passes\n"
    assert done.returncode != 0
    lines = SOURCE.path.read_text(encoding="utf-8").splitlines()
    (line,) = (number for number, text in enumerate(lines, 1) if "compute<T> v = x[q * pixels + j];" in text)
    assert "AddressSanitizer: use-after-poison" in done.stderr
    assert f"lrn/cuda.cu:{line}" in done.stderr


SHARED = """
import numpy as np
from tests.emulator import emulated_gpu
from tests.emulator.raw_module import RawModule
from tests.emulator.test_emulator import NAMES, PROBES

kernel = RawModule(code=PROBES, name_expressions=tuple(NAMES.split())).get_function("untouched_shared")
with emulated_gpu() as cupy:
    y = cupy.empty(1, np.int32)
    kernel((1,), (1,), (y, np.int32(7)), shared_mem=28)
    print("inside", flush=True)
    kernel((1,), (1,), (y, np.int32(8)), shared_mem=28)
"""


@pytest.mark.slow
def test_a_read_beyond_dynamic_shared_memory_is_caught():
    done = sanitized("-c", SHARED)
    assert (done.stdout, done.returncode != 0) == ("inside\n", True)
    assert "heap-buffer-overflow" in done.stderr
    assert "untouched_shared" in done.stderr
