"""A folder of pictures from the command line: train, what is said, predict; mistakes."""

from pathlib import Path

import numpy as np
import pytest

import minicnn.data as data
from minicnn.cli import main
from minicnn.cli.predict import read_image
from minicnn.train import checkpoint
from minicnn.train.args import TrainArgs
from minicnn.train.recipe import augmentation
from tests.data.pictures_made import folder


def call(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    return int(stopped.value.code or 0)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    """A run of one epoch in an empty working folder, its pictures, and what it said."""
    root = tmp_path_factory.mktemp("folder run")
    pets = folder(root / "my pets", {"cat": 8, "dog": 8, "emu": 8})
    (pets / "dog/broken.png").write_bytes(b"text")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setenv("MINICNN_DATA", str(root / "cache"))
        patch.setattr("minicnn.train.run.draw_curves", lambda *args: None)
        patch.setattr("minicnn.train.run.draw_confusion", lambda *args: None)
        said: list[str] = []
        patch.setattr("minicnn.train.report.Reporter.say", lambda self, text: said.append(text))
        code = call("train", "--data", "./my pets", "--model", "lenet5", "--epochs", 1, "--batch-size", 8, "--json")
        assert code == 0
    (made,) = (root / "runs").iterdir()
    return made, pets, "\n".join(said)


def test_the_run_is_named_and_says_what_it_found(run: tuple[Path, Path, str]) -> None:
    made, _, said = run
    assert made.name == "lenet5-my pets-1"
    assert "data    ./my pets: " in said and "(training/validation/test): cat " in said
    assert (
        "left out: 1 of 25 pictures cannot be read; dog/broken.png: it is not a picture" in said and "mean 0." in said
    )


def test_predict_sees_what_training_saw(
    run: tuple[Path, Path, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made, pets, _ = run
    monkeypatch.setenv("MINICNN_DATA", str(made.parents[1] / "cache"))
    facts = checkpoint.load_checkpoint(made / "best.safetensors").state["data"]
    train = data.load(pets, size=32)
    assert facts["name"] == "folder" and facts["classes"] == ["cat", "dog", "emu"]
    for i in (0, 5, -1):
        np.testing.assert_allclose(read_image(pets / train.files[i], facts), train[i][0], atol=1e-6)
    assert call("predict", made, pets / "cat/000.png") == 0 and "%" in capsys.readouterr().out
    assert call("predict", made, pets / "dog/broken.png") == 2
    assert "dog/broken.png: it is not a picture, or damaged" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("./my pest", "does not exist, expected a folder of pictures or one of"),
        ("./my pets/cat", "has pictures, but no folder of a class"),
        (".", "the class 'cache' is empty"),
    ],
)
def test_mistakes_end_with_one_line_and_no_run(
    run: tuple[Path, Path, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    path: str,
    message: str,
) -> None:
    made, _, _ = run
    monkeypatch.chdir(made.parents[1])
    (made.parents[1] / "cache").mkdir(exist_ok=True)
    assert call("train", "--data", path, "--epochs", 1) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1 and len(list(made.parent.iterdir())) == 1


def test_only_what_may_be_mirrored_is() -> None:
    assert "RandomCrop(padding=4" in repr(augmentation(TrainArgs(model="resnet20", data="cifar10")))
    assert "RandomFlip" not in repr(augmentation(TrainArgs(model="resnet20", data="mnist")))
    assert "Elastic" in repr(augmentation(TrainArgs()))
