"""What a study does with its trials; the trials themselves are pretended, except in the slow tests."""

import csv
import threading

import pytest

from minicnn.errors import ArgumentError
from minicnn.study import Space, Study, StudyArgs, draw, lines_of, rows_of, write_csv
from minicnn.study import study as module
from minicnn.study.trial_run import Outcome

pytest.importorskip("optuna")  # the extra `study`

SPACE = {"space": {"lr": [0.01, 0.1, 0.2], "batch_size": [32, 64]}, "args": {"epochs": 3}}


@pytest.fixture
def pretended(monkeypatch):
    """Trials that end at once: the larger the rate the better; 0.2 is no number. Records the options of each."""
    seen, lock = [], threading.Lock()

    def run_trial(options, folder, threads, hopeless, stop):
        with lock:
            seen.append(options)
        if options["lr"] == 0.2:
            return Outcome("failed", [], "the loss is nan")
        accuracies = []
        for epoch in range(1, options["epochs"] + 1):
            accuracies.append(options["lr"] * epoch + options["batch_size"] / 1000)
            if hopeless(accuracies):
                return Outcome("pruned", accuracies)
        return Outcome("complete", accuracies, "", accuracies[-1] / 2)

    monkeypatch.setattr(module, "run_trial", run_trial)
    return seen


def test_a_grid_tries_every_point_once_notes_failures_and_can_go_on(tmp_path, pretended):
    folder = tmp_path / "grid"
    study = Study.create(folder, Space.of(SPACE), StudyArgs("grid", "none", 4, workers=2))
    ended = []
    study.run(lambda *told: ended.append(told))
    assert len(pretended) == len(ended) == 4
    with pytest.raises(ArgumentError, match="--resume"):
        Study.create(folder, Space.of(SPACE), StudyArgs("grid"))
    again = Study.open(folder)
    again.run()
    assert len(pretended) == 4, "a finished study ran again"

    rows = rows_of(again)
    assert len({(o["lr"], o["batch_size"]) for o in pretended}) == 4
    assert rows[0].params == {"lr": 0.1, "batch_size": 64} and rows[0].state == "complete"
    assert rows[0].accuracy == pytest.approx(0.364) and rows[0].test_accuracy == pytest.approx(0.182)
    write_csv(rows, ["lr", "batch_size"], folder / "trials.csv")
    with (folder / "trials.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [float(line["lr"]) for line in lines] == [row.params["lr"] for row in rows]


def test_failed_trials_are_noted_and_the_study_goes_on(tmp_path, pretended):
    study = Study.create(tmp_path / "s", Space.of(SPACE), StudyArgs("grid", "none", 0))
    study.run()
    rows = rows_of(study)
    assert [row.state for row in rows] == ["complete"] * 4 + ["failed"] * 2
    text = "\n".join(lines_of(rows, ["lr", "batch_size"]))
    assert text.count("the loss is nan") == 2
    draw(rows, study, tmp_path / "study.png")
    assert (tmp_path / "study.png").read_bytes()[:4] == b"\x89PNG"


def test_a_trial_that_was_interrupted_is_run_again_under_its_number(tmp_path, pretended, monkeypatch):
    study = Study.create(tmp_path / "s", Space.of(SPACE), StudyArgs("random", "none", 2))
    usual = module.run_trial

    def stopped(options, folder, threads, hopeless, stop):
        stop.set()
        hopeless([0.5])
        return Outcome("stopped", [0.5])

    monkeypatch.setattr(module, "run_trial", stopped)
    study.run()
    monkeypatch.setattr(module, "run_trial", usual)
    again = Study.open(tmp_path / "s")
    again.run()
    rows = rows_of(again)
    assert sorted(row.trial for row in rows) == [0, 1]
    assert all(row.state in ("complete", "failed") for row in rows)


def test_hopeless_trials_are_pruned(tmp_path, pretended):
    space = Space.of({"space": {"lr": [0.15, 0.14, 0.13, 0.12, 0.01]}, "args": {"epochs": 3, "batch_size": 32}})
    study = Study.create(tmp_path / "s", space, StudyArgs("grid", "median", 0))
    study.run()
    by_rate = {row.params["lr"]: row for row in rows_of(study)}
    assert by_rate[0.01].state == "pruned" and by_rate[0.01].epochs < 3
    assert by_rate[0.15].state == "complete"


def test_a_random_study_that_goes_on_does_not_choose_the_same_again(tmp_path, pretended):
    space = Space.of(
        {"space": {"lr": {"low": 0.001, "high": 0.1, "log": True}}, "args": {"epochs": 1, "batch_size": 8}}
    )
    Study.create(tmp_path / "s", space, StudyArgs("random", "none", 2)).run()
    Study.open(tmp_path / "s", trials=4).run()
    assert len({options["lr"] for options in pretended}) == 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[", "is not TOML"),
        ("[space]\nlr = [0.1]", r"study\.toml: expected a table \[study\] with sampler, .*; found none"),
        ("study = 3\n[space]\nlr = [0.1]", "found none"),
        ("[study]\nsed = 1\n[space]\nlr = [0.1]", "found sed"),
        ("[study]\ntrials = 'x'\n[space]\nlr = [0.1]", "trials='x', expected 0 to 10000"),
    ],
)
def test_a_study_file_that_was_edited_wrongly(tmp_path, text, message):
    (tmp_path / "study.toml").write_text(text, encoding="utf-8")
    with pytest.raises(ArgumentError, match=message):
        Study.open(tmp_path)
