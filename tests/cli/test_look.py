"""``minicnn look``: every command once, on small things."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from minicnn.cli.look import command


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "picture.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 50, 3), np.uint8)).save(path)
    return path


def test_every_command_of_the_group_has_help_and_json(minicnn):
    for name in command.commands:
        done = minicnn("look", name, "--help")
        assert done.code == 0 and "--json" in done.out, name


def test_inside(minicnn, picture, tmp_path):
    done = minicnn("look", "inside", "stn_mnist_tutorial", picture, "--out", "seen", "--json")
    assert done.code == 0 and "random weights" in done.err
    files = json.loads(done.out)["files"]
    assert {"seen/filters.png", "seen/where.png", "seen/transformer.png", "seen/index.html"} <= set(files)
    page = (tmp_path / "seen/index.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == len(files) - 1 and "http:" not in page and "https:" not in page
    assert not re.search(r'(src|href)="(?!data:)', page)
    for file in files[:-1]:
        with Image.open(tmp_path / file) as made:
            assert made.width > 200


@pytest.mark.slow
def test_inside_a_run(minicnn, run_folder, picture):
    done = minicnn("look", "inside", run_folder, picture)
    assert done.code == 0 and "index.html" in done.out and not done.err
    assert "expected one of 0 to 9" in minicnn("look", "inside", run_folder, picture, "--class", "10").err
    done = minicnn("look", "blocks", run_folder)
    assert done.code == 2 and "has no residual blocks" in done.err


def test_field(minicnn):
    told = json.loads(minicnn("look", "field", "lenet5", "--layer", "conv1", "--draws", "2", "--json").out)
    assert told["box"] == [14, 19, 14, 19] and told["files"] == ["look/field.png"]
    assert "nearest" in minicnn("look", "field", "lenet5", "--layer", "conv11").err


def test_kernels(minicnn, picture):
    told = json.loads(minicnn("look", "kernels", picture, "--size", "32", "--json").out)
    assert told["ranks"]["sobel x"] == 1 and told["ranks"]["laplacian"] == 2


def test_matrix(minicnn, tmp_path):
    told = json.loads(minicnn("look", "matrix", "--size", "3", "--json").out)
    assert told["line"] == {"full": 9, "local": 7, "shared": 3}
    assert told["image"] == {"full": 81, "local": 49, "shared": 9}
    assert all((tmp_path / file).read_bytes().startswith(b"\x89PNG") for file in told["files"])
    assert "more padding" in minicnn("look", "matrix", "--size", "3", "--kernel", "5", "--padding", "0").err


def test_shifts(minicnn, picture):
    told = json.loads(minicnn("look", "shifts", "lenet5", picture, "--most", "4", "--json").out)
    assert told["shifts"] == [1, 2, 3, 4] and len(told["answer"]) == len(told["classes"]) == 4
    first = next(iter(told["stages"].values()))
    assert len(first) == 4 and set(first[0]) == {"anywhere", "inside"} and told["files"] == ["look/shifts.png"]


def test_gradients(minicnn):
    told = json.loads(minicnn("look", "gradients", "lenet5", "--images", "4", "--json").out)
    assert len(told["norms"]) == 5 and told["estimates"] == {} and told["files"] == ["look/norms.png"]


@pytest.mark.slow
def test_tables_for_people(minicnn):
    done = minicnn("look", "gradients", "resnet20_cifar10", "--images", "2")
    assert "layer3.2.conv2.weight" in done.out and done.out.split()[-2:] == ["look/norms.png", "look/estimates.png"]
    strided = minicnn("look", "matrix", "--size", "6", "--kernel", "2", "--stride", "2", "--padding", "0")
    assert strided.out.split()[-2:] == ["look/line.png", "look/image.png"] and " 18 " in strided.out


@pytest.mark.slow
def test_blocks(minicnn, tmp_path):
    options = ("--size", "16", "--epochs", "1", "--no-augment", "--out", "run", "--quiet")
    assert minicnn("train", "--model", "resnet20_cifar10", *options).code == 0
    done = minicnn("look", "blocks", "run", "--draws", "1", "--most", "2", "--images", "50", "--json")
    told = json.loads(done.out)
    assert list(told["without"]) == [f"layer{i}.{j}" for i in (1, 2, 3) for j in (0, 1, 2)] and told["images"] == 50
    assert told["deleted"]["1"] == list(told["without"].values()) and len(told["deleted"]["2"]) == 1
    assert [each["swaps"] for each in told["swaps"]] == [1, 2] and len(told["gradient_by_length"]) == 10
    assert all((tmp_path / file).is_file() for file in told["files"]) and len(told["files"]) == 3
    assert minicnn("look", "gradients", "run", "--images", "8").code == 0


@pytest.mark.slow
def test_charts(minicnn):
    assert minicnn("look", "charts").out.split() == ["look/balls.png", "look/scaling.png", "look/depth.png"]


def test_what_is_refused(minicnn, tmp_path):
    assert minicnn("look", "blocks", tmp_path / "none").code == 2
    assert minicnn("look", "inside", "lenet55", "x.png").code == 2


def test_graph(minicnn, tmp_path):
    assert minicnn("look", "graph", "lenet5").out.split() == ["look/lenet5.html", "look/lenet5.dot"]
    assert "conv1" in (tmp_path / "look/lenet5.dot").read_text(encoding="utf-8")


@pytest.mark.slow
def test_graph_for_tensorboard(minicnn, tmp_path):
    files = json.loads(minicnn("look", "graph", "lenet5", "--tensorboard", "events", "--json").out)["files"]
    assert files[2].startswith("events/events.out.tfevents.") and (tmp_path / files[2]).stat().st_size > 1000


def test_memory(minicnn):
    done = minicnn("memory", "lenet5", "--limit", "100 MiB", "--batch", "16")
    assert done.code == 0 and "It fits in 100.0 MiB; the largest batch that fits: " in done.out
    assert minicnn("memory", "lenet5", "--limit", "1MB", "--json").code == 1
    assert "is not an amount of memory" in minicnn("memory", "lenet5", "--limit", "much").err
