"""Runs in float16 and bfloat16 with float32 masters: they learn what float32 learns, overflow, and go on."""

import dataclasses
import re

import numpy as np
import pytest

from minicnn.errors import ArgumentError, CheckpointError, NonFiniteLossError
from minicnn.train import TrainArgs, load_checkpoint, new_run, resumed_run
from minicnn.train.precision import LossScale
from tests.train.conftest import few_digits, small_model
from tests.train.run_files import differences, everything

pytestmark = pytest.mark.gpu
LOW = ("float16", "bfloat16")
ARGS = TrainArgs(
    size=8, epochs=2, batch_size=32, warmup_epochs=0, ema=0.9, workers=0, device="gpu", precision="float16", log="csv"
)


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    """Five steps an epoch of a small model with a batch norm; pictures are not drawn."""
    monkeypatch.setattr("minicnn.train.loop.build_model", small_model)
    monkeypatch.setattr("minicnn.train.loop.build_data", lambda args: few_digits())
    monkeypatch.setattr("minicnn.train.run.draw_curves", lambda *args: None)
    monkeypatch.setattr("minicnn.train.run.draw_confusion", lambda *args: None)


@pytest.fixture
def start(tmp_path):
    """Asks for a new run with other options."""

    def begin(name="run", **options):
        return new_run(dataclasses.replace(ARGS, **options), tmp_path / name, quiet=True)

    return begin


def weights(trainer):
    return {name: value for name, value in trainer.model.state_dict().items() if "num_batches" not in name}


def one_step(trainer, factor=1.0):
    """A step on the first images, which may be made ``factor`` times as large."""
    images, labels = trainer.data["train"].batch(np.arange(32))
    trainer._train_step(images * np.float32(factor), labels)
    trainer.part.position += 1


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("precision", LOW)
def test_a_run_follows_float32(start, precision, accumulate):
    expected = start("float32", precision="float32", accumulate=accumulate).fit().rows
    trainer = start(precision=precision, accumulate=accumulate)
    result = trainer.fit()
    assert [row["train_loss"] for row in result.rows] != [row["train_loss"] for row in expected], "it is float32"
    assert expected[1]["train_loss"] < 0.97 * expected[0]["train_loss"]
    for row, reference in zip(result.rows, expected, strict=True):
        assert row["train_loss"] == pytest.approx(reference["train_loss"], rel=0.02)
        assert row["val_loss"] == pytest.approx(reference["val_loss"], rel=0.02)
    for path in (trainer.run.best, trainer.run.last):
        arrays = load_checkpoint(path).arrays
        assert {a.dtype.name for a in arrays.values()} == {"float32", "int64"}
    rounded = [a for name, a in arrays.items() if name.startswith("model/") and name.endswith("weight")]
    assert any(np.any(a != a.astype(np.float16)) for a in rounded), "the masters are rounded"


def forwards(trainer):
    """The dtypes that go into layers and come out of them, as they are seen."""
    seen = []
    for layer in trainer.model.modules():
        layer.register_forward_hook(lambda module, args, out: seen.append((args[0].dtype.name, out.dtype.name)))
    return seen


@pytest.mark.parametrize("precision", LOW)
def test_forward_is_in_low_precision_and_its_loss_and_evaluation_in_float32(start, precision):
    trainer = start(precision=precision)
    seen = forwards(trainer)
    one_step(trainer)
    assert set(seen) == {(precision, precision)}
    assert trainer.unread[0].loss.dtype == np.float32
    seen.clear()
    trainer._evaluate("val")
    assert set(seen) == {("float32", "float32")}


def test_running_statistics_are_kept_in_float32(start):
    trainer = start()
    one_step(trainer)
    norm = trainer.model[1]
    assert norm.running_mean.dtype == norm.running_var.dtype == np.float32
    mean = norm.running_mean.numpy()
    assert np.any(mean != 0) and np.any(mean != mean.astype(np.float16))


def test_an_overflow_halves_the_scale_and_moves_nothing(start):
    trainer = start()
    one_step(trainer)
    trainer.precision.loss_scale = LossScale(2.0**40, 1)
    before, averages, state = weights(trainer), trainer.average.state_dict(), trainer.optimizer.state_dict()
    averages = {name: value.copy() for name, value in averages.items()}
    slots = {name: value.copy() for name, value in state[1].items()}
    one_step(trainer)
    assert trainer.precision.loss_scale == LossScale(2.0**39, 0, 1)
    moved = [n for n, v in weights(trainer).items() if "running" not in n and not np.array_equal(v, before[n])]
    assert not moved
    assert all(np.array_equal(value, averages[name]) for name, value in trainer.average.state_dict().items())
    numbers, arrays = trainer.optimizer.state_dict()
    assert numbers["steps"] == state[0]["steps"] and all(
        np.array_equal(value, slots[name]) for name, value in arrays.items()
    )
    trainer.precision.loss_scale.scale = 2.0**10
    one_step(trainer)
    assert not np.array_equal(weights(trainer)["5.weight"], before["5.weight"])
    assert trainer.precision.loss_scale == LossScale(2.0**10, 1, 1)


