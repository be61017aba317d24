"""The event files of a run, read back by TensorBoard's own reader."""

import dataclasses
import io
import sys

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import minicnn
from minicnn import models, nn, ops
from minicnn.errors import ArgumentError
from minicnn.train import load_checkpoint, new_run, resumed_run
from minicnn.train.tape_graph import graph_def
from minicnn.train.tensorboard import EPOCH
from tests.train.conftest import SMALL, small_model
from tests.train.test_loop import interrupted

LOGGED = dataclasses.replace(SMALL, log="csv,tensorboard")
EVERYTHING = dict.fromkeys(("scalars", "images", "histograms"), 0)


def read(folder):
    found = EventAccumulator(str(folder / "tensorboard"), EVERYTHING)
    found.Reload()
    return found


def scalars(found, tag):
    return [(event.step, event.value) for event in found.Scalars(tag)]


@pytest.fixture(scope="module")
def logged(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("minicnn.train.loop.build_model", small_model)
        patch.setattr("minicnn.train.logs.Ration.SHARE", 1e9)
        patch.setattr("minicnn.train.run.draw_curves", lambda *args: None)
        patch.setattr("minicnn.train.run.draw_confusion", lambda *args: None)
        trainer = new_run(LOGGED, tmp_path_factory.mktemp("runs") / "logged", quiet=True)
        return trainer, trainer.fit(), read(trainer.run.folder)


def test_scalars_of_steps_epochs_and_the_end(logged):
    trainer, result, found = logged
    for tag, name in (("step/loss", "train_loss"), ("step/accuracy", "train_accuracy")):
        steps = scalars(found, tag)
        assert [step for step, _ in steps] == list(range(1, 11))
        for epoch, row in enumerate(result.rows):
            values = [value for _, value in steps[5 * epoch : 5 * epoch + 5]]
            assert np.average(values, weights=[256] * 4 + [53]) == pytest.approx(row[name], rel=1e-5)
    assert scalars(found, "step/learning rate")[9][1] == pytest.approx(trainer.optimizer.lr)
    for name, tag in EPOCH.items():
        expected = [(5 * (k + 1), pytest.approx(row[name])) for k, row in enumerate(result.rows)]
        assert scalars(found, tag) == expected
    assert scalars(found, "accuracy/test") == [(10, pytest.approx(result.test.accuracy))]


def test_histograms_of_weights_and_gradients(logged):
    trainer, _, found = logged
    names = [name for name, _ in trainer.model.named_parameters()]
    tags = {f"{kind}/{name}" for kind in ("weights", "gradients") for name in names}
    assert set(found.Tags()["histograms"]) == tags
    weights = load_checkpoint(trainer.run.last).arrays["model/0.weight"]
    assert len(found.Histograms("weights/0.weight")) == len(found.Images("first filters")) == 2
    last = found.Histograms("weights/0.weight")[-1]
    value = last.histogram_value
    assert last.step == 10 and value.num == weights.size == sum(value.bucket)
    assert (value.min, value.max) == pytest.approx((weights.min(), weights.max()))
    assert value.sum == pytest.approx(weights.sum(), abs=1e-6)
    assert value.sum_squares == pytest.approx((weights**2).sum(), rel=1e-5)
    ends = np.array(value.bucket_limit)
    assert len(ends) == 65 and (np.diff(ends) > 0).all()
    for end in range(64):
        assert sum(value.bucket[: end + 1]) == (weights < ends[end]).sum()
    for name, p in trainer.model.named_parameters():
        gradient = found.Histograms(f"gradients/{name}")[-1].histogram_value
        assert gradient.max == pytest.approx(p.grad.numpy().max()) and gradient.num == p.size


def picture(event):
    return np.asarray(Image.open(io.BytesIO(event.encoded_image_string)))


def test_pictures_of_filters_and_mistakes(logged):
    trainer, result, found = logged
    weights = load_checkpoint(trainer.run.last).arrays["model/0.weight"]  # (4, 1, 3, 3), two by two on the sheet
    sheet = picture(found.Images("first filters")[-1])
    assert sheet.shape == (38, 38)
    corner = weights[1, 0]
    shades = sheet[:18:6, 20:38:6] / 255
    assert np.abs(shades - (corner - corner.min()) / np.ptp(corner)).max() < 1 / 255
    tags = [tag for tag in found.Tags()["images"] if tag.startswith("worst mistakes/")]
    assert len(tags) == 16 and tags[0].startswith("worst mistakes/01 ")
    samples = result.test.samples
    wrong = samples.answers != samples.labels
    worst = np.flatnonzero(wrong)[samples.losses[wrong].argmax()]
    assert tags[0] == f"worst mistakes/01 {samples.labels[worst]} taken for {samples.answers[worst]}"
    raw = trainer.data["test"].denormalise(trainer.data["test"][worst][0])[0]
    assert np.abs(picture(found.Images(tags[0])[0]) / 255 - raw).max() < 0.51 / 255


def test_the_graph_is_the_models(logged):
    trainer, _, found = logged
    nodes = nodes_of(found)
    assert [*nodes["0/conv2d"].input] == ["input", "0/weight", "0/bias"]
    assert nodes["5/linear"].input[1:] == ["5/weight", "5/bias"]
    assert shape_of(nodes["0/conv2d"]) == [1, 4, 4, 4] and shape_of(nodes["input"]) == [1, 1, 8, 8]
    parameters = {name.replace(".", "/") for name, _ in trainer.model.named_parameters()}
    assert {name for name, node in nodes.items() if node.op == "Parameter"} == parameters


def nodes_of(found):
    return {node.name: node for node in found.Graph().node}


def shape_of(node):
    return [d.size for d in node.attr["_output_shapes"].list.shape[0].dim]


@pytest.mark.parametrize("name", ["resnet20", "googlenet", "densenet100_k12_cifar10"])
def test_graphs_of_the_catalog(name):
    model = models.create(name)
    before = minicnn.random.default_generator().state()
    graph = graph_def(model, model.input_shape)
    nodes = {node.name: node for node in graph.node}
    assert len(nodes) == len(graph.node) and all(source in nodes for node in graph.node for source in node.input)
    assert {n.replace(".", "/") for n, _ in model.named_parameters()} >= {
        k for k, n in nodes.items() if n.op == "Parameter"
    }
    convolutions = sum(isinstance(part, nn.Conv2d) for part in model.modules())
    assert convolutions - 4 <= sum(node.op == "conv2d" for node in graph.node) <= convolutions
    assert minicnn.random.default_generator().state() == before and model.training


class Answers(nn.Module):
    """As some of the catalog, it does more while it learns."""

    def forward(self, x):
        return (ops.relu(x), x) if self.training else ops.relu(x)


def test_the_graph_is_that_of_an_answer():
    model = nn.Sequential(Answers())
    assert [node.name for node in graph_def(model, (1, 2, 2)).node] == ["input", "0/relu"]
    assert model.training


def test_a_layer_that_runs_twice_has_two_nodes():
    layer = nn.ReLU()
    nodes = [node.name for node in graph_def(nn.Sequential(layer, nn.Flatten(), layer), (1, 2, 2)).node]
    assert {"0/relu", "0/relu_1"} <= set(nodes)


def test_a_resumed_run_tells_each_step_once(small, logged, tmp_path, monkeypatch):
    first = new_run(LOGGED, tmp_path / "parts", quiet=True)
    interrupted(first, monkeypatch, 7)
    first.observers[1].started(first)  # as one that was killed: it told of steps that it did not save
    for step in (8, 9):
        first.observers[1].step({"step": step, "loss": 99.0, "accuracy": 0.0, "lr": 1.0})
    first.observers[1].close()
    resumed_run(tmp_path / "parts", quiet=True)[0].fit()
    _, _, whole = logged
    found = read(tmp_path / "parts")
    for tag in ("step/loss", "step/accuracy", "loss/validation", "accuracy/test"):
        assert scalars(found, tag) == scalars(whole, tag)
    assert found.Histograms("weights/0.weight")[-1].step == 10  # the last epoch's are never left out
    files = sorted((tmp_path / "parts" / "tensorboard").iterdir())
    resumed_run(tmp_path / "parts", quiet=True)[0].fit()
    assert sorted((tmp_path / "parts" / "tensorboard").iterdir()) == files  # a finished run tells nothing again


def test_weights_that_are_no_numbers_are_left_out_of_histograms(logged, monkeypatch):
    trainer, _, _ = logged
    observer = trainer.observers[1]
    weight = trainer.model.state_dict()["0.weight"].copy()
    try:
        next(trainer.model.parameters()).data[0] = np.nan
        values = {value.tag: value.histo for value in observer._histograms()}
    finally:
        next(trainer.model.parameters()).data[...] = weight
    assert values["weights/0.weight"].num == 27


def test_without_tensorboardx_no_run_begins(tmp_path, monkeypatch):
    monkeypatch.setattr("minicnn.train.loop.build_model", small_model)
    monkeypatch.setitem(sys.modules, "tensorboardX.event_file_writer", None)
    with pytest.raises(
        ArgumentError, match=r"log=tensorboard needs tensorboardX .*pip install 'minicnn\[tensorboard\]'"
    ):
        new_run(LOGGED, tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()
