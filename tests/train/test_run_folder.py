"""A run folder in trouble: in use, full, gone, damaged. An error names the file and what to do, or the run goes on."""

import dataclasses
import errno
import json
import os
import shutil
import subprocess
import sys

import pytest

from minicnn.errors import ArgumentError, CheckpointError
from minicnn.train import RunFolder, load_checkpoint, new_run, resumed_run
from minicnn.train.checkpoint import previous_of
from minicnn.train.lock import locked
from tests.train.run_files import differences, everything


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory):
    """The folder of a run that nobody stopped; to be copied."""
    return tmp_path_factory.mktemp("whole") / "run"


@pytest.fixture
def run(tiny, whole_run, tmp_path):
    """A finished run to play with."""
    if not whole_run.exists():
        new_run(dataclasses.replace(tiny, checkpoint_every="2"), whole_run, quiet=True).fit()
    return RunFolder(shutil.copytree(whole_run, tmp_path / "run"))


# ---- two processes


def lock_of(folder, number, **facts):
    path = folder / f".training.{number}.lock"
    path.write_text(json.dumps(facts), encoding="utf-8")
    return path


@pytest.fixture
def other():
    """A process that lives."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.communicate()


@pytest.mark.skipif(os.name == "nt", reason="there a lock is held by an open file")
def test_a_folder_in_use_is_refused_and_left_alone(run, other):
    lock = lock_of(run.folder, other.pid)
    before = sorted(path.name for path in run.folder.iterdir())
    message = rf"run is in use: process {other.pid} on .* trains in it; fix: .*delete .*{lock.name}"
    with pytest.raises(ArgumentError, match=message):
        resumed_run(run.folder, quiet=True)
    assert sorted(path.name for path in run.folder.iterdir()) == before
    lock.unlink()
    trainer, _ = resumed_run(run.folder, quiet=True)
    lock_of(run.folder, other.pid)
    with pytest.raises(ArgumentError, match=message):
        trainer.fit()


@pytest.mark.skipif(os.name == "nt", reason="there a lock is held by an open file")
@pytest.mark.parametrize("facts", [{}, {"host": "", "started": "long ago/1"}, {"text": "{"}])
def test_the_lock_of_a_dead_process_is_taken_over(run, other, facts):
    """Dead: no such process, or its number belongs to a younger one, or it died before it had written its lock."""
    import socket

    if "started" in facts:
        lock = lock_of(run.folder, other.pid, **(facts | {"host": socket.gethostname()}))
    else:
        other.kill()
        other.wait()
        lock = lock_of(run.folder, other.pid)
        if facts:
            lock.write_text("{", encoding="utf-8")
    resumed_run(run.folder, quiet=True)[0].fit()
    assert not list(run.folder.glob(".training*"))


def test_a_lock_of_another_machine_is_believed(run):
    lock_of(run.folder, 1, host="elsewhere", started="")
    with pytest.raises(ArgumentError, match="process 1 on elsewhere trains in it"):
        resumed_run(run.folder, quiet=True)


def test_a_process_locks_itself_out_too_and_lets_go_after_an_error(tmp_path):
    with locked(tmp_path):
        assert len(list(tmp_path.iterdir())) == 1
        with pytest.raises(ArgumentError, match="this process itself trains in it"), locked(tmp_path):
            pass
    with pytest.raises(ZeroDivisionError), locked(tmp_path):
        1 / 0  # noqa: B018
    assert not list(tmp_path.iterdir())


def test_of_two_that_begin_at_once_one_gets_the_folder(tiny, tmp_path):
    first, second = (RunFolder.create(tmp_path / "run", "lenet5", "digits") for _ in range(2))
    assert first.folder == second.folder
    new_run(tiny, tmp_path / "run", quiet=True)
    with pytest.raises(ArgumentError, match="is not empty; fix: another folder, or --resume"):
        new_run(tiny, tmp_path / "run", quiet=True)


# ---- damage


def test_what_a_death_left_behind_is_swept_away(run):
    for name in (".last.safetensors.77.tmp", ".metrics.csv.77.tmp"):
        (run.folder / name).write_bytes(b"half")
    resumed_run(run.folder, quiet=True)
    assert not [path for path in run.folder.iterdir() if path.name.endswith(".tmp")]


def test_a_damaged_last_costs_the_steps_since_the_one_before(run, whole_run):
    run.last.write_bytes(run.last.read_bytes()[:-3])
    trainer, note = resumed_run(run.folder, quiet=True)
    assert trainer.step == 9 and "last.safetensors: damaged" in note and "going on from last.previous" in note
    trainer.fit()
    assert not differences(everything(run.folder), everything(whole_run))


def test_two_damaged_checkpoints_are_both_named(run):
    for path in (run.last, previous_of(run.last)):
        path.write_bytes(b"x" * 100)
    with pytest.raises(
        CheckpointError, match=r"last.safetensors: damaged.*but .*last.previous.safetensors: damaged.*fix"
    ):
        resumed_run(run.folder, quiet=True)


def test_a_damaged_best_is_put_aside_and_the_next_epoch_takes_its_place(run):
    content = run.best.read_bytes()
    run.best.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    trainer, note = resumed_run(run.folder, quiet=True, epochs=3)
    assert "best.safetensors: its content does not match" in note and "the next epoch takes its place" in note
    trainer.fit()
    assert load_checkpoint(run.best).state["epoch"] == 3
    assert (run.folder / "best.damaged.safetensors").is_file()


def test_missing_metrics_are_written_again(run):
    text = run.metrics.read_bytes()
    run.metrics.unlink()
    resumed_run(run.folder, quiet=True)[0].fit()
    assert run.metrics.read_bytes() == text


# ---- a disk that says no


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS, errno.ENOSPC, errno.EBUSY])
@pytest.mark.parametrize("name", ["metrics.csv", "args.toml", "last.safetensors", "best.safetensors"])
def test_a_file_that_cannot_be_written_is_named(tiny, tmp_path, monkeypatch, code, name):
    """A full disk, a read-only folder, a table that is open in another program."""
    replace = os.replace

    def refused(source, target):
        if target.name == name:
            raise OSError(code, os.strerror(code))
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", refused)
        message = rf"{name}:? cannot be written .{os.strerror(code)}.*fix: "
        with pytest.raises(CheckpointError, match=message):
            new_run(tiny, tmp_path / "run", quiet=True).fit()
    found = sorted(path.name for path in (tmp_path / "run").iterdir()) if (tmp_path / "run").exists() else []
    assert name not in found and not [file for file in found if file.startswith(".")]
    if name != "args.toml":
        resumed_run(tmp_path / "run", quiet=True)[0].fit()


def test_a_folder_that_cannot_be_locked_is_named(run, monkeypatch):
    def refused(*args, **kwargs):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr("pathlib.Path.open", refused)
    with (
        pytest.raises(
            CheckpointError, match=rf"train: {run.folder} cannot be written \(Permission denied\); fix: mend"
        ),
        run.locked(),
    ):
        pass


def test_a_folder_deleted_under_a_running_job_is_named(tiny, tmp_path, monkeypatch):
    trainer = new_run(dataclasses.replace(tiny, checkpoint_every="2"), tmp_path / "run", quiet=True)
    step = trainer._train_step

    def deletes(images, labels):
        if trainer.step == 3:
            shutil.rmtree(trainer.run.folder)
        step(images, labels)

    monkeypatch.setattr(trainer, "_train_step", deletes)
    with pytest.raises(CheckpointError, match=r"last.safetensors: cannot be written .*; the folder .*run is gone"):
        trainer.fit()
    assert not (tmp_path / "run").exists()


FILL = """
import os, pathlib, sys
from minicnn import files
from minicnn.train import TrainArgs, new_run
room = [int(sys.argv[2])]
def write(handle, data, write=os.write):
    if len(data) > room[0]:
        raise OSError(28, "No space left on device")
    room[0] -= len(data)
    return write(handle, data)
