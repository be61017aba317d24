"""The training loop: a run that stops and goes on ends as one that did not, and a bad end loses nothing."""

import csv
import dataclasses
import errno
import os
import shutil
import signal
import time

import numpy as np
import pytest

from minicnn.errors import ArgumentError, CheckpointError, NonFiniteLossError
from minicnn.train import Interrupted, RunFolder, TrainArgs, Trainer, load_checkpoint, new_run, resumed_run, train
from minicnn.train.checkpoint import previous_of
from minicnn.train.recipe import build_model, build_schedule


def state_of(trainer):
    """Everything a run's last checkpoint holds, but for the clock."""
    arrays, state = load_checkpoint(trainer.run.last)
    for row in state["rows"]:
        del row["seconds"], row["images_per_s"], row["waited"]
    del state["part"]["seconds"], state["part"]["waited"]
    return arrays, state


def assert_same(found, expected):
    assert found[1] == expected[1]
    assert found[0].keys() == expected[0].keys()
    for name, array in expected[0].items():
        assert np.array_equal(found[0][name], array), f"{name} differs"


def interrupted(trainer, monkeypatch, at):
    """Run until Ctrl-C in the middle of step ``at`` (from 1)."""
    step, count = trainer._train_step, iter(range(1, 1000))

    def pressed(images, labels):
        if next(count) == at:
            signal.raise_signal(signal.SIGINT)
        return step(images, labels)

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "_train_step", pressed)
        with pytest.raises(Interrupted):
            trainer.fit()


@pytest.fixture
def copied(small, finished, tmp_path):
    """A finished run to play with, and the last line of its result."""
    run = RunFolder(shutil.copytree(finished[0].run.folder, tmp_path / "copy"))
    return run, finished[1].line


def test_options_of_another_kind_are_refused():
    with pytest.raises(ArgumentError, match=r"train: args is a str, expected TrainArgs\(model="):
        train("lenet5")


def test_what_a_run_waits_for_its_images_is_part_of_its_seconds(small, tmp_path, monkeypatch):
    trainer = new_run(dataclasses.replace(small, epochs=1, workers=0), tmp_path / "run", quiet=True)
    load = trainer.loader.load
    monkeypatch.setattr(trainer.loader, "load", lambda *which: time.sleep(0.02) or load(*which))
    (row,) = trainer.fit().rows
    assert 0.1 <= row["waited"] < row["seconds"]  # five batches
    assert float(trainer.run.read_metrics()[0]["waited"]) == pytest.approx(row["waited"], rel=1e-5)


@pytest.mark.parametrize("at", [1, 3, 5, 7, 10], ids=lambda at: f"step{at}")
def test_a_resumed_run_ends_with_the_same_bits(small, finished, tmp_path, monkeypatch, at):
    whole, result = finished
    first = new_run(small, tmp_path / "parts", quiet=True)
    interrupted(first, monkeypatch, at)
    assert (first.epoch, first.part.position) == ((0, at) if at <= 5 else (1, at - 5))
    second, note = resumed_run(tmp_path / "parts", quiet=True)
    assert not note and second.step == at
    resumed = second.fit()
    assert_same(state_of(second), state_of(whole))
    assert resumed.test.loss == result.test.loss and resumed.line == result.line
    best = load_checkpoint(whole.run.best).arrays
    assert all(np.array_equal(best[k], a) for k, a in load_checkpoint(second.run.best).arrays.items())


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "rmsprop"])
def test_every_optimizer_learns_and_resumes(small, tmp_path, monkeypatch, optimizer):
    args = dataclasses.replace(small, optimizer=optimizer, lr=0.01, ema=0.0)
    whole = new_run(args, tmp_path / "whole", quiet=True)
    rows = whole.fit().rows
    assert rows[1]["train_loss"] < rows[0]["train_loss"]
    interrupted(new_run(args, tmp_path / "parts", quiet=True), monkeypatch, 7)
    resumed, _ = resumed_run(tmp_path / "parts", quiet=True)
    resumed.fit()
    assert_same(state_of(resumed), state_of(whole))


def test_the_same_seed_gives_the_same_bits_and_another_does_not(small, finished, tmp_path):
    again = new_run(dataclasses.replace(small, workers=2), tmp_path / "again", quiet=True)
    again.fit()
    arrays, _ = state_of(again)
    expected, _ = state_of(finished[0])
    assert all(np.array_equal(arrays[name], array) for name, array in expected.items())
    other = Trainer(dataclasses.replace(small, seed=1), again.run, quiet=True)
    assert not np.array_equal(other.model.state_dict()["0.weight"], again.model.state_dict()["0.weight"])


def test_best_holds_the_averaged_weights_and_their_score(finished):
    trainer, result = finished
    best, last = load_checkpoint(trainer.run.best), load_checkpoint(trainer.run.last)
    assert best.state["epoch"] == 1 + max(
        range(2), key=lambda e: (result.rows[e]["val_accuracy"], -result.rows[e]["val_loss"])
    )
    assert np.array_equal(best.arrays["model/5.weight"], last.arrays["average/5.weight"]) == (best.state["epoch"] == 2)
    assert not np.array_equal(best.arrays["model/5.weight"], last.arrays["model/5.weight"])


def test_a_finished_run_is_evaluated_again_without_a_step(copied):
    run, line = copied
    before = run.last.read_bytes()
    again, _ = resumed_run(run.folder, quiet=True)
    assert again.fit().line == line
    assert run.last.read_bytes() == before


def test_more_epochs_go_on_from_the_end_and_are_written_down(copied):
    run, _ = copied
    longer, _ = resumed_run(run.folder, quiet=True, epochs=3)
    assert [row["epoch"] for row in longer.fit().rows] == [1, 2, 3]
    assert TrainArgs.read(run.args).epochs == 3
    with run.metrics.open(encoding="utf-8", newline="") as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2", "3"]


