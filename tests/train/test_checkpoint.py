"""Checkpoints: what was written comes back, or the reader is told what is wrong and what is left."""

import errno
import os
from itertools import product

import numpy as np
import pytest

from minicnn.errors import CheckpointError
from minicnn.train import checkpoint
from minicnn.train.checkpoint import load_checkpoint, load_newest, previous_of, save_checkpoint

ARRAYS = {"model/w": np.arange(6.0).reshape(2, 3), "model/n": np.array(3, np.int64), "model/h": np.ones(2, np.float32)}
STATE = {"epoch": 3, "rows": [{"loss": 0.1}], "text": "ä"}


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "last.safetensors"
    save_checkpoint(path, ARRAYS, STATE)
    return path


def test_round_trip_keeps_every_bit(saved):
    found = load_checkpoint(saved)
    assert found.state == STATE
    assert found.arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert found.arrays[name].dtype == array.dtype
        assert found.arrays[name].shape == array.shape
        assert np.array_equal(found.arrays[name], array)


def test_non_contiguous_arrays_are_saved_by_value(tmp_path):
    square = np.arange(12.0).reshape(3, 4)
    arrays = {"t": square.T, "every_other": square[:, ::2], "backwards": square[::-1]}
    save_checkpoint(tmp_path / "a.safetensors", arrays, {})
    found = load_checkpoint(tmp_path / "a.safetensors").arrays
    for name, array in arrays.items():
        assert np.array_equal(found[name], array), name


def test_the_previous_checkpoint_is_kept(saved):
    save_checkpoint(saved, ARRAYS, {"epoch": 4})
    assert load_checkpoint(saved).state == {"epoch": 4}
    assert load_checkpoint(previous_of(saved)).state == STATE
    assert sorted(path.name for path in saved.parent.iterdir()) == ["last.previous.safetensors", "last.safetensors"]


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_truncated_file_is_refused_and_the_previous_one_found(saved, share):
    save_checkpoint(saved, ARRAYS, {"epoch": 4})
    content = saved.read_bytes()
    saved.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(CheckpointError, match=r"last.safetensors: damaged.*last.previous.safetensors"):
        load_checkpoint(saved)
    found, note = load_newest(saved)
    assert found.state == STATE and "going on from last.previous.safetensors" in note


def test_every_flipped_byte_is_noticed(saved):
    """Neither the tensors nor the state can change unseen (safetensors alone loads flipped bits silently)."""
    content = saved.read_bytes()
    for position, bit in product(range(len(content)), (0x01, 0x10)):  # every byte: the header's order is not fixed
        changed = bytearray(content)
        changed[position] ^= bit
        saved.write_bytes(bytes(changed))
        try:
            found = load_checkpoint(saved)
        except CheckpointError:
            continue
        # a flip in padding or in an unread field may pass, but nothing that is read may differ
        assert found.state == STATE
        assert all(np.array_equal(found.arrays[name], ARRAYS[name]) for name in ARRAYS), (position, bit)


def test_full_disk_keeps_the_old_file_and_leaves_no_litter(saved, monkeypatch):
    def no_space(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(CheckpointError, match=r"cannot be written \(No space left on device\).*untouched.*fix"):
        save_checkpoint(saved, ARRAYS, {"epoch": 9})
    monkeypatch.undo()
    assert load_checkpoint(saved).state == STATE
    assert [path.name for path in saved.parent.iterdir()] == ["last.safetensors"]


def test_a_kill_between_the_two_renames_leaves_the_previous(saved, monkeypatch):
    replace, calls = os.replace, []

    def killed(source, target):
        if calls:
            raise KeyboardInterrupt
        calls.append(target)
        replace(source, target)

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(saved, ARRAYS, {"epoch": 9})
    monkeypatch.undo()
    found, note = load_newest(saved)
    assert found.state == STATE and "no such file" in note


def test_foreign_files_are_refused(tmp_path, saved, monkeypatch):
    from safetensors.numpy import save_file

    foreign = tmp_path / "other.safetensors"
    save_file({"a": np.ones(3)}, foreign)
    with pytest.raises(CheckpointError, match="not a checkpoint that minicnn wrote"):
        load_checkpoint(foreign)
    with pytest.raises(CheckpointError, match="there is no such file; fix"):
        load_checkpoint(tmp_path / "missing.safetensors")
    monkeypatch.setattr(checkpoint, "VERSION", 0)
    with pytest.raises(CheckpointError, match=r"format version 1, this minicnn reads up to 0; fix: upgrade"):
        load_checkpoint(saved)
