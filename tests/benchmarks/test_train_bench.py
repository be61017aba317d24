"""The benchmarks of whole networks: the conversation with the workers, what it concludes; the smallest network."""

import argparse
import importlib.util
import io
import json
import math
import mmap
import subprocess
import sys
from functools import partial
from pathlib import Path

import growth_bench
import numba
import numpy as np
import pytest
import threadpoolctl
import train_bench
import train_rows
import train_steps
import train_worker

from minicnn import models

ALL = ["minicnn", "torch", "onnxruntime"]
JOB = ("lenet5", 64, 224)


@pytest.fixture(autouse=True)
def threads_as_they_were():
    threads = numba.get_num_threads()
    with threadpoolctl.threadpool_limits():
        yield
    numba.set_num_threads(threads)


class Scripted:
    """A worker that gives the answers it was made with; ``asked`` is shared, to show the turns."""

    asked: list[tuple[str, ...]]
    said: dict[str, dict]
    cold: set[str]  # libraries that compile the next time they start
    busy: dict[int, float]  # cores that others use while a step of this number is timed

    def __init__(self, library, which, job, threads):
        self.library, self.which, self.count = library, which, 0
        self.asked.append((library, which, "start"))
        self.ready = {"parameters": 5, "compiled": library in self.cold} | self.said.get(library, {}).get("ready", {})
        self.cold.discard(library)

    def ask(self, what):
        self.asked.append((self.library, self.which, what))
        self.count += 1
        memory = {"peak": 100.0 * self.count, "total": 1000.0}
        found = (
            memory
            if what == "memory"
            else {"seconds": float(self.count), "beside": self.busy.get(self.count, 0.0), "finite": True}
        )
        return found | self.said.get(self.library, {}).get(f"{what} {self.which}", {})

    def close(self):
        self.asked.append((self.library, self.which, "close"))


@pytest.fixture
def scripted(monkeypatch):
    Scripted.asked, Scripted.said, Scripted.cold, Scripted.busy = [], {}, set(), {}
    monkeypatch.setattr(train_rows, "Worker", Scripted)
    return Scripted


def measured(libraries=ALL):
    return train_rows.measure(JOB, libraries, 1, 3)


def test_libraries_are_asked_in_turns_each_pass_in_processes_of_its_own(scripted):
    row = measured()
    for which, able in train_rows.PASSES.items():
        asked = [(name, what) for name, pass_, what in scripted.asked if pass_ == which]
        phases = ("start", "step", "step", "step", "memory", "close")
        assert asked == [(name, what) for what in phases for name in able]
        for name in able:
            figures = {"seconds": 2.0, "samples": [1.0, 2.0, 3.0], "peak": 400.0, "total": 1000.0}
            assert row[name][which] == figures
    assert row["state"] == "right" and row["trouble"] == {} and row["parameters"] == 5
    assert "train" not in row["onnxruntime"]


def test_a_process_that_compiled_is_replaced(scripted):
    scripted.cold = {"minicnn"}
    measured(["minicnn"])
    assert [what for _, which, what in scripted.asked if which == "infer"][:4] == ["start", "close", "start", "step"]
    assert [what for _, which, what in scripted.asked if which == "train"][:2] == ["start", "step"]


@pytest.mark.parametrize(
    ("busy", "kept", "beside"),
    [
        ({}, [1, 2, 3], 0.0),
        ({2: 0.5}, [1, 3, 4], 0.0),
        ({1: 0.3, 2: 0.5, 3: 0.6, 4: 0.2, 5: 0.4, 6: 0.05}, [6, 4, 1], 0.3),
    ],
)
def test_a_disturbed_turn_is_taken_again_at_most_so_often(scripted, capsys, busy, kept, beside):
    scripted.busy = busy
    row = measured(["minicnn"])
    train_bench.show([row])
    assert ("disturbed, other programs kept 0.3 cores" in capsys.readouterr().out) == (beside > 0.1)
    assert row["minicnn"]["train"]["samples"] == kept and row["beside"] == beside


