"""``minicnn train --data cifar10``, from a small archive in the true format to the page of the run."""

import json

import numpy as np
import pytest

from minicnn.data import cifar
from tests.data import published_files as made

COLOURS = np.random.default_rng(5).permutation(27)[:10, None] // [1, 3, 9] % 3 * 110  # ten of 27


@pytest.fixture
def archive(tmp_path, monkeypatch):
    """Forty images a file, one colour a class with a little noise: what a few epochs can learn."""
    labels = np.arange(40) % 10
    names = [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]
    members = [
        (name, made.records(COLOURS[labels][:, :, None, None] + made.pixels(40, seed) // 32, labels))
        for seed, name in enumerate(names)
    ]
    members.append(("batches.meta.txt", "\n".join(made.TEN).encode()))
    content = made.tar((f"cifar-10-batches-bin/{name}", member) for name, member in members)
    monkeypatch.setenv("MINICNN_DATA", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    monkeypatch.setattr(cifar, "CIFAR10", made.put(tmp_path / "cache", cifar.CIFAR10.name, content, packed=True))


def test_it_trains_and_writes_a_page(minicnn, archive, tmp_path):
    options = ("--epochs", 8, "--batch-size", 20, "--no-augment", "--log", "csv,steps,report", "--json")
    done = minicnn("train", "--data", "cifar10", "--out", "run", *options)
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert found["test_count"] == 40 and found["test_accuracy"] > 0.5  # one in ten by chance
    assert "180 training, 20 validation, 40 test images" in done.err and "3x32x32" in done.err
    page = (tmp_path / "run/report.html").read_text(encoding="utf-8")
    assert all(name in page for name in made.TEN) and f"{100 * found['test_accuracy']:.2f}" in page
    files = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"args.toml", "best.safetensors", "last.safetensors", "metrics.csv", "steps.csv", "report.html"} <= files
