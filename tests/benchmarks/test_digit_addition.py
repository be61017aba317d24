"""The benchmark of digit addition, a few steps of it: equal budgets, one seed one run, its file and picture."""

import json
import sys

import digit_addition as bench
import numpy as np
import pytest

import minicnn
from minicnn import models
from minicnn.data import digit_addition


def test_both_nets_have_the_same_budget_and_take_the_same_pictures():
    with minicnn.abstract():
        sizes = {net: sum(p.size for p in bench.build(net, 0).parameters()) for net in bench.NETS}
        for net in bench.NETS:
            assert bench.build(net, 0)(minicnn.ShapeArray((3, 2, 42, 42), np.float32)).shape == (3, 19)
    assert sizes["stn"] == models.counts("stn_mnist_addition").params
    assert 1 <= sizes["cnn"] / sizes["stn"] < 1.01


def test_the_distortion_grows_from_none_to_the_papers():
    grown = [bench.strength(part) for part in np.linspace(0, 1, 201)]
    assert grown == sorted(grown) and grown[0] == bench.strength(bench.FIRST) == 0
    assert bench.strength(bench.LAST) == grown[-1] == 1 and len(set(grown)) == bench.STAGES + 1
    assert vars(bench.distortion(1.0)) == vars(bench.RTS)
    plain, none = (
        digit_addition(count=3, distortion=d).images for d in (minicnn.data.augment.Affine(), bench.distortion(0))
    )
    assert np.array_equal(plain, none)


def test_every_picture_of_a_training_is_new_and_from_the_training_digits(monkeypatch):
    monkeypatch.setattr(bench, "BATCH", 4)
    asked = []
    real = bench.digit_addition
    monkeypatch.setattr(bench, "digit_addition", lambda *args, **options: asked.append(args) or real(*args, **options))
    pictures = np.concatenate([images for images, _ in bench.batches(0, 20)])
    assert len(np.unique(pictures.reshape(80, -1), axis=0)) == 80
    assert set(asked) == {("train",)} and len(asked) > 5  # stages


def test_what_a_transformer_follows():
    rng = np.random.default_rng(0)
    place, other = rng.normal(size=(400, 2)), rng.normal(size=(400, 2))
    moved = place @ np.array([[0.5, 0.1], [0.0, 0.4]]) + 0.3
    assert bench._explained(place, moved) == pytest.approx(1)
    assert bench._explained(other, moved) < 0.05
    assert 0.4 < bench._explained(place, moved + other @ np.diag([0.5, 0.42])) < 0.6


def test_the_quadrilateral_is_where_the_corners_of_the_output_come_from():
    """In pixels: with the identity the outer edges of the first and the last pixel."""
    drawn = []

    class Axis:
        def plot(self, across, down, *_, **__):
            drawn.append((np.atleast_1d(across).tolist(), np.atleast_1d(down).tolist()))

        def set(self, **_):
            pass

    bench._draw_quadrilateral(Axis(), np.array([[1, 0, 0], [0, 0.5, 0.25]]), 42, "red")
    assert drawn[0] == ([-0.5, 41.5, 41.5, -0.5, -0.5], [15.25, 15.25, 36.25, 36.25, 15.25])
    assert drawn[1] == ([-0.5], [15.25])


@pytest.fixture
def tiny(monkeypatch):
    """Trainings in this process, whose threads stay as they are."""
    monkeypatch.setattr(bench, "VALIDATION", 12)
    monkeypatch.setattr(bench, "set_threads", lambda count, with_torch: None)

    class Pool:
        def __init__(self, *_):
            pass

        __enter__ = lambda self: self  # noqa: E731
        __exit__ = lambda *_: None  # noqa: E731

        def submit(self, function, *args):
            result = function(*args)
            return type("Future", (), {"result": lambda self: result})()

    monkeypatch.setattr(bench, "ProcessPoolExecutor", Pool)


def test_the_program_prints_a_table_and_writes_figures_and_a_picture(tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(bench, "QUICK", (2, 2))
    path, picture = tmp_path / "figures.json", tmp_path / "picture.png"
    monkeypatch.setattr(sys, "argv", ["digit_addition.py", "--quick", "--json", str(path), "--picture", str(picture)])
    with pytest.raises(SystemExit) as stopped:
        bench.main()
    assert stopped.value.code == 0  # a quick run claims nothing
    figures = json.loads(path.read_text(encoding="utf-8"))
    assert {"machine", "quick", "batch", "summary", "runs", "wall_seconds"} == set(figures) and figures["quick"]
    assert [(run["net"], run["seed"]) for run in figures["runs"]] == [("stn", 0), ("cnn", 0), ("stn", 1), ("cnn", 1)]
    for net, row in figures["summary"].items():
        own = [run for run in figures["runs"] if run["net"] == net]
        assert row["mean"] == pytest.approx(100 * np.mean([run["test_accuracy"] for run in own]))
        assert row["deviation"] == pytest.approx(100 * np.std([run["test_accuracy"] for run in own], ddof=1))
    assert picture.read_bytes().startswith(b"\x89PNG")
    out = capsys.readouterr().out
    assert "two transformers" in out and "plain CNN" in out and "points better" in out


def test_the_same_seed_gives_the_same_run(tiny):
    first, second = (bench.train("stn", 1, 2) for _ in range(2))
    assert {**first, "cpu_seconds": 0} == {**second, "cpu_seconds": 0}