if room[0]:
    files.os.write = write
folder = pathlib.Path(sys.argv[1])
new_run(TrainArgs(epochs=1, batch_size=256, checkpoint_every="1", log="csv"), folder / "run", quiet=True).fit()
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mounts a file system in memory")
def test_a_full_disk_keeps_two_checkpoints(tmp_path):
    """A file system of 1.3 MB holds two checkpoints of LeNet-5, not three; pretended where none may be mounted."""
    disk = tmp_path / "disk"
    disk.mkdir()
    script = """
    room=0; mount -t tmpfs -o size=1300k none "$1" || room=1300000
    "$2" -c "$3" "$1" $room; ls -A "$1/run"; cp -r "$1/run" "$4"
    """
    arguments = ["sh", "-c", script, "sh", str(disk), sys.executable, FILL, str(tmp_path / "kept")]
    alone = ["unshare", "--mount", "--map-root-user"]
    may = shutil.which("unshare") and subprocess.run([*alone, "true"], capture_output=True).returncode == 0
    done = subprocess.run(
        [*alone, *arguments] if may else arguments, capture_output=True, encoding="utf-8", timeout=120
    )
    assert "cannot be written (No space left on device)" in done.stderr and "fix: free some space" in done.stderr
    assert ".tmp" not in done.stdout and ".lock" not in done.stdout
    trainer, note = resumed_run(tmp_path / "kept", quiet=True)
    assert trainer.step > 0 and "damaged" not in note
