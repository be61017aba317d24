"""steps.csv and report.html of a run: each step once, a page at the end and never too often before."""

import csv
import json
import re
import shutil

import pytest
from click.testing import CliRunner

from minicnn.cli.report import command
from minicnn.train import RunFolder, new_run, page, resumed_run
from tests.train.conftest import small_model
from tests.train.test_loop import interrupted


def steps_of(run):
    with run.steps.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_step_has_a_line(finished):
    trainer, result = finished
    lines = steps_of(trainer.run)
    assert [(int(line["step"]), int(line["epoch"])) for line in lines] == [(k, 1 + (k > 5)) for k in range(1, 11)]
    assert float(lines[4]["lr"]) == pytest.approx(result.rows[0]["lr"], rel=1e-5)
    count = [256] * 4 + [53]
    mean = sum(float(line["loss"]) * n for line, n in zip(lines[:5], count, strict=True)) / sum(count)
    assert mean == pytest.approx(result.rows[0]["train_loss"], rel=1e-4)


def test_a_resumed_run_has_each_step_once(small, finished, tmp_path, monkeypatch):
    first = new_run(small, tmp_path / "parts", quiet=True)
    interrupted(first, monkeypatch, 3)
    with first.run.steps.open("a", encoding="utf-8") as file:  # a killed run told of more than it saved
        file.write("4,1,0.03,9.9,0\n1")
    resumed_run(tmp_path / "parts", quiet=True)[0].fit()
    assert first.run.steps.read_bytes() == finished[0].run.steps.read_bytes()


def test_pages_before_the_end_take_a_hundredth_of_the_time(small, tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(page, "write", lambda path, story: written.append((len(story.rows), story.test is None)))
    new_run(small, tmp_path / "run", quiet=True).fit()
    assert written == [(1, True), (2, False)]  # the second epoch comes sooner than 100 times what the first page took


def test_the_page_is_written_again_from_the_folder(finished, tmp_path, monkeypatch):
    monkeypatch.setattr("minicnn.train.recipe.build_model", small_model)
    folder = shutil.copytree(finished[0].run.folder, tmp_path / "copy")
    run = RunFolder(folder)
    before = run.report.read_text(encoding="utf-8")
    run.report.unlink()
    done = CliRunner().invoke(command, [str(folder), "--json"])
    assert json.loads(done.output)["test_accuracy"] == finished[1].test.accuracy
    again = run.report.read_text(encoding="utf-8")
    for part in ("Confusion", "Worst mistakes", "Classes", "Calibration"):
        start = f"<h2>{part}"
        assert section(again, start) == section(before, start)
    kept = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
    assert kept["peak memory"] in again and f"{100 * finished[1].test.accuracy:.2f} % test accuracy" in again
    lines = run.metrics.read_text(encoding="utf-8").splitlines(keepends=True)
    run.metrics.write_text("".join(lines[:2]), encoding="utf-8")
    assert json.loads(CliRunner().invoke(command, [str(folder), "--json"]).output)["test_accuracy"] is None
    assert "epoch 1 of 2" in run.report.read_text(encoding="utf-8")


def section(text, start):
    return re.sub(r"\s+", " ", text[text.index(start) : text.index("</section>", text.index(start))])
