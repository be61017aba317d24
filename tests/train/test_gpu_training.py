"""Training on the (emulated) GPU: the host launches and never waits inside a step."""

import numpy as np
import pytest

from minicnn import Tensor, models, nn, ops, optim
from minicnn.errors import DeviceError, NonFiniteLossError
from minicnn.kernels import launch
from minicnn.train import TrainArgs, evaluate, new_run, resumed_run
from minicnn.train.evaluate import probabilities
from minicnn.train.loop import STEPS_BETWEEN_READS
from tests.emulator import emulated_gpu, synchronisations
from tests.train.conftest import SMALL, small_model


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.setattr(launch, "THREADS", 64)
    with emulated_gpu() as cupy:
        synchronisations.clear()
        yield cupy


MODELS = {"lenet5": (1, 32, 32), "resnet20": (3, 8, 8)}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("clip", [False, True], ids=["", "clipped"])
def test_nothing_waits_inside_a_step(gpu, name, clip):
    rng = np.random.default_rng(0)
    model = models.create(name, num_classes=10, in_channels=MODELS[name][0]).to("gpu")
    optimizer = optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
    for _ in range(2):
        images = Tensor(rng.standard_normal((2, *MODELS[name]), np.float32), device="gpu")
        target = Tensor(rng.integers(0, 10, 2), device="gpu")
        synchronisations.clear()
        optimizer.zero_grad()
        loss = ops.cross_entropy(model(images), target, label_smoothing=0.1)
        loss.backward()
        if clip:
            optim.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        assert not synchronisations
    assert np.isfinite(loss.item())


@pytest.fixture
def run(small, gpu, tmp_path):
    """A trainer of the small model on the GPU: 2 epochs of 5 steps."""
    import dataclasses

    return new_run(dataclasses.replace(small, device="gpu"), tmp_path / "run", quiet=True)


def test_a_run_on_the_gpu_learns_what_the_cpu_learns(run, finished):
    _, cpu = finished
    result = run.fit()
    for row, expected in zip(result.rows, cpu.rows, strict=True):
        assert row["train_loss"] == pytest.approx(expected["train_loss"], rel=1e-4)
        assert row["val_loss"] == pytest.approx(expected["val_loss"], rel=1e-4)
    assert abs(result.test.correct - cpu.test.correct) <= 2
    assert {p.device for p in run.model.parameters()} == {"cuda:0"}


def test_an_epoch_is_read_back_once(run):
    steps = []
    step = run._train_step

    def watched(images, labels):
        synchronisations.clear()
        step(images, labels)
        steps.append(sum(synchronisations.values()))

    run._train_step = watched
    run.fit()
    assert STEPS_BETWEEN_READS > 5
    assert steps == [0] * 10


def test_figures_are_read_every_few_steps(run, monkeypatch):
    run.read_every = 2
    waits = []
    step = run._train_step

    def watched(images, labels):
        synchronisations.clear()
        step(images, labels)
        waits.append(bool(synchronisations))

    run._train_step = watched
    run.fit()
    assert waits == [False, True, False, True, False] * 2


def test_a_loss_that_is_no_number_is_found_and_dated(run):
    run.read_every = 3
    step = run._train_step

    def poisoned(images, labels):
        if run.step == 6:  # the seventh step: the second of its epoch
            run.model[0].weight.data[...] = np.nan
        step(images, labels)

    run._train_step = poisoned
    with pytest.raises(
        NonFiniteLossError,
        match=r"loss is nan at step 7 \(epoch 2\); first at 0.weight: it has 36 NaN of 36 .* before it",
    ):
        run.fit()
    assert run.step <= 6 + run.read_every


def test_a_run_moves_between_devices(run, gpu, tmp_path):
    run.fit()
    trainer, note = resumed_run(tmp_path / "run", quiet=True, epochs=3, device="cpu")
    assert not note
    result = trainer.fit()
    assert len(result.rows) == 3
    back, _ = resumed_run(tmp_path / "run", quiet=True, epochs=4, device="gpu")
    assert len(back.fit().rows) == 4


def test_evaluation_is_the_cpus_and_reads_back_at_the_end(finished, gpu):
    trainer, _ = finished
    here = evaluate(trainer.model, trainer.data["val"], batch_size=100)
    model = small_model(SMALL, trainer.data["train"])
    model.load_state_dict(trainer.model.state_dict())
    synchronisations.clear()
    there = evaluate(model.to("gpu"), trainer.data["val"], batch_size=100, device="gpu")
    assert sum(synchronisations.values()) == 2
    assert there.loss == pytest.approx(here.loss, rel=1e-5)
    assert np.array_equal(there.confusion, here.confusion)
    images = np.stack([trainer.data["val"][i][0] for i in range(3)])
    trainer.model.eval()
    np.testing.assert_allclose(
        probabilities(model, images, "gpu"), probabilities(trainer.model, images), rtol=1e-4, atol=1e-6
    )


def test_no_gpu_is_an_error_and_never_the_cpu(tmp_path, monkeypatch):
    monkeypatch.setattr("minicnn.devices.gpu_trouble", lambda: "there is none; fix: buy one")
    with pytest.raises(DeviceError, match="device 'gpu': there is none; fix: buy one; or go without: --device cpu"):
        new_run(TrainArgs(device="gpu"), tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


def test_a_model_on_the_wrong_device_is_told(gpu):
    with pytest.raises(DeviceError, match=r"weight is on cpu, but x is on cuda:0; fix: weight\.to\('cuda:0'\)"):
        nn.Linear(4, 2)(Tensor(np.ones((1, 4), np.float32), device="gpu"))
