"""``minicnn evaluate`` and ``predict`` with several runs, crops and sizes, and ``minicnn features``; against NumPy."""

import json

import numpy as np
import pytest
from PIL import Image

from minicnn import data, models
from minicnn.cli import main
from minicnn.context import no_grad
from minicnn.tensor import Tensor
from minicnn.train import load_checkpoint, save_checkpoint
from minicnn.train.checkpoint import of_prefix


@pytest.fixture(scope="module")
def second(run_folder, tmp_path_factory):
    """A checkpoint whose weights are a little off those of the run."""
    saved = load_checkpoint(run_folder / "best.safetensors")
    rng = np.random.default_rng(0)
    noisy = {
        name: array + (0.3 * array.std() * rng.standard_normal(array.shape)).astype(array.dtype)
        for name, array in saved.arrays.items()
    }
    path = tmp_path_factory.mktemp("second") / "second.safetensors"
    save_checkpoint(path, noisy, saved.state)
    return path


def net_of(path):
    net = models.create("lenet5", num_classes=10, in_channels=1)
    net.load_state_dict(of_prefix("model", load_checkpoint(path).arrays))
    return net.eval()


def shares(net, images):
    with no_grad():
        scores = net(Tensor(images)).numpy().astype(np.float64)
    shares = np.exp(scores - scores.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True)


@pytest.fixture(scope="module")
def both(run_folder, second):
    return net_of(run_folder / "best.safetensors"), net_of(second)


def asked(minicnn, *arguments):
    done = minicnn(*arguments, "--json")
    assert done.code == 0, done.err
    return json.loads(done.out)


def test_one_run_is_evaluated_as_training_did(minicnn, run_folder):
    found = asked(minicnn, "evaluate", run_folder)
    digits = data.load("digits", "test", size=32)
    expected = (shares(net_of(run_folder / "best.safetensors"), digits.images).argmax(1) == digits.labels).sum()
    assert (found["correct"], found["count"]) == (expected, 360)
    assert f"({expected} of 360)" in minicnn("evaluate", run_folder).out
    assert asked(minicnn, "evaluate", run_folder, "--split", "val")["correct"] != expected


def test_several_runs_are_the_mean_of_their_probabilities(minicnn, run_folder, second, both):
    digits = data.load("digits", "test", size=32)
    mean = sum(shares(net, digits.images) for net in both) / 2
    found = asked(minicnn, "evaluate", run_folder, second)
    assert found["correct"] == (mean.argmax(1) == digits.labels).sum()
    assert found["loss"] == pytest.approx(-np.log(mean[np.arange(360), digits.labels]).mean(), rel=1e-4)


def test_the_mean_of_the_weights_is_one_network(minicnn, run_folder, second, both):
    digits = data.load("digits", "test", size=32)
    one, other = (net.state_dict() for net in both)
    net = models.create("lenet5", num_classes=10, in_channels=1)
    net.load_state_dict({name: (one[name] + other[name]) / 2 for name in one})
    expected = shares(net.eval(), digits.images)
    found = asked(minicnn, "evaluate", run_folder, second, "--average", "weights")
    assert found["loss"] == pytest.approx(-np.log(expected[np.arange(360), digits.labels]).mean(), rel=1e-4)


def test_ten_crops_are_of_a_larger_picture(minicnn, run_folder, both):
    digits = data.load("digits", "test", size=36)  # 32 * 8 // 7
    x = digits.images
    places = [(0, 0), (0, 4), (4, 0), (4, 4), (2, 2)]
    views = [x[:, :, top : top + 32, left : left + 32] for top, left in places]
    views += [view[..., ::-1].copy() for view in views]
    mean = sum(shares(both[0], view) for view in views) / 10
    found = asked(minicnn, "evaluate", run_folder, "--crops", 10)
    assert found["loss"] == pytest.approx(-np.log(mean[np.arange(360), digits.labels]).mean(), rel=1e-4)
    five = asked(minicnn, "evaluate", run_folder, "--crops", 5, "--scales", "36")
    mean = sum(shares(both[0], view) for view in views[:5]) / 5
    assert five["loss"] == pytest.approx(-np.log(mean[np.arange(360), digits.labels]).mean(), rel=1e-4)


