"""The degradation benchmark as a program: what it trains, concludes, writes and draws; on a few steps."""

import json
from concurrent.futures import Future

import degradation
import pytest

from minicnn import models

SHORT = {"epochs": 2, "pictures": 32}


@pytest.fixture(scope="module")
def run():
    return degradation.train("plain20", 0, **SHORT)


def test_a_run_is_the_same_again(run):
    again = degradation.train("plain20", 0, **SHORT)
    assert again["losses"] == run["losses"] and again["gradient_norms"] == run["gradient_norms"]


def test_a_run_holds_the_loss_of_every_step_and_a_norm_for_every_convolution(run):
    assert run["steps_per_epoch"] == 1 and len(run["losses"]) == 2
    assert run["training_loss"] == pytest.approx(run["losses"][1], abs=1e-4) != run["losses"][0]
    assert len(run["gradient_norms"]) == 19 and min(run["gradient_norms"]) > 0


def test_the_nets_are_twins():
    assert [models.counts(name).params for name in degradation.NETS] == [269722, 853018] * 2


def made_up(losses):
    return [
        {
            "net": net,
            "seed": seed,
            "steps_per_epoch": 2,
            "training_loss": loss + 0.01 * seed,
            "losses": [2.0, 2.0, loss, loss],
            "gradient_norms": [0.1, 0.2],
            "seconds": 1.0,
            "cpu_seconds": 2.0,
        }
        for seed in range(2)
        for net, loss in zip(degradation.NETS, losses, strict=True)
    ]


@pytest.mark.parametrize(
    ("losses", "holds"),
    [
        ((0.5, 0.9, 0.5, 0.4), [True, True]),
        ((0.9, 0.5, 0.4, 0.5), [False, False]),
        ((0.5, 0.5, 0.5, 0.5), [False, True]),
    ],
)
def test_the_verdict(losses, holds):
    assert list(degradation.verdict(made_up(losses)).values()) == holds


class InPlace:
    """A pool whose work is done here and now."""

    def __init__(self, jobs, processes, initializer, initargs):
        assert (jobs, initargs) == (3, (1, False))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def submit(self, function, *arguments):
        done = Future()
        done.set_result(function(*arguments))
        return done


def test_the_program(tmp_path, monkeypatch, capsys):
    runs = {(run["net"], run["seed"]): run for run in made_up((0.5, 0.9, 0.5, 0.6))}
    monkeypatch.setattr(degradation, "train", lambda name, seed, *_: runs[name, seed])
    monkeypatch.setattr(degradation, "ProcessPoolExecutor", InPlace)
    files = ("--json", str(tmp_path / "a.json"), "--picture", str(tmp_path / "a.png"))
    code = degradation.main(["--seeds", "2", "--jobs", "3", *files])
    shown = capsys.readouterr().out
    assert code == 1 and "NO   ResNet-56 ends with one not higher" in shown and "yes  plain-56" in shown
    figures = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert len(figures["runs"]) == 8 and figures["machine"]["cores"]
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
