"""The benchmark of whole networks: the conversation with its workers, what it concludes; the smallest network."""

import io
import json
import math
import sys
from pathlib import Path

import numba
import numpy as np
import pytest
import threadpoolctl
import train_bench
import train_worker

from minicnn import models

CHOSEN = train_bench.argparse.Namespace(threads=1, samples=3)


@pytest.fixture(autouse=True)
def threads_as_they_were():
    threads = numba.get_num_threads()
    with threadpoolctl.threadpool_limits():
        yield
    numba.set_num_threads(threads)


class Scripted:
    """A worker that gives the answers it was made with; ``asked`` is shared, to show the turns."""

    asked: list[tuple[str, str]]
    said: dict[str, dict]

    def __init__(self, library, network, batch, side, threads):
        self.library, self.count = library, 0
        self.ready = {"parameters": 5, "threads": {"numba": threads}} | self.said.get(library, {}).get("ready", {})

    def ask(self, what):
        self.asked.append((self.library, what))
        self.count += 1
        found = {"peak": 100.0 * self.count} if what == "memory" else {"seconds": float(self.count), "finite": True}
        return found | self.said.get(self.library, {}).get(what, {})

    def close(self):
        self.asked.append((self.library, "close"))


@pytest.fixture
def scripted(monkeypatch):
    Scripted.asked, Scripted.said = [], {}
    monkeypatch.setattr(train_bench, "Worker", Scripted)
    return Scripted


def measured(libraries=("minicnn", "torch")):
    return train_bench.measure("lenet5", 64, 224, CHOSEN, list(libraries))


def test_libraries_are_asked_in_turns_and_the_first_turn_does_not_count(scripted):
    row = measured()
    turns = [("minicnn", "infer"), ("torch", "infer")] * 4 + [("minicnn", "memory"), ("torch", "memory")]
    training = [(name, what.replace("infer", "train")) for name, what in turns]
    assert scripted.asked == [*turns, *training, ("minicnn", "close"), ("torch", "close")]
    assert row["state"] == "right" and row["trouble"] == {}
    for name in ("minicnn", "torch"):
        assert row[name]["infer"] == {"seconds": 3.0, "peak_bytes": 500.0}, "the median of 2, 3, 4"
        assert row[name]["train"] == {"seconds": 8.0, "peak_bytes": 1000.0}


@pytest.mark.parametrize(
    ("said", "state"),
    [
        ({"torch": {"ready": {"trouble": "no torchvision", "parameters": None}}}, "right"),
        ({"torch": {"ready": {"parameters": 6}}}, "wrong"),
        ({"minicnn": {"train": {"finite": False}}}, "wrong"),
        ({"minicnn": {"infer": {"trouble": "its process ended with exit code 1"}}}, "wrong"),
    ],
)
def test_a_missing_peer_is_left_out_and_what_differs_is_wrong(scripted, capsys, said, state):
    scripted.said = said
    row = measured()
    train_bench.show([row])
    assert row["state"] == state
    output = capsys.readouterr().out
    assert ("WRONG" in output) == (state == "wrong")
    for name, trouble in row["trouble"].items():
        assert f"lenet5: {name}: {trouble}" in output


def test_the_program_writes_and_draws(scripted, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(train_bench.Torch, "trouble", staticmethod(lambda device: ""))
    path, picture = tmp_path / "a.json", tmp_path / "a.png"
    files = ["--json", str(path), "--picture", str(picture)]
    assert train_bench.main(["--networks", "lenet5", "vgg16", "--quick", "--threads", "1", *files]) == 0
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
    assert [(row["network"], row["batch"], row["side"]) for row in rows] == [("lenet5", 2, 64), ("vgg16", 2, 64)]
    assert picture.read_bytes().startswith(b"\x89PNG") and "images/s" in capsys.readouterr().out
    scripted.said = {"torch": {"ready": {"parameters": 6}}}
    assert train_bench.main(["--networks", "lenet5", "--threads", "1"]) == 1
    assert train_bench.main(["--threads", "100000"]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("train_bench: threads: 100000 is more")


def test_every_network_is_in_the_catalog():
    assert set(train_bench.BATCH) <= set(models.names())


def test_steps_train_and_infer():
    x, labels = train_worker.batch_of("lenet5", 4, 224)
    assert x.shape == (4, 1, 32, 32) and x.dtype == np.float32
    steps = train_worker.minicnn_steps("lenet5", x, labels)
    losses = [steps.train() for _ in range(3)]
    assert losses[2] < losses[0] and steps.infer().shape == (4, 10)
    assert steps.parameters == models.counts("lenet5").params


@pytest.mark.parametrize("name", ["lenet5", "mobilenet_v1_1.0_224"])
def test_a_peer_by_hand_is_the_same_network(name):
    """As many parameters, in the same shapes."""
    pytest.importorskip("torch")
    theirs = sorted(tuple(parameter.shape) for parameter in train_worker.torch_network(name).parameters())
    assert theirs == sorted(tuple(parameter.shape) for parameter in models.create(name).parameters())


def test_pytorchs_steps_train_too():
    pytest.importorskip("torch")
    steps = train_worker.torch_steps("lenet5", *train_worker.batch_of("lenet5", 4, 32))
    losses = [steps.train() for _ in range(3)]
    assert losses[2] < losses[0] and steps.infer().shape == (4, 10)


def test_an_answer_that_is_not_finite_says_so(monkeypatch):
    monkeypatch.setattr(train_worker, "SAMPLE_SECONDS", 0.0)
    steps = train_worker.Steps(lambda: math.nan, lambda: np.ones(3), 0)
    assert [train_worker.answer(steps, which)["finite"] for which in ("train", "infer")] == [False, True]


@pytest.mark.skipif(not Path("/proc/self/clear_refs").is_file(), reason="Linux counts resident memory")
def test_the_peak_is_what_was_resident_since_it_was_forgotten():
    np.ones(8_000_000)
    assert train_worker.forget_peak()
    before = train_worker.resident("VmRSS")
    assert train_worker.resident("VmHWM") - before < 8_000_000
    np.ones(2_000_000)
    assert 14_000_000 < train_worker.resident("VmHWM") - before < 40_000_000


def test_a_worker_answers_on_its_pipe(monkeypatch, capsys):
    """The whole conversation, in this process: what is asked on one line is answered on one line."""
    monkeypatch.setattr(train_worker, "SAMPLE_SECONDS", 0.0)
    monkeypatch.setattr(train_worker, "settle", lambda: None)
    monkeypatch.setattr(sys, "argv", ["train_worker.py", "minicnn", "lenet5", "4", "32", "1"])
    monkeypatch.setattr(sys, "stdin", io.StringIO("infer\ntrain\nmemory\n"))
    train_worker.main()
    ready, infer, train, memory = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert ready["parameters"] == 61706 and ready["threads"]["numba"] == 1
    assert infer["finite"] and train["seconds"] > 0 and set(memory) == {"peak"}


@pytest.mark.slow
def test_two_processes_answer():
    pytest.importorskip("torch")
    row = measured()
    assert row["state"] == "right" and row["minicnn"]["train"]["seconds"] > 0 and row["torch"]["infer"]["seconds"] > 0