def test_pictures_are_shown_to_all_runs(minicnn, run_folder, second, both, tmp_path):
    digits = data.load("digits", "test", size=32)
    raw = digits.denormalise(digits[0][0])[0].clip(0, 1)
    Image.fromarray((255 * raw).round().astype(np.uint8)).save(tmp_path / "one.png")
    seen = digits.normalise((255 * raw).round()[None, None] / 255)
    mean = sum(shares(net, seen) for net in both)[0] / 2
    (answer,) = asked(minicnn, "predict", run_folder, second, "one.png", "--top", 10)
    for entry in answer["classes"]:
        assert entry["probability"] == pytest.approx(mean[digits.classes.index(entry["class"])], abs=1e-4)
    assert asked(minicnn, "predict", run_folder, second, "one.png", "--crops", 10)[0]["classes"] != answer["classes"]


def test_features_are_what_the_layer_puts_out(minicnn, run_folder, both, tmp_path):
    digits = data.load("digits", "val", size=32)
    for layer in ("conv2", "fc2"):
        found = asked(
            minicnn, "features", run_folder, "--data", "digits", "--split", "val", "--layer", layer, "-o", "x"
        )
        with np.load(tmp_path / "x.npz") as file:
            assert found["shape"] == list(file["features"].shape) and np.array_equal(file["labels"], digits.labels)
            features = file["features"]
        with no_grad():
            outputs = []
            with both[0].get_submodule(layer).register_forward_hook(lambda m, a, y, seen=outputs: seen.append(y)):
                both[0](Tensor(digits.images[:5]))
        expected = outputs[0].numpy()
        expected = expected.mean(axis=(2, 3)) if expected.ndim == 4 else expected
        assert np.abs(features[:5] - expected).max() <= 1e-5 * np.abs(expected).max()


def test_a_linear_classifier_on_features(minicnn, run_folder, tmp_path):
    from minicnn import nn, ops, optim

    minicnn("features", run_folder, "--data", "digits", "--layer", "fc2", "-o", "train.npz")
    minicnn("features", run_folder, "--data", "digits", "--split", "test", "--layer", "fc2", "-o", "test.npz")
    parts = []
    for name in ("train.npz", "test.npz"):
        with np.load(tmp_path / name) as file:
            parts.append((Tensor(file["features"]), file["labels"]))
    (x, y), (test_x, test_y) = parts
    net = nn.Linear(x.shape[1], 10)
    optimizer = optim.Adam(net.parameters(), lr=0.05)
    for _ in range(100):
        optimizer.zero_grad()
        ops.cross_entropy(net(x), y).backward()
        optimizer.step()
    assert (net(test_x).numpy().argmax(1) == test_y).mean() > 0.9


WRONG = [
    (("evaluate", "RUN", "--scales", "a"), "expected sizes in pixels"),
    (("evaluate", "RUN", "--scales", "24", "--crops", "10"), "has no crop of 32"),
    (("evaluate", "RUN", "--data", "shapes"), "shapes has images of (3, 32, 32)"),
    (("evaluate", "missing"), "does not exist"),
    (("predict", "RUN"), "Missing argument"),
    (("predict", "missing", "one.png"), "does not exist"),
    (("features", "RUN", "--layer", "fc2"), "name either pictures or --data"),
    (("features", "RUN", "--data", "digits", "--layer", "fc2", "-o", "no/x"), "there is no folder no"),
    (("features", "RUN", "--data", "digits", "--layer", "fc9"), "no module at 'fc9'; nearest: "),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG, ids=lambda value: None)
def test_wrong_use(minicnn, run_folder, arguments, message):
    done = minicnn(*(run_folder if word == "RUN" else word for word in arguments))
    assert done.code == 2 and done.out == ""
    assert message in done.err and "Traceback" not in done.err


def test_runs_of_other_classes_do_not_go_together(minicnn, run_folder, tmp_path):
    saved = load_checkpoint(run_folder / "best.safetensors")
    facts = {**saved.state["data"], "classes": [f"digit {k}" for k in range(10)]}
    save_checkpoint(tmp_path / "other.safetensors", saved.arrays, {**saved.state, "data": facts})
    done = minicnn("evaluate", run_folder, "other.safetensors")
    assert done.code == 2 and "differ in classes" in done.err


@pytest.mark.slow
def test_the_recipe_of_a_paper_trains(tmp_path):
    words = "train --model resnet20_cifar10 --recipe paper --data shapes --size 16 --epochs 2 --quiet --out"
    with pytest.raises(SystemExit) as stopped:
        main([*words.split(), str(tmp_path / "run")])
    assert not stopped.value.code
    text = (tmp_path / "run" / "args.toml").read_text(encoding="utf-8")
    assert 'lr = "paper, resnet_cifar.toml"' in text and 'milestones = "0.97561,1.47561"' in text