def test_what_others_use_is_noticed():
    """Another process that works for a third of a second is most of what is used meanwhile."""
    before = train_worker.used_by_others()
    work = "import time\nwhile time.process_time() < 0.3: pass"
    subprocess.run([sys.executable, "-c", work], check=True)
    if Path("/proc/stat").is_file():
        assert train_worker.used_by_others() - before > 0.2


@pytest.mark.parametrize(
    ("said", "state"),
    [
        ({"torch": {"ready": {"trouble": "no torchvision", "parameters": None}}}, "right"),
        ({"torch": {"ready": {"parameters": 6}}}, "wrong"),
        ({"minicnn": {"step train": {"finite": False}}}, "wrong"),
        ({"minicnn": {"ready": {"finite": False}}}, "wrong"),
        ({"minicnn": {"memory infer": {"trouble": "its process ended with exit code 1"}}}, "wrong"),
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
        assert f"lenet5, batch 64: {name}: {trouble}" in output
        assert (name, "train", "memory") not in scripted.asked, "no more is asked of it"
        assert (name, "infer", "memory") in scripted.asked or (name, "train", "start") not in scripted.asked


@pytest.fixture
def with_peers(monkeypatch):
    monkeypatch.setattr(train_rows, "_libraries", lambda alone: ALL)


def test_the_program_writes_and_draws(scripted, with_peers, tmp_path, capsys):
    path, picture = tmp_path / "a.json", tmp_path / "a.png"
    files = ["--json", str(path), "--picture", str(picture)]
    assert train_bench.main(["--networks", "lenet5", "vgg16", "--quick", "--threads", "1", *files]) == 0
    figures = json.loads(path.read_text(encoding="utf-8"))
    rows, asked = figures["rows"], figures["summary"]["goals"]
    assert [(row["network"], row["batch"], row["side"]) for row in rows] == [("lenet5", 2, 64), ("vgg16", 2, 64)]
    assert [(goal["goal"], goal["count"]) for goal in asked][:2] == [("training step", 2)] * 2
    said = capsys.readouterr()
    assert picture.read_bytes().startswith(b"\x89PNG") and "images/s" in said.out
    assert "vgg16, batch 2: train, turn 1: torch 1.0000 s" in said.err
    scripted.said = {"torch": {"ready": {"parameters": 6}}}
    assert train_bench.main(["--networks", "lenet5", "--threads", "1"]) == 1
    assert train_bench.main(["--threads", "100000"]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("train_bench: threads: 100000 is more")


def test_a_run_goes_on_where_it_ended(scripted, with_peers, tmp_path, capsys):
    path = tmp_path / "a.json"
    go_on = ["--resume", "--threads", "1", "--quick", "--json", str(path), "--networks", "lenet5"]
    assert train_bench.main(go_on) == 0
    scripted.asked.clear()
    assert train_bench.main([*go_on, "vgg16"]) == 0
    assert sum(what == "start" for _, _, what in scripted.asked) == 5, "only VGG16"
    assert [row["network"] for row in json.loads(path.read_text(encoding="utf-8"))["rows"]] == ["lenet5", "vgg16"]
    assert train_bench.main([*go_on, "--samples", "7"]) == 2
    assert train_bench.main(["--resume"]) == 2
    assert [line.partition(" ")[2][:20] for line in capsys.readouterr().err.splitlines()[-2:]] == [
        f"--resume: {path}"[:20],
        "--resume needs the f",
    ]


def test_without_peers_it_says_so(monkeypatch, capsys):
    assert train_rows._libraries(True) == ["minicnn"] and capsys.readouterr().out == ""
    monkeypatch.setattr(train_rows.Torch, "trouble", staticmethod(lambda device: "no PyTorch"))
    assert train_rows._libraries(False) == ["minicnn"] and "no PyTorch" in capsys.readouterr().out
    monkeypatch.setattr(train_rows.Torch, "trouble", staticmethod(lambda device: ""))
    monkeypatch.setattr(train_rows.importlib.util, "find_spec", lambda name: None if name == "onnx" else name)
    assert train_rows._libraries(False) == ["minicnn", "torch"] and ": onnx missing" in capsys.readouterr().out


def test_growth_is_a_line_through_the_peaks(scripted, with_peers, tmp_path, capsys):
    path, picture = tmp_path / "a.json", tmp_path / "a.png"
    files = ["--json", str(path), "--picture", str(picture)]
    assert growth_bench.main(["--batches", "4", "8", "--threads", "1", *files]) == 0
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
    assert [(row["batch"], row["side"]) for row in rows] == [(4, 224), (8, 224)]
    assert picture.read_bytes().startswith(b"\x89PNG") and "ms an image, 8" in capsys.readouterr().out


def test_the_fitted_line_tells_what_bends():
    rows = [{"batch": n, "minicnn": {"train": {"peak": 100 + 10 * n}}} for n in (8, 16, 32, 64)]
    assert growth_bench.line(rows, "minicnn", "train") == pytest.approx({"fixed": 100, "per_image": 10, "bend": 0})
    rows[-1]["minicnn"]["train"]["peak"] *= 2
    assert growth_bench.line(rows, "minicnn", "train")["bend"] > 0.1
    assert growth_bench.line(rows, "torch", "train") is None is growth_bench.line(rows[:1], "minicnn", "train")


def test_every_network_is_in_the_catalog():
    assert {*train_bench.BATCH, growth_bench.NETWORK} <= set(models.names())


def steps(library, which):
    return train_steps.STEPS[library]("lenet5", which, *train_steps.batch_of("lenet5", 4, 224), threads=1)


def test_ours_trains_and_infers():
    assert train_steps.batch_of("lenet5", 4, 224)[0].shape == (4, 1, 32, 32)
    train, infer = (steps("minicnn", which) for which in ("train", "infer"))
    losses = [train.call() for _ in range(3)]
    assert losses[2] < losses[0] and infer.call().shape == (4, 10)
    assert train.parameters == infer.parameters == models.counts("lenet5").params


def test_inference_of_ours_is_fused(monkeypatch):
    monkeypatch.setattr("minicnn.fuse", lambda model: lambda x: type(x)(np.full((4, 10), 7, np.float32)))
    assert (steps("minicnn", "infer").call() == 7).all()


def test_pytorchs_steps_train_and_infer_too():
    torch = pytest.importorskip("torch")
    threads = torch.get_num_threads()
    train, infer = (steps("torch", which) for which in ("train", "infer"))
    losses = [train.call() for _ in range(3)]
    torch.set_num_threads(threads)
    assert losses[2] < losses[0] and infer.call().shape == (4, 10)


@pytest.mark.parametrize("name", ["lenet5", "mobilenet_v1_1.0_224"])
def test_a_peer_by_hand_is_the_same_network(name):
    """As many parameters, in the same shapes."""
    pytest.importorskip("torch")
    theirs = sorted(tuple(parameter.shape) for parameter in train_steps.torch_network(name).parameters())
    assert theirs == sorted(tuple(parameter.shape) for parameter in models.create(name).parameters())


if all(importlib.util.find_spec(name) for name in ("torch", "onnx", "onnxruntime", "onnxscript")):

    @pytest.mark.slow
    def test_onnx_runtime_answers_as_pytorch(monkeypatch):
        """The exported network is the one that PyTorch has, weights included."""
        import torch

        monkeypatch.setattr(train_steps, "ProcessPoolExecutor", InThisProcess)
        network = train_steps.torch_network("lenet5").eval()
        monkeypatch.setattr(train_steps, "torch_network", lambda name: network)
        step = steps("onnxruntime", "infer")
        with torch.no_grad():
            expected = network(torch.from_numpy(train_steps.batch_of("lenet5", 4, 224)[0])).numpy()
        assert step.parameters == 61706
        assert np.abs(step.call() - expected).max() <= 1e-5 * np.abs(expected).max()


class InThisProcess:
    """A pool that runs what it is given at once."""

    def __init__(self, workers, mp_context):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def submit(self, function, *arguments):
        return argparse.Namespace(result=partial(function, *arguments))


def test_an_answer_is_the_median_of_what_follows_the_first_step(monkeypatch):
    clock, lasting = [0.0], iter([0.16, 0.01, 0.02, 0.01, 0.3, 3.0, 1.0])
    monkeypatch.setattr(train_worker.time, "perf_counter", lambda: clock[0])

    def step():
        clock[0] += next(lasting)
        return 1.0

    assert train_worker.answer(step)["seconds"] == pytest.approx(0.015), "of 0.01, 0.01, 0.02, 0.3"
    assert train_worker.answer(step)["seconds"] == pytest.approx(1.0), "a long step once"


def test_an_answer_that_is_not_finite_says_so(monkeypatch):
    monkeypatch.setattr(train_worker, "SAMPLE_SECONDS", 1e-9)
    calls = (lambda: math.nan, lambda: np.ones(3), lambda: np.array([1, math.inf]))
    assert [train_worker.answer(call)["finite"] for call in calls] == [False, True, False]


def resident(size):
    """Hold so many bytes for a moment; fresh ones, where an array may get what others left to the process."""
    with mmap.mmap(-1, size) as memory:
        np.frombuffer(memory, np.uint8)[:] = 1  # its view is gone before the memory is


@pytest.mark.skipif(not Path("/proc/self/clear_refs").is_file(), reason="Linux counts resident memory")
def test_the_peak_is_what_was_resident_since_it_was_forgotten():
    resident(64_000_000)
    before = train_worker.baseline()
    assert train_worker.memory(before)["peak"] < 8_000_000
    resident(16_000_000)
    found = train_worker.memory(before)
    assert 14_000_000 < found["peak"] < 40_000_000 and found["total"] == found["peak"] + before


@pytest.mark.parametrize("which", ["infer", "train"])
def test_a_worker_answers_on_its_pipe(monkeypatch, capsys, which):
    """The whole conversation, in this process: what is asked on one line is answered on one line."""
    monkeypatch.setattr(train_worker, "SAMPLE_SECONDS", 1e-9)
    monkeypatch.setattr(train_worker, "settle", lambda: None)
    monkeypatch.setattr(sys, "argv", ["train_worker.py", "minicnn", "lenet5", which, "4", "32", "1"])
    monkeypatch.setattr(sys, "stdin", io.StringIO("step\nmemory\n"))
    train_worker.main()
    ready, step, memory = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert ready["parameters"] == 61706 and ready["finite"] and isinstance(ready["compiled"], bool)
    assert step["finite"] and step["seconds"] > 0 and set(memory) == {"peak", "total"}
    assert numba.get_num_threads() == 1


def test_a_worker_without_its_library_says_which(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.setattr(sys, "argv", ["train_worker.py", "onnxruntime", "lenet5", "infer", "4", "32", "1"])
    train_worker.main()
    assert "onnxruntime" in json.loads(capsys.readouterr().out)["trouble"]


def test_a_kernel_that_is_compiled_is_noticed():
    chosen = argparse.Namespace(library="minicnn", network="lenet5", threads=1)
    with train_worker.ready(chosen) as compiled:
        assert not compiled
        numba.njit(lambda x: x + 1)(1)
        assert compiled


@pytest.mark.slow
def test_processes_answer():
    pytest.importorskip("torch")
    row = measured(["minicnn", "torch"])
    assert row["state"] == "right" and row["minicnn"]["train"]["seconds"] > 0 and row["torch"]["infer"]["seconds"] > 0
    assert row["parameters"] == 61706
