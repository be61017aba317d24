"""The loader's benchmark as a program: what it trains on, and what it counts as waiting; on a few steps."""

import json
import sys
import time
from pathlib import Path

import loader_bench
import numpy as np
import pytest

from minicnn import data


def test_what_is_waited_is_the_loaders_share_of_the_time() -> None:
    dataset = data.ArrayDataset(np.zeros((12, 1, 2, 2)), np.zeros(12, int), "a")

    def slow(images: np.ndarray, rngs: object) -> np.ndarray:
        time.sleep(0.03)
        return images

    loader = data.DataLoader(dataset, 4, augment=slow)
    seen = []

    def step(images: np.ndarray, labels: np.ndarray) -> None:
        seen.append(len(labels))
        time.sleep(0.01)

    row = loader_bench.measure(loader, step, 5)  # an epoch has three batches
    assert seen == [4] * 5 and row["workers"] == 0
    assert 0.04 <= row["step_s"] < 0.2 and 0.5 < row["waited"] < 0.9


@pytest.mark.slow
def test_the_program_measures_both_trainings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["loader_bench.py", "--quick", "--json", str(tmp_path / "figures.json")])
    loader_bench.main()
    rows = json.loads((tmp_path / "figures.json").read_text(encoding="utf-8"))["rows"]
    assert [(row["network"], row["workers"]) for row in rows] == [
        (network, workers) for network in ("lenet5", "resnet18") for workers in (None, 0, 1, 2)
    ]
    for row in rows:
        assert 0 <= row["waited"] < 1 and row["speed"] > 0 and (row["workers"] is not None or row["speed"] == 1)
        assert row["waited"] > 0 or row["workers"] is None
