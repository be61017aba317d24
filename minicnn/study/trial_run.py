"""One trial: a ``minicnn train`` of its own process, watched epoch by epoch.

A process each, because what happens to one (NaN, no memory, killed) must not happen to the study.
"""

import csv
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from minicnn.parallel.launch import flags
from minicnn.train.run import RunFolder

POLL_SECONDS = 0.2
PATIENCE_SECONDS = 30.0  # for a run that was asked to stop


class Outcome(NamedTuple):
    """How a trial ended: ``"complete"``, ``"pruned"``, ``"failed"``, or ``"stopped"`` with the study."""

    state: str
    accuracies: list[float]  # on validation, an epoch each
    error: str = ""
    test_accuracy: float | None = None


def accuracies_of(folder: Path) -> list[float]:
    """Validation accuracies of the epochs a run has finished."""
    try:
        with RunFolder(folder).metrics.open(encoding="utf-8", newline="") as file:
            return [float(row["val_accuracy"]) for row in csv.DictReader(file)]
    except FileNotFoundError:
        return []


def run_trial(
    options: dict[str, Any],
    folder: Path,
    threads: int,
    hopeless: Callable[[list[float]], bool],
    stop: threading.Event,
) -> Outcome:
    """Train with ``options`` in ``folder``, or go on there; ``hopeless`` looks at the accuracies after each epoch."""
    goes_on = RunFolder(folder).args.is_file()
    words = ["--resume", str(folder)] if goes_on else [*flags(options), "--out", str(folder)]
    command = [sys.executable, "-m", "minicnn", "train", *words, "--quiet", "--json"]
    environment = {"NUMBA_NUM_THREADS": str(threads)} | os.environ
    # files, not pipes: nobody needs to read while the run writes; a session of its own: Ctrl-C reaches the study alone
    with tempfile.TemporaryFile() as told, tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(command, stdout=told, stderr=errors, env=environment, start_new_session=True)
        try:
            state = _watch(process, folder, hopeless, stop)
        finally:
            _end(process)
        hopeless(accuracies_of(folder))  # what came after the last look
        texts = []
        for file in (told, errors):
            file.seek(0)
            texts.append(file.read().decode("utf-8", "replace"))
    return _outcome(state, process.returncode, accuracies_of(folder), *texts)


def _watch(
    process: "subprocess.Popen[bytes]", folder: Path, hopeless: Callable[[list[float]], bool], stop: threading.Event
) -> str:
    seen = 0
    while process.poll() is None:
        if stop.wait(POLL_SECONDS):
            return "stopped"
        accuracies = accuracies_of(folder)
        if len(accuracies) > seen:
            seen = len(accuracies)
            if hopeless(accuracies):
                return "pruned"
    return "complete"


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Ask the run to save and stop; one that does not is killed."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _outcome(state: str, code: int, accuracies: list[float], told: str, errors: str) -> Outcome:
    if state != "complete":
        return Outcome(state, accuracies)
    if code == 0 and accuracies:
        return Outcome(state, accuracies, "", json.loads(told)["test_accuracy"])
    lines = errors.strip().splitlines()
    killed = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    return Outcome("failed", accuracies, lines[-1] if lines and code > 0 else killed)