def test_a_second_ctrl_c_stops_at_once(small, tmp_path, monkeypatch):
    trainer = new_run(small, tmp_path / "run", quiet=True)

    def twice(images, labels):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(trainer, "_train_step", twice)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        trainer.fit()
    assert signal.getsignal(signal.SIGINT) is before
    assert not trainer.run.last.exists()


def test_a_loss_that_is_no_number_stops_within_the_step_and_keeps_the_checkpoints(small, tmp_path, monkeypatch):
    trainer = new_run(small, tmp_path / "run", quiet=True)
    step = trainer._train_step

    def poisoned(images, labels):
        if trainer.step == 7:
            images = np.full_like(images, np.nan)
        return step(images, labels)

    monkeypatch.setattr(trainer, "_train_step", poisoned)
    with pytest.raises(NonFiniteLossError, match=r"loss is nan at step 8 \(epoch 2\).*are from before it.*fix: a smal"):
        trainer.fit()
    for path in (trainer.run.best, trainer.run.last):
        found = load_checkpoint(path)
        assert found.state["epoch"] == 1
        assert all(np.isfinite(array).all() for array in found.arrays.values())


def test_weights_that_are_no_numbers_are_never_saved(copied):
    trainer, _ = resumed_run(copied[0].folder, quiet=True)
    before = trainer.run.last.read_bytes()
    next(iter(trainer.model.parameters())).data[0] = np.inf
    with pytest.raises(NonFiniteLossError, match=r"model/0.weight has values that are NaN or infinite"):
        trainer.save(trainer.run.last)
    assert trainer.run.last.read_bytes() == before


def test_a_diverging_rate_is_named(small, tmp_path):
    with pytest.raises(NonFiniteLossError, match=r"fix: a smaller --lr \(now 1e\+30\)"):
        train(dataclasses.replace(small, lr=1e30), tmp_path / "run", quiet=True)


def test_a_damaged_last_falls_back_and_is_put_aside(copied):
    run, line = copied
    run.last.write_bytes(run.last.read_bytes()[:-100])
    again, note = resumed_run(run.folder, quiet=True)
    assert "damaged" in note and "going on from last.previous" in note
    assert again.epoch == 1 and (run.folder / "last.damaged.safetensors").is_file() and not run.last.exists()
    assert again.fit().line == line
    assert load_checkpoint(run.last).state["epoch"] == 2
    assert load_checkpoint(previous_of(run.last)).state["epoch"] == 1


def test_a_checkpoint_of_another_run_is_explained(small, copied):
    run, _ = copied
    for change, message in (
        ({"model": "resnet20"}, r"trained with model='lenet5', but args.toml says 'resnet20'; fix: put 'lenet5' back"),
        ({"batch_size": 8}, r"trained with batch_size=256, but args.toml says 8"),
    ):
        dataclasses.replace(small, **change).write(run.args)
        with pytest.raises(CheckpointError, match=message):
            resumed_run(run.folder, quiet=True)
    small.write(run.args)
    run.last.write_bytes(run.best.read_bytes())
    with pytest.raises(CheckpointError, match=r"last.safetensors: holds weights only"):
        resumed_run(run.folder, quiet=True)


@pytest.mark.parametrize("name", ["metrics.csv", "curves.png", "args.toml"])
def test_a_full_disk_says_how_to_go_on(small, tmp_path, monkeypatch, name):
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def no_space(*args, **kwargs):
        raise full

    target = {"metrics.csv": "minicnn.train.run.write_atomically", "args.toml": "minicnn.train.args.write_atomically"}
    with monkeypatch.context() as patch:
        patch.setattr(target.get(name, "minicnn.train.run.draw_curves"), no_space)
        message = rf"{name} cannot be written \(No space left on device\); fix: .*--resume"
        with pytest.raises(CheckpointError, match=message):
            train(small, tmp_path / "run", quiet=True)
    if name != "args.toml":
        assert resumed_run(tmp_path / "run", quiet=True)[0].fit().rows[-1]["epoch"] == 2


def test_a_fixed_size_model_refuses_other_sizes(tmp_path):
    message = r"lenet5 was made for images of 1x32x32 and cannot take 1x48x48 \(fc1: linear: .*another --size"
    with pytest.raises(ArgumentError, match=message):
        new_run(TrainArgs(size=48), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_any_model_takes_the_classes_and_channels_of_the_data():
    from minicnn import data

    for name, source, size in (("lenet5", "shapes", 32), ("resnet20", "digits", 16), ("resnet18", "shapes", 64)):
        dataset = data.load(source, "val", size=size)
        model = build_model(TrainArgs(model=name, data=source, size=size), dataset)
        first = next(iter(model.parameters()))
        assert first.shape[1] == dataset.shape[0]


@pytest.mark.parametrize("schedule", ["cosine", "constant", "step"])
def test_rates(schedule):
    rate = build_schedule(TrainArgs(lr=1.0, epochs=20, warmup_epochs=2, schedule=schedule), steps_per_epoch=10)
    rates = [rate(step) for step in range(200)]
    assert rates[:20] == pytest.approx([(k + 1) / 20 for k in range(20)])
    assert max(rates) == 1 and rates[20] == 1 and min(rates[20:]) >= 0
    assert rates[-1] == pytest.approx({"cosine": 0, "constant": 1, "step": 0.01}[schedule], abs=1e-3)
    short = build_schedule(TrainArgs(lr=1.0, epochs=1, schedule=schedule), steps_per_epoch=10)
    assert short(0) == 0.5 and short(1) == 1
