"""``minicnn train``: what it prints, what it leaves behind, and how it says no."""

import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
import tomllib

import numpy as np
import pytest
from PIL import Image

from minicnn import data
from minicnn.data import registry
from minicnn.errors import CheckpointError
from minicnn.files import write_atomically
from minicnn.train import load_checkpoint
from minicnn.train.checkpoint import load_newest


@pytest.fixture
def quick(monkeypatch):
    """No pictures, and of the shapes a few."""
    monkeypatch.setattr("minicnn.train.run.draw_curves", lambda *args: None)
    monkeypatch.setattr("minicnn.train.run.draw_confusion", lambda *args: None)
    monkeypatch.setitem(registry._DATASETS, "shapes", _few_shapes)


def _few_shapes(split="train", size=32):
    return data.shapes(count=40, size=size, split=split)


QUICK = ("--epochs", 1, "--batch-size", 256, "--no-augment", "--workers", 0)
LAST_LINE = re.compile(r"test accuracy \d+\.\d\d % \(\d+ of 360\)")


def test_a_run_leaves_its_folder_and_a_last_line(minicnn, tmp_path, request):
    done = minicnn("train", *QUICK)
    folder = tmp_path / "runs" / "lenet5-digits-1"
    assert done.code == 0
    assert LAST_LINE.fullmatch(done.out.splitlines()[-1])
    assert re.search(r"device  cpu \(.+\)", done.err) and "lenet5, 61,706 parameters" in done.err
    assert len(re.findall(r"^epoch .* images/s  left \d+:\d\d$", done.err, re.MULTILINE)) == 1
    assert sorted(path.name for path in folder.iterdir()) == [
        *("args.toml", "best.safetensors", "confusion.png", "curves.png", "facts.json", "last.safetensors"),
        *("metrics.csv", "report.html", "steps.csv"),
    ]
    facts = tomllib.loads((folder / "args.toml").read_text(encoding="utf-8"))
    assert facts["args"]["epochs"] == 1 and facts["facts"]["device"] == "cpu"
    assert (folder / "metrics.csv").read_text(encoding="utf-8").splitlines()[1].startswith("1,")
    for name in ("curves.png", "confusion.png"):
        with Image.open(folder / name) as picture:
            assert min(picture.size) > 400
            assert len(np.unique(np.asarray(picture.convert("L")))) > 20  # something is drawn
    request.getfixturevalue("quick")
    assert minicnn("train", *QUICK, "--quiet", "--json").err == ""
    assert (tmp_path / "runs" / "lenet5-digits-2").is_dir()


def test_json_holds_the_result(minicnn, quick):
    done = minicnn("train", *QUICK, "--json", "--out", "run")
    result = json.loads(done.out)
    assert result["run"] == "run" and result["test_count"] == 360
    assert result["test_accuracy"] == result["test_correct"] / 360
    assert result["epochs"][0]["epoch"] == 1


def test_another_model_and_dataset(minicnn, quick):
    done = minicnn("train", "--model", "resnet20", "--data", "shapes", "--size", 16, *QUICK, "--out", "residual")
    assert done.code == 0 and "images 3x16x16" in done.err and done.out.endswith(" of 40)\n")
    done = minicnn("train", "--data", "shapes", *QUICK, "--out", "shapes")
    assert done.code == 0 and "images 3x32x32" in done.err
    shown = json.loads(minicnn("predict", "shapes", *_a_picture(), "--json").out)
    assert shown[0]["classes"][0]["class"] in data.shapes().classes


def _a_picture():
    Image.new("RGB", (50, 40), "orange").save("orange.png")
    return ["orange.png"]


