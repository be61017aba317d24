"""The other commands, and what all have in common."""

import errno
import io
import json
import subprocess
import sys

import click
import pytest
from rich.console import Console

from minicnn import __version__, models
from minicnn.cli import COMMANDS, main
from minicnn.summary import COLUMNS


def test_help_lists_every_command_and_loads_none_of_them():
    code = "import sys; from minicnn.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    code += "print(sorted({'numba', 'matplotlib', 'rich', 'PIL', 'safetensors'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert all(name in done.stdout for name in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_and_json(minicnn, command):
    done = minicnn(command, "--help")
    assert done.code == 0 and "--json" in done.out and all(len(line) <= 110 for line in done.out.splitlines())


def test_version_and_unknown_commands(minicnn):
    assert minicnn("--version").out == f"minicnn, version {__version__}\n"
    done = minicnn("trian")
    assert done.code == 2 and "No such command 'trian'" in done.err and done.out == ""


def test_as_a_module():
    done = subprocess.run([sys.executable, "-m", "minicnn", "--version"], capture_output=True, encoding="utf-8")
    assert (done.returncode, done.stderr) == (0, "") and __version__ in done.stdout


@pytest.mark.slow
def test_all_models(minicnn):
    told = minicnn("models").out
    assert all(name in told for name in models.names())


def test_models(minicnn):
    done = minicnn("models", "lenet*", "--json")
    assert [row["name"] for row in json.loads(done.out)] == models.names("lenet*")
    assert "61,706" in minicnn("models", "lenet5").out
    done = minicnn("models", "alexnot")
    assert done.code == 2 and "no model matches 'alexnot'" in done.err


def test_summary(minicnn):
    done = minicnn("summary", "lenet5")
    assert done.code == 0 and " 1x6x28x28 " in done.out and "FLOPs are 2 a MAC" in done.out
    total = next(line for line in done.out.splitlines() if line.startswith("total"))
    assert total.split()[:4] == ["total", "61,706", "416,520", "833,040"]
    assert "stage1" in minicnn("summary", "resnet20", "--batch", "2").out
    assert minicnn("summary", "lenet5", "--csv").out.splitlines()[1].startswith("conv1,Conv2d,156,117600,624,")
    told = json.loads(minicnn("summary", "resnet20", "--json", "--input", "1x16x16", "--classes", "7").out)
    assert any(row["output_shape"] == [1, 7] for row in told["rows"])
    for arguments, message in (
        (("lenet6",), "nearest: lenet5"),
        (("lenet5", "--input", "32"), "'32' is not a shape like 3x224x224"),
        (
            ("lenet5", "--input", "1x2x2"),
            "lenet5 fails in conv1 on this input: conv1: conv2d: the window spans 5 pixels",
        ),
        (("lenet5", "--classes", "0"), "Invalid value for '--classes': 0 is not in the range x>=1"),
    ):
        done = minicnn("summary", *arguments)
        assert done.code == 2 and message in done.err and done.out == ""


def test_summary_of_a_model_that_fails(minicnn):
    """The layers up to the failure on stdout, the layer that failed on stderr."""
    done = minicnn("summary", "lenet5", "--input", "1x28x28")
    assert done.code == 2 and "fix: --input with another shape, as 1x32x32" in done.err
    assert "lenet5 fails in fc1 on this input, after the 7 layers above: fc1: linear: " in " ".join(done.err.split())
    assert "1x16x4x4" in done.out and "total" not in done.out
    told = json.loads(minicnn("summary", "lenet5", "--input", "1x28x28", "--json").out)
    assert len(told["rows"]) == 7 and told["path"] == "fc1" and "expects its last dimension" in told["error"]


def test_diff(minicnn):
    told = json.loads(minicnn("diff", "resnet50_v1", "resnet50", "--json").out)
    assert told[0]["first"] == told[0]["second"] == "layer2.0.conv1" and len(told) == 6
    assert "stride=2" in told[0]["first_layer"] and "stride=1" in told[0]["second_layer"]
    assert "PadShortcut(" in minicnn("diff", "resnet18_a", "resnet18").out
    assert "the same layers" in minicnn("diff", "resnet18", "torchvision/resnet18").out
    assert minicnn("diff", "resnet18", "resnet17").code == 2


def test_env(minicnn):
    told = json.loads(minicnn("env", "--json").out)
    assert told["minicnn"] == __version__ and told["threads"] >= 1 and all(told["libraries"].values())
    done = minicnn("env")
    assert done.code == 0 and "kernel cache" in done.out and "pip install 'minicnn[cuda12]'" in done.out


def test_ctrl_c_before_the_first_step_ends_with_130(monkeypatch, capsys):
    def pressed(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("minicnn.models.names", pressed)
    with pytest.raises(SystemExit) as stopped:
        main(["models"])
    assert stopped.value.code == 130 and "stopped" in capsys.readouterr().err


@pytest.mark.parametrize("width", [40, 80, 110, 300])
def test_a_narrow_terminal_folds_no_number(minicnn, monkeypatch, width):
    monkeypatch.setattr("minicnn.cli.output.console", lambda: Console(width=width))
    told = minicnn("summary", "lenet5").out
    lines = told.partition("\n\n")[0].splitlines()
    assert all(len(line.rstrip()) <= width for line in lines if not line.startswith("not shown"))
    names = [name for name in COLUMNS if name in lines[1]]
    missing = [name for name in COLUMNS if name not in names]
    assert names == list(COLUMNS[: len(names)]) and len(names) >= {40: 2, 80: 5, 110: 7, 300: 9}[width]
    assert not missing or f"not shown: {', '.join(missing)} (a wider terminal" in told
    assert ("416,520" in told) == ("MACs" in names)


@pytest.mark.parametrize("file", [None, "runs/a", b"runs/a"])
def test_what_the_system_refuses_is_one_line(minicnn, monkeypatch, file):
    def refused(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device", file)

    monkeypatch.setattr("minicnn.models.names", refused)
    where = "" if file is None else "runs/a: "
    assert minicnn("models") == (1, "", f"minicnn: {where}No space left on device\n")


def test_what_cannot_be_shown_is_no_crash(monkeypatch):
    shown = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(shown, encoding="utf-8"))
    monkeypatch.setattr("minicnn.models.names", lambda pattern: click.echo("runs/\udcff") or [])
    with pytest.raises(SystemExit) as stopped:
        main(["models", "--json"])
    sys.stdout.flush()
    assert stopped.value.code == 0 and shown.getvalue().split() == [rb"runs/\udcff", b"[]"]


def test_closed_streams_swallow_what_is_said(monkeypatch):
    """As after ``>&- 2>&-``; and the next file that is opened does not take their numbers."""
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    with pytest.raises(SystemExit) as stopped:
        main(["models", "lenet5"])
    streams = (sys.stdout, sys.stderr)
    monkeypatch.undo()
    assert stopped.value.code == 0 and all(stream is not None for stream in streams)
    for stream in streams:
        stream.close()
