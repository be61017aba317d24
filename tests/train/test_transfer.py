"""Beginning with other weights: all of them, or all but the head."""

import dataclasses

import numpy as np
import pytest
from safetensors.numpy import save_file

from minicnn import data, models
from minicnn.errors import CheckpointError
from minicnn.train import TrainArgs, new_run, resumed_run
from minicnn.train.transfer import head_of
from tests.train.conftest import few_digits

ARGS = TrainArgs(epochs=1, batch_size=32, warmup_epochs=0, workers=0, log="csv", augment=False)


def few(classes):
    """Digits of 32x32 pixels, of the first ``classes`` classes."""
    parts = {}
    for part, dataset in few_digits().items():
        kept = dataset.labels < classes
        raw = dataset.denormalise(dataset.images)[kept].repeat(4, axis=2).repeat(4, axis=3)
        parts[part] = data.ArrayDataset(raw, dataset.labels[kept], dataset.classes[:classes], dataset.name)
    return parts


@pytest.fixture
def lenet(monkeypatch):
    """``lenet(4, folder, init=...)``: a trainer of LeNet-5 on the first 4 digits."""
    monkeypatch.setattr("minicnn.train.run.draw_curves", lambda *args: None)
    monkeypatch.setattr("minicnn.train.run.draw_confusion", lambda *args: None)

    def start(classes, folder, **options):
        monkeypatch.setattr("minicnn.train.loop.build_data", lambda args: few(classes))
        return new_run(dataclasses.replace(ARGS, **options), folder, quiet=True)

    return start


@pytest.fixture
def source(lenet, tmp_path):
    trainer = lenet(10, tmp_path / "source")
    trainer.fit()
    return trainer


def test_the_head_is_what_depends_on_the_classes():
    assert head_of("lenet5", {"in_channels": 1}) == {"fc3.weight", "fc3.bias"} or head_of("lenet5", {"in_channels": 1})
    assert head_of("resnet18", {"in_channels": 3}) == {"fc.weight", "fc.bias"}
    assert head_of("vgg11", {"in_channels": 3}) == {"classifier.6.weight", "classifier.6.bias"}


def test_other_classes_leave_the_head_new(lenet, source, tmp_path):
    trainer = lenet(4, tmp_path / "run", init=str(tmp_path / "source"))
    untouched = lenet(4, tmp_path / "plain").model.state_dict()
    head = head_of("lenet5", {"in_channels": 1})
    for name, value in trainer.model.state_dict().items():
        expected = untouched[name] if name in head else source.model.state_dict()[name]
        np.testing.assert_array_equal(value, expected, err_msg=name)
    (note,) = trainer.notes
    assert "new is the head" in note and "4 classes, not 10" in note and all(name in note for name in head)
    trainer.fit()


@pytest.mark.parametrize("kind", ["folder", "checkpoint", "weights"])
def test_the_same_classes_take_all_weights(lenet, source, tmp_path, kind):
    save_file(source.model.state_dict(), tmp_path / "weights.safetensors")
    places = {"folder": source.run.folder, "checkpoint": source.run.best, "weights": tmp_path / "weights.safetensors"}
    trainer = lenet(10, tmp_path / "run", init=str(places[kind]))
    for name, value in trainer.model.state_dict().items():
        np.testing.assert_array_equal(value, source.model.state_dict()[name])
    assert trainer.notes == [f"begins with all weights of {places[kind]}"]


def test_what_does_not_fit_is_refused_and_leaves_no_folder(lenet, tmp_path):
    net = models.create("lenet5").state_dict()
    first = next(iter(net))
    for change in ({first: net[first][:2]}, {"extra": net[first]}):
        save_file({**net, **change}, tmp_path / "other.safetensors")
        with pytest.raises(CheckpointError, match=r"init=.*other\.safetensors"):
            lenet(4, tmp_path / "run", init=str(tmp_path / "other.safetensors"))
        assert not (tmp_path / "run").exists()


def test_a_run_goes_on_without_the_file_it_began_with(lenet, source, tmp_path):
    weights = tmp_path / "weights.safetensors"
    save_file(source.model.state_dict(), weights)
    lenet(10, tmp_path / "run", init=str(weights)).fit()
    weights.unlink()
    again, _ = resumed_run(tmp_path / "run", quiet=True, epochs=2)
    assert len(again.fit().rows) == 2
