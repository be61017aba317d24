"""What a run tells: one line an epoch when nobody watches, a live line in a terminal."""

import io
import sys

import numpy as np
import pytest

from minicnn.errors import ArgumentError
from minicnn.train import RunFolder
from minicnn.train.loop import PartOfEpoch
from minicnn.train.plots import draw_confusion, draw_curves
from minicnn.train.report import Reporter, duration
from minicnn.train.run import COLUMNS

ROW = {"epoch": 1, "train_loss": 0.5, "train_accuracy": 0.9, "val_accuracy": 0.95, "images_per_s": 1234.5}


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """Every step takes two seconds, but for the first, which compiles for a hundred."""
    moments = iter(range(100, 1000, 2))
    monkeypatch.setattr("minicnn.train.report.time.perf_counter", lambda: next(moments))


def run(reporter, steps=5):
    part = PartOfEpoch()
    with reporter:
        for _ in range(steps):
            part.add(0.25, 3, 4)
            part.seconds += 1
            reporter.step(1, part)
        reporter.epoch(ROW, best=True)


def test_one_line_an_epoch(capsys, clock):
    run(Reporter(3, 5))
    assert capsys.readouterr() == (
        "",
        "epoch 1/3  loss 0.5000  train  90.00 %  validation  95.00 % *  1,234 images/s  left 0:20\n",
    )


def test_quiet_says_nothing(capsys):
    reporter = Reporter(3, 5, quiet=True)
    run(reporter)
    reporter.say("hello")
    reporter.stopping()
    assert capsys.readouterr() == ("", "")


def test_a_resumed_run_does_not_count_what_was_done(clock):
    reporter = Reporter(3, 5, done=5)
    run(reporter)
    assert reporter.done == 10 and reporter.left() == "0:10"


@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_live_line_fits_the_terminal(monkeypatch, width):
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm")
    run(Reporter(3, 5))
    shown = screen.getvalue()
    assert "epoch 1/3  loss 0.250  75.0 %" in shown
    assert ("images/s" in shown) == (width >= 80)
    assert "validation  95.00 % *" in shown


def test_duration():
    assert [duration(s) for s in (0, 9.6, 75, 3600, 36061)] == ["0:00", "0:10", "1:15", "1:00:00", "10:01:01"]


def test_runs_are_numbered_and_discarded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first, second = (RunFolder.create(None, "lenet5", "digits") for _ in range(2))
    assert [run.folder.name for run in (first, second)] == ["lenet5-digits-1", "lenet5-digits-2"]
    second.discard()
    assert first.folder.is_dir() and not second.folder.exists()
    first.discard()
    assert not (tmp_path / "runs").exists()
    deep = RunFolder.create(tmp_path / "a" / "b" / "c", "m", "d")
    (tmp_path / "a" / "mine").touch()
    deep.discard()
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["mine"]


def test_a_folder_that_cannot_be_written(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.mkdir", refuse)
    with pytest.raises(ArgumentError, match=r"run cannot be written \(Permission denied\); fix: --out"):
        RunFolder.create(tmp_path / "run", "m", "d")


def test_a_name_that_was_given_is_not_exchanged_for_another(tmp_path):
    (tmp_path / "run").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ArgumentError, match="run cannot be written"):
        RunFolder.create(tmp_path / "run", "m", "d")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize("line", ["1,0.1,x,0.5,1,0.5,100,1", "1,0.1", "1\x00"])
def test_metrics_that_are_no_numbers_are_named(tmp_path, line):
    run = RunFolder(tmp_path)
    assert run.read_metrics() == []
    row = dict.fromkeys(COLUMNS, 0.25)
    run.write_metrics([row])
    assert run.read_metrics() == [row]
    with run.metrics.open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")
    with pytest.raises(ArgumentError, match=r"metrics\.csv: line 3 does not have a number each of epoch, .*; fix: "):
        run.read_metrics()


def test_pictures_of_odd_runs(tmp_path):
    """One epoch, errors of 0, many classes, a class without samples: nothing warns or fails."""
    rows = [{"epoch": 1, "lr": 0.0, "train_loss": 0.0, "val_loss": 1e-9, "train_accuracy": 1.0, "val_accuracy": 1.0}]
    draw_curves(rows, tmp_path / "curves.png", "one")
    for count in (2, 60):
        names = [f"class {k}" for k in range(count)]
        draw_confusion(np.diag([0, *[3] * (count - 1)]), names, tmp_path / f"{count}.png", "many", "100 %")
    assert len(list(tmp_path.iterdir())) == 3