WRONG = [
    (("--model", "lenet6"), "no model is called 'lenet6'; nearest: lenet5"),
    (
        ("--data", "nosuch"),
        "there is no dataset and no folder 'nosuch'; available: cifar10, cifar100, digit_addition, digits",
    ),
    (("--data", "digit"), "did you mean 'digits'?"),
    (("--lr", "-1"), "lr=-1.0 is no learning rate, expected a positive number"),
    (("--lr", "nan"), "lr=nan is no learning rate"),
    (("--lr", "x"), "Invalid value for '--lr'"),
    (("--epochs", "0"), "epochs=0 is too small, expected at least 1"),
    (("--batch-size", "0"), "batch_size=0 is too small"),
    (("--momentum", "1"), "momentum=1.0, expected at least 0 and less than 1"),
    (("--weight-decay", "-1"), "weight_decay=-1.0"),
    (("--optimizer", "sdg"), "'sdg' is not one of"),
    (("--size", "48"), "lenet5 was made for images of 1x32x32 and cannot take 1x48x48"),
    (("--size", "1"), "cannot take 1x1x1"),
    (
        ("--checkpoint-every", "1m"),
        "checkpoint_every='1m', expected a number of steps such as 100, of seconds such as 60s",
    ),
    (("--device", "gpu"), "or go without: --device cpu"),
    (("--device", "gpuu"), "device 'gpuu' is unknown"),
    (("--out", "full"), "--out full is not empty; fix: another folder"),
    (("--out", "file"), "--out file is a file"),
    (("--out", os.devnull), f"--out {os.devnull} is a file"),
    (("--data", "a\udcff"), "data='a\\udcff' is not UTF-8, as all of args.toml must be; fix: rename the file"),
    (("--out", "file/sub"), "cannot be written"),
    (("--resume", "missing"), "does not exist"),
    (("--resume", "full"), "full is not a run folder: it has no args.toml"),
    (("--resume", "full", "--lr", "1"), "leave out --lr"),
    (("--epoch", "3"), "No such option"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG, ids=lambda value: None)
def test_wrong_use_ends_with_2_and_a_line_and_leaves_nothing(minicnn, tmp_path, arguments, message):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("x", encoding="utf-8")
    (tmp_path / "file").touch()
    before = sorted(tmp_path.rglob("*"))
    done = minicnn("train", *arguments)
    assert done.code == 2 and done.out == ""
    assert message in done.err and "Traceback" not in done.err
    assert sorted(tmp_path.rglob("*")) == before


def test_a_recipe_says_whose_it_is_and_what_it_leaves_open(minicnn, quick, tmp_path):
    words = ("--model", "resnet20_cifar10", "--data", "shapes", "--size", 8, "--recipe", "paper", *QUICK)
    done = minicnn("train", *words, "--out", "run")
    assert done.code == 0 and done.err.startswith("recipe  facebook/fb.resnet.torch: opts.lua")
    origin = tomllib.loads((tmp_path / "run" / "args.toml").read_text(encoding="utf-8"))["from"]
    assert (origin["lr"], origin["epochs"], origin["seed"]) == ("paper, resnet_cifar.toml", "flag", "default")
    assert minicnn("train", "--resume", "run", "--recipe", "paper").err.endswith("leave out --recipe\n")


def test_an_empty_folder_of_the_user_stays(minicnn, tmp_path):
    (tmp_path / "mine").mkdir()
    assert minicnn("train", "--size", 48, "--out", "mine").code == 2
    assert (tmp_path / "mine").is_dir()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[args]\nepoch = 3", "args.toml: train: unknown option 'epoch'; did you mean 'epochs'?"),
        ('[args]\nepochs = "3"', "epochs='3' is a str, expected int"),
        ("[args]\nepochs = true", "epochs=True is a bool, expected int"),
        ("[args", "args.toml: is not TOML"),
        ("epochs = 3", "args.toml: has no table [args]"),
        ('[args]\nschedule = "cosin"', "did you mean 'cosine'?"),
    ],
)
def test_an_args_file_that_was_edited_wrongly(minicnn, tmp_path, text, message):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "args.toml").write_text(text, encoding="utf-8")
    done = minicnn("train", "--resume", "run")
    assert done.code == 2 and message in done.err


def test_a_run_without_a_checkpoint_or_with_a_damaged_one_ends_with_1(minicnn, quick, tmp_path):
    minicnn("train", *QUICK, "--out", "run")
    last = tmp_path / "run" / "last.safetensors"
    last.write_bytes(last.read_bytes()[:1000])
    done = minicnn("train", "--resume", "run")
    assert done.code == 1 and "last.safetensors: damaged" in done.err
    last.unlink()
    done = minicnn("train", "--resume", "run")
    assert done.code == 1 and "there is no such file" in done.err


def test_a_diverging_run_ends_with_1(minicnn):
    done = minicnn("train", *QUICK, "--lr", "1e20", "--warmup-epochs", 0)
    assert done.code == 1 and done.out == ""
    assert re.search(r"minicnn: train: the loss is (nan|inf) at step \d \(epoch 1\)", done.err.splitlines()[-1])


