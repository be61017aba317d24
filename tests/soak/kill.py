"""Kill a training run again and again at random moments: ``python -m tests.soak.kill --times 200``.

Each ``minicnn train`` is killed with SIGKILL and resumed, with another number of workers and another rhythm of
checkpoints, until it gets to its end; then every number it wrote must be that of a run which nobody killed. After each
kill the newest checkpoint must be readable, and no older than the one found after the kill before.
"""

import argparse
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from minicnn.errors import CheckpointError
from minicnn.train import RunFolder
from minicnn.train.checkpoint import load_newest
from tests.train.run_files import differences, everything

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = ("--epochs", "12", "--ema", "0.9", "--warmup-epochs", "1", "--log", "csv,steps")
STARTING = 0.15  # the share of kills that may come before the first step


class Kill(NamedTuple):
    """A kill, and what it left."""

    run: int
    seconds: float
    step: int  # of the newest checkpoint
    fell_back: bool  # to last.previous: the kill came between the two renames

    def __str__(self) -> str:
        note = ", between the renames" if self.fell_back else ""
        return f"run {self.run}: killed after {self.seconds:.2f} s, saved up to step {self.step}{note}"


class Difference(Exception):
    """A resumed run that is not the uninterrupted one."""


def start(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "minicnn", "train", *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, encoding="utf-8")


def finished(folder: Path, process: subprocess.Popen[str]) -> None:
    """Wait for the end. **Raises** Difference when it is not a good one."""
    _, text = process.communicate(timeout=120)
    if process.returncode:
        raise Difference(f"{folder}: ended with {process.returncode}: {text}")


def step_of(folder: Path) -> tuple[int, bool]:
    """The step of the newest checkpoint, and whether it is the previous one. **Raises** Difference when it is lost."""
    run = RunFolder(folder)
    if not any(folder.glob("last*.safetensors")):
        if run.metrics.exists():
            raise Difference(f"{folder}: has metrics, but no checkpoint")
        return 0, False
    try:
        saved, note = load_newest(run.last)
    except CheckpointError as error:
        raise Difference(f"{folder}: lost: {error}") from error
    return 17 * saved.state["epoch"] + saved.state["part"]["position"], bool(note)


def soak(folder: Path, times: int, rng: random.Random) -> Iterator[Kill]:
    """Kill ``times`` times; yields each. **Raises** Difference at the first run that ends with another bit."""
    whole = folder / "whole"
    process = start(*OPTIONS, "--out", whole)
    _until(process, "folder")
    began = time.monotonic()
    _until(process, "epoch 12/12")
    takes = time.monotonic() - began
    finished(whole, process)
    expected, kills, number = everything(whole), 0, 0
    while kills < times:
        number += 1
        run, step = folder / f"run-{number}", 0
        while True:
            choices = ("--workers", rng.choice((0, 1, 3)), "--checkpoint-every", rng.choice(("1", "2", "5", "1s")))
            resumable = (run / "args.toml").exists()
            process = start(*(("--resume", run) if resumable else (*OPTIONS, "--out", run)), *choices)
            seconds = _wait(process, takes, rng) if kills < times else None
            if seconds is None:
                finished(run, process)
                break
            kills += 1
            now, fell_back = step_of(run)
            if now < step:
                raise Difference(f"{run}: went back from step {step} to {now}")
            step = now
            yield Kill(number, seconds, step, fell_back)
        wrong = differences(everything(run), expected)
        if (run / "steps.csv").read_bytes() != (whole / "steps.csv").read_bytes():
            wrong.append("steps.csv")
        if wrong:
            raise Difference(f"{run}: differs from the run that nobody killed in {wrong}")


def _wait(process: subprocess.Popen[str], takes: float, rng: random.Random) -> float | None:
    """Kill at a random moment of the run and return when; None when it came to its end before."""
    began = time.monotonic()
    if rng.random() > STARTING:
        _until(process, "folder")  # the last line before the first step
    try:
        process.wait(rng.random() * takes / 2)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return time.monotonic() - began
    return None


def _until(process: subprocess.Popen[str], start: str) -> None:
    """Read what the run says up to the line that starts so."""
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith(start):
            break


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--times", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args(arguments)
    kills: list[Kill] = []
    with tempfile.TemporaryDirectory() as folder:
        for kill in soak(Path(folder), chosen.times, random.Random(chosen.seed)):
            kills.append(kill)
            print(f"{len(kills):4} {kill}", flush=True)
    runs, torn = kills[-1].run, sum(kill.fell_back for kill in kills)
    print(f"{len(kills)} kills in {runs} runs, {torn} between the renames: every run ended with the same bits")
    return 0


if __name__ == "__main__":
    sys.exit(main())
