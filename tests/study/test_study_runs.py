"""A whole study from the command line, with real runs."""

import csv
import os
import signal
import subprocess
import sys
import time

import pytest

pytest.importorskip("optuna")  # the extra `study`

pytestmark = pytest.mark.slow
SPACE = """
[space]
lr = [0.02, 1e30]
batch_size = [64, 128]

[args]
epochs = 2
workers = 0
log = "csv"
"""


def command(*words):
    return [sys.executable, "-m", "minicnn", "study", *map(str, words)]


def trials_of(folder):
    with (folder / "trials.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_grid_with_runs_that_end_in_nan(tmp_path):
    (tmp_path / "space.toml").write_text(SPACE, encoding="utf-8")
    words = ("--space", tmp_path / "space.toml", "--sampler", "grid", "--workers", 2, "--out", tmp_path / "study")
    done = subprocess.run(command(*words), capture_output=True, text=True, encoding="utf-8", timeout=60)
    assert done.returncode == 0, done.stderr
    rows = trials_of(tmp_path / "study")
    assert [row["state"] for row in rows] == ["complete"] * 2 + ["failed"] * 2
    assert all("the loss is" in row["error"] for row in rows[2:])
    assert float(rows[0]["val_accuracy"]) >= float(rows[1]["val_accuracy"]) > 0
    assert (tmp_path / "study" / "study.png").is_file()
    assert (tmp_path / "study" / "trials" / "0000" / "best.safetensors").is_file()
    assert "validation" in done.stdout


def test_ctrl_c_saves_the_running_trials_and_the_study_goes_on_with_them(tmp_path):
    (tmp_path / "space.toml").write_text(SPACE.replace("1e30", "0.03"), encoding="utf-8")
    words = ("--space", tmp_path / "space.toml", "--sampler", "random", "--trials", 1, "--set", "epochs=100")
    process = subprocess.Popen(command(*words, "--out", tmp_path / "study"), stderr=subprocess.PIPE)
    metrics = tmp_path / "study" / "trials" / "0000" / "metrics.csv"
    deadline = time.monotonic() + 40
    while not metrics.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=40)
    assert process.returncode == 130, errors
    epochs = len(metrics.read_text(encoding="utf-8").splitlines()) - 1
    assert 0 < epochs < 100
    toml = tmp_path / "study" / "trials" / "0000" / "args.toml"
    toml.write_text(
        toml.read_text(encoding="utf-8").replace("epochs = 100", f"epochs = {epochs + 1}"), encoding="utf-8"
    )
    words = command("--resume", tmp_path / "study")
    done = subprocess.run(words, capture_output=True, text=True, encoding="utf-8", timeout=60)
    assert done.returncode == 0, done.stderr
    rows = trials_of(tmp_path / "study")
    assert [(row["trial"], row["state"], row["epochs"]) for row in rows] == [("0", "complete", str(epochs + 1))]