def test_ctrl_c_saves_and_the_printed_command_goes_on(minicnn, quick, monkeypatch):
    from minicnn.train import Trainer

    step, pressed = Trainer._train_step, []

    def press_once(trainer, images, labels):
        if trainer.step == 2 and not pressed:
            pressed.append(signal.raise_signal(signal.SIGINT))
        return step(trainer, images, labels)

    monkeypatch.setattr(Trainer, "_train_step", press_once)
    done = minicnn("train", *QUICK, "--out", "my run")
    assert done.code == 130 and done.out == ""
    assert "stopped after 0 of 1 epochs and 3 of 5 steps" in done.err
    assert done.err.splitlines()[-1] == 'go on with: minicnn train --resume "my run"'
    again = minicnn("train", "--resume", "my run")
    assert again.code == 0 and LAST_LINE.fullmatch(again.out.splitlines()[-1])
    assert "resumed after epoch 0, 3 steps into the next" in again.err


def test_a_full_disk_says_how_to_go_on(minicnn, quick, monkeypatch):
    calls = iter(range(10))

    def full_at_the_fourth_file(path, pieces, keep):
        if next(calls) == 3:  # best and last, twice
            raise OSError(errno.ENOSPC, "No space left on device")
        write_atomically(path, pieces, keep)

    with monkeypatch.context() as patch:
        patch.setattr("minicnn.train.checkpoint.write_atomically", full_at_the_fourth_file)
        done = minicnn("train", *QUICK, "--epochs", 2, "--out", "run")
    assert done.code == 1 and done.out == ""
    assert re.search(r"minicnn: checkpoint run.last.safetensors: cannot be written \(No space left", done.err)
    assert done.err.splitlines()[-1] == "then go on with: minicnn train --resume run"
    assert minicnn("train", "--resume", "run").code == 0


def test_too_little_memory_is_explained(minicnn, monkeypatch):
    def enormous(args):
        raise MemoryError("Unable to allocate 36.1 GiB")

    monkeypatch.setattr("minicnn.train.loop.build_data", enormous)
    done = minicnn("train")
    expected = "minicnn: not enough memory (Unable to allocate 36.1 GiB); fix: a smaller --size or --batch-size\n"
    assert (done.code, done.out, done.err) == (1, "", expected)


def start(*arguments, **options):
    command = [sys.executable, "-m", "minicnn", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8", **options)


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signal")
def test_ctrl_c_of_a_real_process(tmp_path):
    process = start("train", "--out", tmp_path / "run", "--epochs", 500)
    for line in process.stderr:
        if line.startswith("epoch"):
            break
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and out == ""
    assert "go on with: minicnn train --resume" in err
    assert load_checkpoint(tmp_path / "run" / "last.safetensors").state["epoch"] >= 1


SAVES = """
import sys, numpy as np
from pathlib import Path
from minicnn.train.checkpoint import save_checkpoint
arrays = {f"model/{k}": np.full((256, 1024), 0.0, np.float32) for k in range(4)}
for epoch in range(10**6):
    for array in arrays.values():
        array[...] = epoch
    save_checkpoint(Path(sys.argv[1]), arrays, {"epoch": epoch})
    print(epoch, flush=True)
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signal")
def test_kill_9_while_saving_never_loses_the_last_checkpoint(tmp_path):
    path = tmp_path / "last.safetensors"
    rng = np.random.default_rng(0)
    for _ in range(20):
        command = [sys.executable, "-c", SAVES, str(path)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, encoding="utf-8")
        process.stdout.readline()
        time.sleep(0.05 * rng.random())
        process.kill()
        told = [0, *map(int, process.communicate()[0].split())][-1]
        try:
            found, _ = load_newest(path)
        except CheckpointError as error:  # pragma: no cover
            pytest.fail(f"lost: {error}")
        assert told <= found.state["epoch"] <= told + 1
        assert all((array == found.state["epoch"]).all() for array in found.arrays.values())


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_the_default_run_reaches_98_5_percent(tmp_path, seed):
    done = start("train", "--seed", seed, "--out", tmp_path / "run", "--json")
    out, err = done.communicate(timeout=600)
    assert done.returncode == 0, err
    assert json.loads(out)["test_accuracy"] >= 0.985
