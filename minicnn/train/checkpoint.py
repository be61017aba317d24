"""Checkpoints: one safetensors file that holds everything, written so that a crash cannot lose the last good one.

Arrays are tensors of the file; everything else (epoch, options, random states, metrics) is JSON in the file's
``__metadata__``, with a format version and a SHA-256 over both. Nothing in a checkpoint is ever executed.

Writing: a temporary file beside the target, fsync, the previous checkpoint renamed to ``<stem>.previous``, the new one
renamed into place, fsync of the folder. A reader finds the new file, the previous one, or both; never half a file.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from minicnn.errors import CheckpointError

FORMAT = "minicnn-checkpoint"
VERSION = 1

Arrays = dict[str, NDArray[Any]]


class Checkpoint(NamedTuple):
    """What a checkpoint holds: arrays by name and a JSON-like state."""

    arrays: Arrays
    state: dict[str, Any]


def digest(arrays: Arrays, state: str) -> str:
    """SHA-256 over the state's text and each array's name, dtype, shape and bytes, in name order."""
    total = hashlib.sha256(state.encode())
    for name in sorted(arrays):
        array = arrays[name]
        total.update(f"\0{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        total.update(array.tobytes())  # in C order, whatever the strides
    return total.hexdigest()


def previous_of(path: Path) -> Path:
    """Where the checkpoint before the one at ``path`` is kept."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def save_checkpoint(path: str | Path, arrays: Arrays, state: dict[str, Any]) -> None:
    """Write a checkpoint atomically; the one that was there before is kept as ``<stem>.previous<suffix>``.

    **Raises** CheckpointError when the file cannot be written (full disk, read-only folder); the old file stays.
    """
    from safetensors.numpy import save

    path = Path(path)
    text = json.dumps(state, sort_keys=True)
    # safetensors writes the raw buffer of non-contiguous arrays: wrong values without an error. Not
    # ascontiguousarray, which gives 0-d arrays a dimension.
    # And it reads bfloat16 only where ml_dtypes is loaded: such arrays are stored, exactly, as float32.
    wide = {n: a.astype(np.float32) if a.dtype.name == "bfloat16" else a for n, a in arrays.items()}
    packed = {name: np.asarray(array, order="C") for name, array in wide.items()}
    metadata = {"format": FORMAT, "version": str(VERSION), "state": text, "sha256": digest(packed, text)}
    content = save(packed, metadata=metadata)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            os.replace(path, previous_of(path))  # noqa: PTH105  (same call as below: atomic, overwrites on Windows)
        os.replace(temporary, path)  # noqa: PTH105
        _sync_folder(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise CheckpointError(
            f"checkpoint {path}: cannot be written ({error.strerror or error}); the one before it is untouched; "
            "fix: free some space or choose another folder"
        ) from error


def _sync_folder(folder: Path) -> None:
    """Make the renames durable; Windows has no such call and needs none."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read and verify a checkpoint.

    **Raises** CheckpointError when the file is missing, truncated, altered, not a checkpoint of minicnn, or written by
    a newer version.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.is_file():
        raise CheckpointError(
            f"checkpoint {path}: there is no such file; fix: give a run folder or a .safetensors file"
        )
    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a dict)
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(
            f"checkpoint {path}: damaged or not a safetensors file ({error}); fix: {_remedy(path)}"
        ) from error
    if metadata.get("format") != FORMAT:
        raise CheckpointError(f"checkpoint {path}: a safetensors file, but not a checkpoint that minicnn wrote")
    version = metadata.get("version", "")
    if version.isdecimal() and int(version) > VERSION:
        raise CheckpointError(
            f"checkpoint {path}: format version {version}, this minicnn reads up to {VERSION}; fix: upgrade minicnn"
        )
    text = metadata.get("state", "")
    if digest(arrays, text) != metadata.get("sha256"):
        raise CheckpointError(
            f"checkpoint {path}: its content does not match its SHA-256, so it was altered after writing; "
            f"fix: {_remedy(path)}"
        )
    return Checkpoint(arrays, json.loads(text))


def _remedy(path: Path) -> str:
    if previous_of(path).is_file():
        return f"use {previous_of(path).name} beside it, the checkpoint before"
    return "use another checkpoint of the run, or train again"


def load_newest(path: str | Path) -> tuple[Checkpoint, str]:
    """The checkpoint at ``path``, or the one before it when that cannot be read; with a sentence when it fell back."""
    path = Path(path)
    try:
        return load_checkpoint(path), ""
    except CheckpointError as error:
        if not previous_of(path).is_file():
            raise
        return load_checkpoint(previous_of(path)), f"{error}; going on from {previous_of(path).name}"


def with_prefix(prefix: str, arrays: Arrays) -> Arrays:
    """``{"prefix/name": array}`` for each."""
    return {f"{prefix}/{name}": array for name, array in arrays.items()}


def of_prefix(prefix: str, arrays: Arrays) -> Arrays:
    """The arrays under ``prefix/``, without it."""
    return {name.removeprefix(f"{prefix}/"): a for name, a in arrays.items() if name.startswith(f"{prefix}/")}