def test_skipped_steps_are_counted_and_said(start, capsys):
    trainer = start(epochs=1, log="csv,steps")
    trainer.quiet = False
    trainer.precision.loss_scale = LossScale(2.0**28)
    trainer.fit()
    said = capsys.readouterr().err
    skipped = trainer.precision.loss_scale.skipped
    assert 0 < skipped <= 5
    told = [float(line.split(",")[2]) for line in trainer.run.steps.read_text(encoding="utf-8").splitlines()[1:]]
    # the schedule waits for the weights to move; here the first steps are those that overflow
    rates = [trainer.rate(max(k - skipped, 0)) for k in range(5)]
    assert told == pytest.approx(rates, rel=1e-5) and trainer.rows[-1]["lr"] == trainer.rate(max(4 - skipped, 0))
    assert re.search(rf"float16: {skipped} steps? skipped \({skipped} so far\); the loss scale is", said)
    assert "(as asked), computing in float16" in said


@pytest.mark.parametrize("scale", [2.0**4, 2.0**12])
def test_gradients_are_unscaled_before_they_are_clipped(start, scale):
    """Clipped to a norm they hardly have, or to values: the same step whatever the scale, and float32's."""
    found = {}
    for name, options in {"float32": {"precision": "float32"}, "float16": {}}.items():
        for clip in ("clip_norm", "clip_value"):
            trainer = start(f"{name} {clip}", momentum=0.0, weight_decay=0.0, **{clip: 0.01}, **options)
            if trainer.precision.loss_scale:
                trainer.precision.loss_scale.scale = scale
            before = weights(trainer)
            one_step(trainer)
            after = weights(trainer)
            found[name, clip] = np.concatenate([(after[n] - before[n]).ravel() for n in after if "running" not in n])
    for clip in ("clip_norm", "clip_value"):
        expected = found["float32", clip]
        assert np.linalg.norm(found["float16", clip] - expected) <= 0.1 * np.linalg.norm(expected)
    assert np.linalg.norm(found["float16", "clip_norm"]) == pytest.approx(0.03 * 0.01, rel=1e-3)  # rate times norm
    assert np.abs(found["float16", "clip_value"]).max() <= 0.03 * 0.01 * (1 + 1e-3)


class Died(BaseException):
    """Stands for kill -9."""


@pytest.mark.parametrize("precision", LOW)
def test_a_resumed_run_has_the_same_bits(start, tmp_path, precision):
    """Also the scale: the first begins so high that the steps before the death halve it."""

    def begun(name):
        trainer = start(name, precision=precision, checkpoint_every="2")
        if trainer.precision.loss_scale:
            trainer.precision.loss_scale = LossScale(2.0**24)
        return trainer

    whole = begun("whole")
    whole.fit()
    trainer = begun("run")
    step = trainer._train_step

    def dies(images, labels):
        if trainer.step == 8:
            raise Died
        step(images, labels)

    trainer._train_step = dies
    with pytest.raises(Died):
        trainer.fit()
    resumed, _ = resumed_run(tmp_path / "run", quiet=True)
    assert resumed.step == 7
    if precision == "float16":
        assert resumed.precision.loss_scale.skipped > 0
        saved = load_checkpoint(resumed.run.last).state["loss_scale"]
        assert resumed.precision.loss_scale == LossScale(**saved)
    resumed.fit()
    assert not differences(everything(tmp_path / "run"), everything(tmp_path / "whole"))
    assert resumed.precision.loss_scale == whole.precision.loss_scale


def test_a_loss_that_is_no_number_stops_the_run(start):
    """Of images too large for float16: the step is skipped as an overflow, but no scale would help."""
    trainer = start()
    trainer.read_every = 1
    before = weights(trainer)
    with pytest.raises(NonFiniteLossError, match=r"loss is (nan|inf) at step 1 .*the input of|first at"):
        one_step(trainer, 1e6)
    assert {p.dtype.name for p in trainer.model.parameters()} == {"float32"}
    assert np.array_equal(weights(trainer)["5.weight"], before["5.weight"])


def test_gradients_that_overflow_without_a_scale_stop_the_run(start, monkeypatch):
    trainer = start()
    trainer.precision.loss_scale.scale = 1.0
    monkeypatch.setattr("minicnn.train.loop.loss_of", lambda outputs, target, args: outputs.mean() * 1e20)
    with pytest.raises(NonFiniteLossError, match=r"gradients overflow float16 whatever .* at step 1"):
        one_step(trainer)


def test_only_float16_waits_for_the_gpu(start):
    from tests.emulator import synchronisations
    from tests.gpu.either import EMULATED

    if not EMULATED:
        pytest.skip("only the emulator counts")
    waits = {}
    for precision in ("float32", *LOW):
        trainer = start(precision, precision=precision)
        one_step(trainer)
        synchronisations.clear()
        one_step(trainer)
        waits[precision] = sum(synchronisations.values())
    assert waits == {"float32": 0, "float16": 1, "bfloat16": 0}


def test_a_run_goes_on_in_its_precision_on_a_gpu_only(start, tmp_path):
    start(epochs=1).fit()
    with pytest.raises(ArgumentError, match="precision='float16' on the CPU"):
        resumed_run(tmp_path / "run", quiet=True, device="cpu")
    with pytest.raises(CheckpointError, match="was trained with precision='float16'"):
        resumed_run(tmp_path / "run", quiet=True, precision="bfloat16")
