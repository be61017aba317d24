"""A run that dies anywhere and goes on from its newest checkpoint ends with the bits of one that did not."""

import dataclasses

import pytest

from minicnn.errors import CheckpointError
from minicnn.train import TrainArgs, load_checkpoint, new_run, resumed_run
from minicnn.train.checkpoint import previous_of
from tests.train.run_files import differences, everything


class Died(BaseException):
    """Stands for kill -9: nothing is caught, nothing saved."""


def dies(trainer, monkeypatch, at):
    """Run until the process is gone at the start of its step ``at`` (from 1)."""
    step = trainer._train_step

    def gone(images, labels):
        if trainer.step + 1 == at:
            raise Died
        return step(images, labels)

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "_train_step", gone)
        with pytest.raises(Died):
            trainer.fit()


def killed_and_resumed(args, folder, monkeypatch, deaths):
    """The run of ``args`` with a death at each of these steps; the steps it stood at after each."""
    trainer, stood = new_run(args, folder, quiet=True), []
    for at in deaths:
        dies(trainer, monkeypatch, at)
        trainer, _ = resumed_run(folder, quiet=True)
        stood.append(trainer.step)
    trainer.fit()
    return stood


@pytest.fixture
def every_second(tiny):
    return dataclasses.replace(tiny, checkpoint_every="2")


def test_at_most_the_steps_since_the_last_checkpoint_are_lost(every_second, tmp_path, monkeypatch):
    new_run(every_second, tmp_path / "whole", quiet=True).fit()
    # five steps an epoch: saved after 2, 4, 5 (its end), 7, 9 and 10
    stood = killed_and_resumed(every_second, tmp_path / "run", monkeypatch, (2, 3, 5, 8, 10))
    assert stood == [0, 2, 4, 7, 9]
    assert not differences(everything(tmp_path / "run"), everything(tmp_path / "whole"))


COMBINATIONS = [
    pytest.param(optimizer, workers, marks=[] if fast else [pytest.mark.slow])
    for optimizer, fastest in (("sgd", 3), ("adam", 1), ("rmsprop", 0), ("adamw", -1))
    for workers in (0, 1, 3)
    for fast in (workers == fastest,)
]


@pytest.mark.parametrize(("optimizer", "workers"), COMBINATIONS)
def test_mid_epoch_resume_has_the_same_bits(every_second, tmp_path, monkeypatch, optimizer, workers):
    args = dataclasses.replace(every_second, optimizer=optimizer, workers=workers, lr=0.01, schedule="step")
    new_run(dataclasses.replace(args, workers=0), tmp_path / "whole", quiet=True).fit()
    assert killed_and_resumed(args, tmp_path / "run", monkeypatch, (4, 10)) == [2, 9]
    assert not differences(everything(tmp_path / "run"), everything(tmp_path / "whole"))


def test_the_workers_may_change_on_the_way(every_second, tmp_path, monkeypatch):
    new_run(every_second, tmp_path / "whole", quiet=True).fit()
    dies(new_run(every_second, tmp_path / "run", quiet=True), monkeypatch, 4)
    dies(resumed_run(tmp_path / "run", quiet=True, workers=3)[0], monkeypatch, 8)
    resumed_run(tmp_path / "run", quiet=True, workers=1)[0].fit()
    assert not differences(everything(tmp_path / "run"), everything(tmp_path / "whole"))


def test_seconds_count_from_the_last_save_and_large_saves_are_rarer(monkeypatch):
    from minicnn.train.cadence import Cadence

    now = [0.0]
    monkeypatch.setattr("minicnn.train.cadence.time.monotonic", lambda: now[0])
    cadence = Cadence("60s")
    for moment, due in ((59, False), (61, True)):
        now[0] = moment
        assert cadence.due() is due
    cadence.saved(seconds=10)  # at most a twentieth of the time goes into saving
    for moment, due in ((61 + 199, False), (61 + 200, True)):
        now[0] = moment
        assert cadence.due() is due
    assert [Cadence("3").due() for _ in range(3)] == [False] * 3
    steps = Cadence("3")
    assert [steps.due() for _ in range(3)] == [False, False, True]
    steps.saved(100)
    assert [steps.due() for _ in range(3)] == [False, False, True]
    assert not any(Cadence("0").due() for _ in range(9))


def test_a_death_between_best_and_last_repeats_the_epoch(every_second, tmp_path, monkeypatch):
    """``best`` may be an epoch ahead of ``last``; what follows writes the same one again."""
    new_run(every_second, tmp_path / "whole", quiet=True).fit()
    trainer = new_run(every_second, tmp_path / "run", quiet=True)
    with monkeypatch.context() as patch:
        save = trainer.save

        def gone(path):
            if path == trainer.run.last and trainer.epoch == 1:
                raise Died
            save(path)

        patch.setattr(trainer, "save", gone)
        with pytest.raises(Died):
            trainer.fit()
    assert load_checkpoint(trainer.run.best).state["epoch"] == 1
    again, _ = resumed_run(tmp_path / "run", quiet=True)
    assert again.step == 4
    again.fit()
    assert not differences(everything(tmp_path / "run"), everything(tmp_path / "whole"))


def test_a_death_before_metrics_are_written_leaves_them_whole(every_second, tmp_path, monkeypatch):
    trainer = new_run(every_second, tmp_path / "run", quiet=True)
    with monkeypatch.context() as patch:

        def gone(rows):
            if len(rows) == 2:
                raise Died

        patch.setattr(trainer.run, "write_metrics", gone)
        with pytest.raises(Died):
            trainer.fit()
    assert not trainer.run.metrics.exists()
    resumed_run(tmp_path / "run", quiet=True)[0].fit()  # only tests the best again
    assert trainer.run.metrics.read_text(encoding="utf-8").count("\n") == 3


def test_a_run_that_died_before_its_first_checkpoint_begins_anew(every_second, tmp_path, monkeypatch):
    trainer = new_run(every_second, tmp_path / "run", quiet=True)
    dies(trainer, monkeypatch, 2)
    again, note = resumed_run(tmp_path / "run", quiet=True)
    assert "has no checkpoint yet; beginning with the first step" in note and again.step == 0
    again.fit()
    for path in (again.run.last, previous_of(again.run.last)):
        path.unlink()
    with pytest.raises(CheckpointError, match=r"last.safetensors: there is no such file"):
        resumed_run(tmp_path / "run", quiet=True)  # it had some: that is no fresh run


@pytest.mark.slow
def test_a_residual_network_resumes_with_the_same_bits(tmp_path, monkeypatch):
    args = TrainArgs(model="resnet20", size=16, epochs=2, batch_size=256, ema=0.99, checkpoint_every="2", log="csv")
    new_run(args, tmp_path / "whole", quiet=True).fit()
    args = dataclasses.replace(args, workers=3)
    assert killed_and_resumed(args, tmp_path / "run", monkeypatch, (4, 8)) == [2, 7]
    assert not differences(everything(tmp_path / "run"), everything(tmp_path / "whole"))
