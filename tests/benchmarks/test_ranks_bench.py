"""The benchmark of ranks as a program, its measurements pretended."""

import json
import sys
from pathlib import Path

import pytest
import ranks_bench


def test_figures_are_medians_of_rounds_against_one_rank(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spells = iter([1.0, 1.0, 1.0, 1.0, 1.0, 0.1, 0.1, 0.1, 0.1, 0.1, 1.1, 1.1, 1.1, 1.1, 1.1])  # a slow one

    def measured(model: str, ranks: int, threads: int, sync: bool, seconds: float) -> float:
        return next(spells) * (80 if sync else 100 if ranks == 1 else 150)

    monkeypatch.setattr(ranks_bench, "CORES", 4)
    monkeypatch.setattr(ranks_bench, "measured", measured)
    monkeypatch.setattr(sys, "argv", ["ranks_bench.py", "--rounds", "3", "--json", str(tmp_path / "figures.json")])
    ranks_bench.main()
    rows = json.loads((tmp_path / "figures.json").read_text(encoding="utf-8"))["rows"]
    assert [(row["ranks"], row["threads"], row["sync_bn"]) for row in rows] == [
        *((1, 4, False), (4, 1, False)),
        *((1, 4, False), (4, 1, False), (4, 1, True)),
    ]
    assert [row["images_per_s"] for row in rows] == [100, 150, 100, 150, 80]
    assert [row["against_threads"] for row in rows] == [1, 1.5, 1, 1.5, 0.8]
    assert "1.50 of one rank" in capsys.readouterr().out
