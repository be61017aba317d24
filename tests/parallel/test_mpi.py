"""Ranks of ``mpiexec`` on this machine: the same numbers as one process, and an end to every job."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from minicnn.parallel.launch import mpiexec
from minicnn.train.checkpoint import load_checkpoint
from tests.close import assert_close

pytestmark = pytest.mark.slow

ENVIRONMENT = {**os.environ, "NUMBA_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
PROGRAM = str(Path(__file__).with_name("steps.py"))
ROOT = Path(__file__).resolve().parents[2]
SECONDS = 60


def steps(ranks, file, *words):
    start = [mpiexec(), "-n", str(ranks)] if ranks > 1 else []
    command = [*start, sys.executable, "-m", "mpi4py", PROGRAM, str(file), *map(str, words)]
    subprocess.run(command, env=ENVIRONMENT | {"PYTHONPATH": str(ROOT)}, check=True, timeout=SECONDS)
    return dict(np.load(file))


def train(*words, **more):
    command = [sys.executable, "-m", "minicnn", "train", *map(str, words)]
    return subprocess.Popen(
        command, env=ENVIRONMENT | more, stderr=subprocess.PIPE, text=True, encoding="utf-8", start_new_session=True
    )


def ended(process):
    try:
        _, errors = process.communicate(timeout=30)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    return process.returncode, errors


def rank_processes(folder, count=2):
    """The numbers of the processes that train in ``folder``, without mpiexec and its own."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = path.read_bytes().split(b"\0")
            except OSError:
                continue
            if b"mpi4py" in words and str(folder).encode() in words and b"-n" not in words:
                found.append(int(path.parent.name))
        if len(found) == count and (folder / "steps.csv").exists() and (folder / "steps.csv").stat().st_size > 200:
            return sorted(found)
        time.sleep(0.1)
    raise AssertionError("the ranks did not begin")


@pytest.mark.parametrize(
    "words",
    [
        ("lenet5", 20, 32, "no", 0.02),
        # a small rate: float32 turns a ReLU of so deep a network here or there (exactly, in float64: test_sync_norm.py)
        ("resnet20_cifar10", 20, 16, "yes", 1e-4),
        ("strided_cnn_a", 1, 8, "no", 0.02),  # dropout: the masks are those of the whole batch
    ],
)
def test_two_ranks_at_half_the_batch_are_one_at_the_whole(tmp_path, words):
    one, two = (steps(ranks, tmp_path / f"{ranks}.npz", *words) for ranks in (1, 2))
    assert one.keys() == two.keys()
    names = [name for name in one if name.startswith("first/")]
    largest = max(np.abs(one[name]).max() for name in names)
    for name in names:
        if words[0].startswith("resnet"):  # a bias that began at 0 is all step
            assert np.abs(two[name] - one[name]).max() <= 1e-6 * largest, name
        else:
            assert_close(two[name], one[name], 1e-6, name)
    assert_close(two["losses"], one["losses"], 1e-4, "losses")


def test_a_killed_rank_ends_the_job(tmp_path):
    process = train("--ranks", 2, "--epochs", 500, "--out", tmp_path / "run")
    os.kill(rank_processes(tmp_path / "run")[1], signal.SIGKILL)
    code, errors = ended(process)
    assert code == 1
    assert "a rank was ended by SIGKILL" in errors and "--resume" in errors


def test_a_rank_that_hangs_ends_the_job(tmp_path):
    process = train("--ranks", 2, "--epochs", 500, "--out", tmp_path / "run", MINICNN_RANK_TIMEOUT="3")
    stopped = rank_processes(tmp_path / "run")[1]
    os.kill(stopped, signal.SIGSTOP)
    code, errors = ended(process)
    assert code != 0
    assert "waited 3 s for the others" in errors


def test_an_error_on_all_ranks_is_told_once(tmp_path):
    process = train("--ranks", 2, "--lr", 1e30, "--out", tmp_path / "run", "--quiet")
    code, errors = ended(process)
    assert code == 1
    assert errors.count("minicnn: train:") == 1 and "nan" in errors


def test_ctrl_c_saves_and_a_resumed_run_has_the_bits_of_one_that_nobody_stopped(tmp_path):
    options = ("--model", "lenet5", "--epochs", 4, "--ranks", 2, "--log", "csv,steps")
    code, errors = ended(train(*options, "--out", tmp_path / "whole", "--quiet"))
    assert code == 0, errors
    process = train(*options, "--out", tmp_path / "parts")
    rank_processes(tmp_path / "parts")
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does it
    code, errors = ended(process)
    assert code == 130, errors
    assert "stopped after" in errors
    code, errors = ended(train("--ranks", 2, "--resume", tmp_path / "parts", "--quiet"))
    assert code == 0, errors
    whole, parts = (load_checkpoint(tmp_path / name / "last.safetensors").arrays for name in ("whole", "parts"))
    assert whole.keys() == parts.keys()
    for name in whole:
        assert np.array_equal(whole[name], parts[name]), name
    steps_of = [(tmp_path / name / "steps.csv").read_text(encoding="utf-8") for name in ("whole", "parts")]
    assert steps_of[0] == steps_of[1]
