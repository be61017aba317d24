"""The round of a machine with a GPU, on one without: every way a stage can end, and why there is no round."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def gpu_round(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    spec = importlib.util.spec_from_file_location("gpu_round", BENCHMARKS / "gpu_round.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def outcome(gpu_round, folder, program, seconds=60.0, result=None):
    return gpu_round.run(gpu_round.Stage("a stage", [sys.executable, "-c", program], 60, result), seconds, folder)


def test_a_stage_passes_fails_or_takes_too_long(gpu_round, tmp_path):
    passed = outcome(gpu_round, tmp_path, "print('a line')")
    assert (passed["outcome"], passed["output"].strip()) == ("passed", "a line")
    failed = outcome(gpu_round, tmp_path, "raise SystemExit(3)")
    assert (failed["outcome"], failed["exit_code"]) == ("failed", 3)
    assert outcome(gpu_round, tmp_path, "import time; time.sleep(60)", seconds=0.2)["outcome"] == "timed out"
    absent = gpu_round.Stage("absent", ["no-such-program"], 60)
    assert gpu_round.run(absent, 60, tmp_path)["outcome"] == "not installed"


def test_the_file_a_stage_writes_is_kept(gpu_round, tmp_path):
    result = tmp_path / "figures.json"
    program = f"import json; json.dump([1, 2], open({str(result)!r}, 'w'))"
    assert outcome(gpu_round, tmp_path, program, result=result)["result"] == [1, 2]


def test_every_stage_runs_in_turn_and_the_file_is_whole_after_each(gpu_round, tmp_path, monkeypatch, capsys):
    file = tmp_path / "round.json"
    check = f"import json; assert len(json.load(open({str(file)!r}))['stages']) == 1"
    commands = {"first": "print('first')", "second": check, "third": "raise SystemExit(1)"}
    stages = [gpu_round.Stage(name, [sys.executable, "-c", program], 60) for name, program in commands.items()]
    monkeypatch.setattr(gpu_round, "gpu_trouble", lambda: "")
    monkeypatch.setattr(gpu_round, "machine", lambda device: {"gpu": "none"})
    monkeypatch.setattr(gpu_round, "stages", lambda folder: stages)
    monkeypatch.setattr(sys, "argv", ["gpu_round.py", "--json", str(file)])
    assert gpu_round.main() == 1
    written = json.loads(file.read_text(encoding="utf-8"))
    assert [row["outcome"] for row in written["stages"]] == ["passed", "passed", "failed"]
    assert "second" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["gpu_round.py", "--json", str(file), "--minutes", "0"])
    assert gpu_round.main() == 1
    assert json.loads(file.read_text(encoding="utf-8"))["stages"][0]["outcome"] == "no time left"


def test_without_a_gpu_there_is_no_round(gpu_round, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gpu_round, "gpu_trouble", lambda: "no driver")
    monkeypatch.setattr(sys, "argv", ["gpu_round.py", "--json", str(tmp_path / "round.json")])
    assert gpu_round.main() == 2
    assert capsys.readouterr().err == "no round: no driver\n"
    assert not list(tmp_path.iterdir())


def test_its_programs_exist(gpu_round, tmp_path):
    for stage in gpu_round.stages(tmp_path):
        files = [part for part in stage.command if part.endswith(".py") and "/" in part]
        assert all((gpu_round.ROOT / file).exists() for file in files), stage.command
    assert sum(stage.seconds for stage in gpu_round.stages(tmp_path)) <= 25 * 60
