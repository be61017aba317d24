"""The command line with the emulated GPU, and with none."""

import importlib.metadata
import json
import re
import sys

import numpy as np
import pytest
from PIL import Image

from minicnn.data import ArrayDataset
from minicnn.train.recipe import build_data
from tests.emulator import emulated_gpu


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.setattr("minicnn.devices.WHEELS", ("cupy-cuda13x",))
    with emulated_gpu() as cupy:
        yield cupy


@pytest.fixture
def no_cupy(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    monkeypatch.setattr("minicnn.devices.WHEELS", ())


def test_env_shows_the_gpu(minicnn, gpu):
    told = json.loads(minicnn("env", "--json").out)
    assert (told["device"], told["gpu"], told["gpu_facts"]["name"]) == ("gpu", "ready", "emulated GPU")
    assert told["gpu_facts"]["memory"]["total"] == 80 << 30
    text = minicnn("env").out
    assert "GPU emulated GPU, compute capability 9.0, 4 multiprocessors; driver for CUDA 13.0" in text
    assert re.search(r"GPU memory: 80\.0 GiB, of which .* free; this process uses .* and holds ", text)


def test_env_without_a_gpu_says_how_to_get_one(minicnn, no_cupy):
    told = json.loads(minicnn("env", "--json").out)
    assert (told["device"], told["gpu_facts"]) == ("cpu", None)
    assert told["gpu"].endswith("fix: pip install 'minicnn[cuda13]' (or 'minicnn[cuda12]')")
    assert "device cpu: the GPU needs CuPy, which is not installed" in minicnn("env").out


@pytest.mark.parametrize("command", [("train",), ("predict", "RUN", "image.png")])
@pytest.mark.parametrize("device", ["gpu", "cuda", "cuda:0"])
def test_a_gpu_asked_for_in_vain_ends_with_2_and_the_line_to_install_it(
    minicnn, no_cupy, run_folder, tmp_path, command, device
):
    arguments = [run_folder if argument == "RUN" else argument for argument in command]
    done = minicnn(*arguments, "--device", device)
    assert (done.code, done.out) == (2, "")
    assert f"device '{device}': the GPU needs CuPy" in done.err
    assert "fix: pip install 'minicnn[cuda13]' (or 'minicnn[cuda12]'); or go without: --device cpu" in done.err
    assert not list(tmp_path.iterdir())


def test_two_cupy_packages_are_told(minicnn, gpu, monkeypatch):
    monkeypatch.setattr("minicnn.devices.WHEELS", ("cupy-cuda12x", "cupy-cuda13x"))
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "14.2.0")
    done = minicnn("train", "--device", "gpu")
    assert done.code == 2
    assert "fix: pip uninstall -y cupy-cuda12x cupy-cuda13x, then pip install 'minicnn[cuda13]'" in done.err


def test_predicting_gives_the_same_answers_on_both_devices(minicnn, gpu, run_folder, tmp_path):
    Image.fromarray(np.eye(32, dtype=np.uint8) * 255).save(tmp_path / "digit.png")
    here, there = (
        json.loads(minicnn("predict", run_folder, "digit.png", "--device", device, "--json").out)[0]["classes"]
        for device in ("cpu", "gpu")
    )
    assert [c["class"] for c in here] == [c["class"] for c in there]
    assert [c["probability"] for c in here] == pytest.approx([c["probability"] for c in there], rel=1e-4)


def test_training_runs_on_the_gpu(minicnn, gpu, tmp_path, monkeypatch):
    monkeypatch.setattr("minicnn.train.loop.build_data", _a_few)
    done = minicnn("train", "--device", "gpu", "--epochs", "1", "--batch-size", "4", "--out", "run")
    assert done.code == 0, done.err
    assert "device  gpu (as asked)" in done.err
    assert re.search(r"epoch 1/1  loss \d", done.err)


def _a_few(args):
    """The digits, cut down to what an emulator trains on in a second."""
    return {part: _first(dataset, 8) for part, dataset in build_data(args).items()}


def _first(whole, count):
    raw = whole.denormalise(whole.images[:count])
    return ArrayDataset(raw, whole.labels[:count], whole.classes, whole.name, whole.mean.ravel(), whole.std.ravel())
