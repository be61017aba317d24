"""``minicnn predict``: the pictures people really have, and the files that are none."""

import json

import numpy as np
import pytest
from PIL import Image

from minicnn import data
from minicnn.cli.predict import read_image
from minicnn.errors import DataError


@pytest.fixture(scope="module")
def facts():
    digits = data.load("digits", "test", size=32)
    return {"name": "digits", "shape": digits.shape, "classes": digits.classes, "mean": [0.3], "std": [0.4]}


@pytest.fixture(scope="module")
def raw():
    """A test digit in 0..1, 32x32."""
    digits = data.load("digits", "test", size=32)
    return digits.denormalise(digits[0][0])[0].clip(0, 1)


def saved(path, pixels, mode="L"):
    Image.fromarray((255 * pixels).round().astype(np.uint8)).convert(mode).save(path)
    return path


def test_predicts_as_the_model_does(minicnn, run_folder, tmp_path):
    digits = data.load("digits", "test", size=32)
    paths = [saved(tmp_path / f"{i}.png", digits.denormalise(digits[i][0])[0].clip(0, 1)) for i in range(20)]
    answers = json.loads(minicnn("predict", run_folder, *paths, "--json").out)
    right = sum(a["classes"][0]["class"] == digits.classes[digits[i][1]] for i, a in enumerate(answers))
    assert right >= 15
    assert [a["image"] for a in answers] == [str(path) for path in paths]
    shares = [c["probability"] for c in answers[0]["classes"]]
    assert len(shares) == 3 and shares == sorted(shares, reverse=True)
    done = minicnn("predict", run_folder / "best.safetensors", paths[0], "--top", 10)
    assert done.code == 0 and f"{answers[0]['classes'][0]['class']} {100 * shares[0]:.1f} %" in done.out


def test_the_same_digit_in_every_format_looks_the_same(tmp_path, facts, raw):
    expected = (raw - 0.3) / 0.4
    grey = (255 * raw).round().astype(np.uint8)
    files = {
        "grey.png": Image.fromarray(grey),
        "colour.png": Image.fromarray(grey).convert("RGB"),
        "palette.gif": Image.fromarray(grey).convert("P"),
        "plain.pgm": Image.fromarray(grey),
        "deep.png": Image.fromarray((65535 * raw).round().astype(np.uint16)),
        "paper.png": Image.fromarray(255 - grey),
        "ink.png": Image.merge("LA", [Image.new("L", (32, 32), 0), Image.fromarray(grey)]),
        "large.png": Image.fromarray(np.kron(grey, np.ones((4, 4), np.uint8))),
        "sharp.webp": Image.fromarray(grey).convert("RGB"),
    }
    for name, picture in files.items():
        picture.save(tmp_path / name, **({"lossless": True} if name.endswith("webp") else {}))
        found = read_image(tmp_path / name, facts)
        assert found.shape == (1, 32, 32) and found.dtype == np.float32
        error = np.abs(found[0] - expected)
        if name == "large.png":  # antialiasing reads a little beyond each pixel
            assert error.max() < 0.5 and error.mean() < 0.05
        else:
            assert error.max() < 0.01, name


def test_inverting_can_be_forced_either_way(tmp_path, facts, raw):
    path = saved(tmp_path / "light.png", 1 - raw)
    assert np.allclose(read_image(path, facts, invert=True), (raw - 0.3) / 0.4, atol=0.01)
    assert np.allclose(read_image(path, facts, invert=False), (1 - raw - 0.3) / 0.4, atol=0.01)
    assert np.allclose(read_image(path, facts | {"name": "shapes"}), (1 - raw - 0.3) / 0.4, atol=0.01)


def test_a_wide_picture_keeps_its_proportions(tmp_path, facts):
    wide = np.zeros((20, 60))
    wide[5:15, 25:35] = 1  # a square in the middle
    found = read_image(saved(tmp_path / "wide.png", wide), facts)[0] * 0.4 + 0.3
    rows, columns = np.nonzero(found > 0.5)
    assert np.ptp(rows) == np.ptp(columns)
    assert found[0, 0] == pytest.approx(0)


def test_colour_reaches_a_colour_model_in_order(tmp_path):
    facts = {"name": "shapes", "shape": (3, 8, 8), "classes": ("a",), "mean": [0.5, 0.5, 0.5], "std": [0.25] * 3}
    Image.new("RGB", (8, 8), (255, 0, 51)).save(tmp_path / "red.png")
    assert np.allclose(read_image(tmp_path / "red.png", facts)[:, 0, 0], [2, -2, -1.2])


def test_what_is_no_image_is_named(minicnn, run_folder, tmp_path, facts):
    (tmp_path / "text.png").write_text("not a picture", encoding="utf-8")
    (tmp_path / "folder.png").mkdir()
    whole = saved(tmp_path / "whole.png", np.random.default_rng(0).random((64, 64))).read_bytes()
    (tmp_path / "half.png").write_bytes(whole[: len(whole) // 2])
    for name, message in (
        ("text.png", r"text.png cannot be read as an image"),
        ("half.png", r"half.png cannot be read as an image"),
        ("folder.png", r"folder.png (is a folder|cannot be read)"),
        ("missing.png", r"there is no file .*missing.png"),
    ):
        with pytest.raises(DataError, match=message):
            read_image(tmp_path / name, facts)
    done = minicnn("predict", run_folder, "whole.png", "text.png")
    assert done.code == 2 and done.out == "" and "text.png cannot be read" in done.err


def test_what_is_no_run_is_named(minicnn, tmp_path, run_folder):
    saved(tmp_path / "a.png", np.zeros((8, 8)))
    (tmp_path / "empty").mkdir()
    (tmp_path / "young").mkdir()
    (tmp_path / "young" / "args.toml").touch()
    for run, code, message in (
        ("missing", 2, "does not exist"),
        ("empty", 2, "empty is not a run folder: it has no args.toml"),
        ("young", 2, "young has no best.safetensors: no epoch is finished yet"),
        ("a.png", 1, "a.png: damaged or not a safetensors file"),
    ):
        done = minicnn("predict", run, "a.png")
        assert (done.code, done.out) == (code, "") and message in done.err
