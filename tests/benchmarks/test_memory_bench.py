"""The benchmark of predicted memory, on the smallest network."""

import json

import memory_bench
import pytest


@pytest.mark.slow
def test_the_program_measures_and_writes(tmp_path, capfd):
    path = tmp_path / "memory.json"
    assert memory_bench.main(["--networks", "lenet5", "--json", str(path)]) == 0
    (row,) = json.loads(path.read_text(encoding="utf-8"))["rows"]
    assert 0 < row["live"] < row["predicted"] == pytest.approx(row["measured"], rel=0.1)
    assert "further than 10% off: none" in capfd.readouterr().out


def test_what_is_far_off_is_named(monkeypatch, capsys):
    rows = {
        "lenet5": {"network": "lenet5", "batch": 64, "live": 1, "predicted": 80, "measured": 100},
        "vgg16": {"network": "vgg16", "batch": 4, "live": 1, "predicted": 95, "measured": 100},
    }
    monkeypatch.setattr(memory_bench, "row", lambda network, batch: rows[network])
    assert memory_bench.main(["--networks", "lenet5", "vgg16"]) == 1
    assert "further than 10% off: lenet5" in capsys.readouterr().out
    rows["vgg16"]["measured"] = None
    assert memory_bench.main(["--networks", "vgg16"]) == 2
