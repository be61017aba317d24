"""The benchmark of Wide ResNet's time column: what it asks, and what it makes of the answers."""

import json

import numba
import pytest
import threadpoolctl
import train_rows
import wide_resnet

from minicnn import models, slides

SECONDS = {"resnet50": 2.0, "resnet101": 4.0, "resnet152": 6.0, "wide_resnet50_2": 5.0, "preresnet200": 9.0}


class Scripted:
    """A worker that takes as long as ``SECONDS`` says, and notes what it was asked."""

    asked: list[tuple[str, str]]
    lacking = 0

    def __init__(self, library, which, job, threads):
        assert (library, which) == ("minicnn", "train")
        self.name = job[0]
        self.ready = {"parameters": models.counts(self.name).params - self.lacking, "finite": True}

    def ask(self, what):
        self.asked.append((self.name, what))
        if what == "memory":
            return {"peak": 2**30, "total": 2**31}
        return {"seconds": SECONDS[self.name], "beside": 0.0, "finite": True}

    def close(self):
        self.asked.append((self.name, "close"))


@pytest.fixture(autouse=True)
def scripted(monkeypatch):
    threads = numba.get_num_threads()
    monkeypatch.setattr(train_rows, "Worker", Scripted)
    Scripted.asked = []
    with threadpoolctl.threadpool_limits():
        yield Scripted
    numba.set_num_threads(threads)


def test_the_networks_are_asked_in_turns_and_stand_as_ratios(scripted, tmp_path, capsys):
    path = tmp_path / "a.json"
    assert wide_resnet.main(["--samples", "2", "--threads", "1", "--json", str(path)]) == 0
    steps = [name for name, what in scripted.asked if what == "step"]
    assert steps == [*SECONDS, *SECONDS]
    figures = json.loads(path.read_text(encoding="utf-8"))
    assert (figures["row"]["batch"], figures["row"]["side"]) == (16, 224)
    wide = figures["ratios"]["wide_resnet50_2"]
    assert wide == {"ours": 2.5, "paper": pytest.approx(93 / 49), "work": pytest.approx(11.398 / 4.0892, rel=1e-4)}
    assert "1,024" in capsys.readouterr().out


def test_a_network_of_another_size_is_wrong(scripted, monkeypatch, capsys):
    monkeypatch.setattr(scripted, "lacking", 1)
    assert wide_resnet.main(["--quick", "--threads", "1"]) == 1
    assert "wrong" in capsys.readouterr().err
    assert wide_resnet.main(["--threads", "100000"]) == 2


def test_the_milliseconds_are_the_lectures():
    for name, milliseconds in wide_resnet.PAPER.items():
        assert slides.claim(f"3-{name.replace('_', '-')}-time").says == str(milliseconds)
