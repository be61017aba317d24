"""One trained run for all tests of the commands, and the command line called in this process."""

from typing import NamedTuple

import pytest

from minicnn.cli import main


class Called(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def minicnn(capsys, monkeypatch, tmp_path):
    """``minicnn("train", "--epochs", "1")`` -> exit code, stdout, stderr; in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main([str(argument) for argument in arguments])
        return Called(stopped.value.code or 0, *capsys.readouterr())

    return call


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory):
    """LeNet-5 after two epochs on the digits, through the command line; to be read only."""
    folder = tmp_path_factory.mktemp("cli") / "a run"
    with pytest.raises(SystemExit) as stopped:
        main(["train", "--epochs", "2", "--lr", "0.1", "--no-augment", "--out", str(folder), "--quiet"])
    assert not stopped.value.code
    return folder
