"""The number of threads: what is accepted, whom it concerns, and that no result depends on it."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import threadpoolctl

import minicnn
from minicnn.errors import ArgumentError
from tests import thread_counts

ROOT = Path(__file__).resolve().parents[1]
FAST = ("batch_norm", "max_pool2d", "cross_entropy", "conv2d depthwise, auto", "conv2d 3x3, auto", "linear", "relu")


@pytest.fixture(autouse=True)
def as_before():
    with threadpoolctl.threadpool_limits():
        before = minicnn.get_num_threads()
        yield
        minicnn.set_num_threads(before)


def test_kernels_and_blas_get_as_many():
    most = minicnn.get_num_threads()
    for count in (1, most):
        minicnn.set_num_threads(count)
        assert minicnn.get_num_threads() == count
        assert {pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"} == {
            count
        }


def test_a_new_python_thread_begins_with_all():
    most, found = minicnn.get_num_threads(), []
    minicnn.set_num_threads(1)
    thread = threading.Thread(target=lambda: found.append(minicnn.get_num_threads()))
    thread.start()
    thread.join()
    assert found == [most] and minicnn.get_num_threads() == 1


@pytest.mark.parametrize("count", [0, -1, 10_000, 1.0, "2", None, True])
def test_another_count_is_refused(count):
    most = minicnn.get_num_threads()
    message = (
        rf"^set_num_threads: count={count!r} is not usable, expected an integer from 1 to {most}; fix: NUMBA_NUM_THR"
    )
    with pytest.raises(ArgumentError, match=message):
        minicnn.set_num_threads(count)
    assert minicnn.get_num_threads() == most


def test_the_bits_are_the_same_at_any_count():
    most = minicnn.get_num_threads()
    runs = [(name, run) for name, run in thread_counts.large() if name.removeprefix("large ").startswith(FAST)]
    runs += [(name, run) for name, run in thread_counts.large() if name.endswith(FAST)]
    assert thread_counts.differing(iter(runs), (1, most)) == [] and len(runs) >= len(FAST)


def test_other_bits_are_seen():
    counts = []

    def run():
        counts.append(minicnn.get_num_threads())
        return [b"same", np.float32(len(counts)).tobytes()]

    complaints = thread_counts.differing(iter([("planted", run)]), (1, 1, 1))
    assert complaints == ["planted: result 1 at 1 threads, result 1 at 1 threads"] and counts == [1, 1, 1]


@pytest.mark.slow
def test_every_operation_has_the_same_bits_at_one_two_and_four_threads():
    """In a process of its own, where Numba and BLAS may have more threads than there are cores."""
    environment = {**os.environ, "NUMBA_NUM_THREADS": "4", "OPENBLAS_NUM_THREADS": "4"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.thread_counts"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stdout + done.stderr
