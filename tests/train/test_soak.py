"""A few rounds of the programs of tests/soak."""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.soak import kill, memory

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signal")
def test_kill_9_at_random_moments_changes_no_bit(tmp_path):
    kills = list(kill.soak(tmp_path, 8, random.Random(1)))
    assert len(kills) == 8 and max(found.step for found in kills) > 0


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads Linux's count of memory")
@pytest.mark.parametrize("leak", [0, 1000])
def test_memory_stays_flat_and_a_leak_of_a_kilobyte_a_step_is_seen(leak):
    command = [sys.executable, "-m", "tests.soak.memory", "--steps", "2000", "--leak", str(leak)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, encoding="utf-8", timeout=300)
    assert done.returncode == (1 if leak else 0), done.stdout


def test_the_slope_of_samples():
    flat = [memory.Sample(step, 1000 + (step < 1000) * step + step % 3) for step in range(0, 10_000, 50)]
    assert abs(memory.slope(flat)) < 1
    rising = [memory.Sample(step, 1000 + step // 2) for step in range(0, 10_000, 50)]
    assert memory.slope(rising) == pytest.approx(512, rel=0.01)
