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

from minicnn.errors import ArgumentError, CheckpointError
from minicnn.files import write_atomically

FORMAT = "minicnn-checkpoint"
VERSION = 1
DTYPES = {
    **{"<f8": "F64", "<f4": "F32", "<f2": "F16", "|b1": "BOOL"},
    **{"<i8": "I64", "<i4": "I32", "<i2": "I16", "|i1": "I8", "<u8": "U64", "<u4": "U32", "<u2": "U16", "|u1": "U8"},
}  # NumPy's names and those of safetensors

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
        total.update(_bytes_of(array))  # in C order, whatever the strides
    return total.hexdigest()


def previous_of(path: Path) -> Path:
    """Where the checkpoint before the one at ``path`` is kept."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def save_checkpoint(path: str | Path, arrays: Arrays, state: dict[str, Any]) -> None:
    """Write a checkpoint atomically; the one that was there before is kept as ``<stem>.previous<suffix>``.

    **Raises** CheckpointError when the file cannot be written (full disk, read-only folder); the old file stays.
    """
    path = Path(path)
    text = json.dumps(state, sort_keys=True)
    packed = {name: _packed(name, array) for name, array in arrays.items()}
    metadata = {"format": FORMAT, "version": str(VERSION), "state": text, "sha256": digest(packed, text)}
    names = sorted(packed, key=lambda name: (-packed[name].itemsize, name))  # each array aligned for its dtype
    try:
        pieces = (_header(packed, names, metadata), *(_bytes_of(packed[name]) for name in names))
        write_atomically(path, pieces, keep=previous_of(path))
    except OSError as error:
        gone = "" if path.parent.is_dir() else f"; the folder {path.parent} is gone"
        raise CheckpointError(
            f"checkpoint {path}: cannot be written ({error.strerror or error}{gone}); the one before it is untouched; "
            "fix: free some space or choose another folder"
        ) from error


def _packed(name: str, array: NDArray[Any]) -> NDArray[Any]:
    """The array as the file holds it: C order, little end first, bfloat16 (exactly) as float32."""
    wide = array.astype(np.float32) if array.dtype.name == "bfloat16" else array
    if wide.dtype.newbyteorder("<").str not in DTYPES:
        raise ArgumentError(f"save_checkpoint: {name} has dtype {array.dtype}, expected one of {', '.join(DTYPES)}")
    # not ascontiguousarray, which gives 0-d arrays a dimension
    return np.asarray(wide, dtype=wide.dtype.newbyteorder("<"), order="C")


def _header(arrays: Arrays, names: list[str], metadata: dict[str, str]) -> bytes:
    """The head of a safetensors file: its length in 8 bytes, JSON with places, spaces up to a multiple of 8.

    The library reads our files, but its ``save_file`` opens and writes by itself, without fsync, and a full disk is
    an error of its own: `write_atomically` must see each of these calls, and the tests let every one of them fail.
    """
    table: dict[str, Any] = {"__metadata__": metadata}
    end = 0
    for name in names:
        begin, end = end, end + arrays[name].nbytes
        dtype = DTYPES[arrays[name].dtype.str]
        table[name] = {"dtype": dtype, "shape": list(arrays[name].shape), "data_offsets": [begin, end]}
    text = json.dumps(table, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _bytes_of(array: NDArray[Any]) -> memoryview:
    """The array's memory in C order, without a copy where it lies so."""
    return array.reshape(-1).view(np.uint8).data


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read and verify a checkpoint.

    **Raises** CheckpointError when the file is missing, truncated, altered, not a checkpoint of minicnn, or written by
    a newer version.
    """
    path = Path(path)
    if not path.is_file():  # a pipe would wait for ever
        what = "it is no ordinary file" if path.exists() else "there is no such file"
        raise CheckpointError(f"checkpoint {path}: {what}; fix: give a run folder or a .safetensors file")
    try:
        path.open("rb").close()  # says why, where the library says that there is no such file
    except OSError as error:
        raise CheckpointError(f"checkpoint {path}: cannot be read ({error.strerror}); fix: its permissions") from error
    metadata, arrays = _read(path)
    if metadata.get("format") != FORMAT:
        raise CheckpointError(f"checkpoint {path}: a safetensors file, but not a checkpoint that minicnn wrote")
    version = metadata.get("version", "")
    if version not in map(str, range(1, VERSION + 1)):
        raise CheckpointError(
            f"checkpoint {path}: format version {version[:20]}, this minicnn reads up to {VERSION}; "
            "fix: upgrade minicnn"
        )
    text = metadata.get("state", "")
    if digest(arrays, text) != metadata.get("sha256"):
        raise CheckpointError(
            f"checkpoint {path}: its content does not match its SHA-256, so it was altered after writing; "
            f"fix: {_remedy(path)}"
        )
    try:
        state = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"checkpoint {path}: its state is no JSON ({error}); fix: {_remedy(path)}") from None
    if not isinstance(state, dict):
        raise CheckpointError(
            f"checkpoint {path}: its state is a {type(state).__name__}, expected a table; fix: {_remedy(path)}"
        )
    return Checkpoint(arrays, state)


def _read(path: Path) -> tuple[dict[str, str], Arrays]:
    """Metadata and arrays of a safetensors file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a dict)
            return file.metadata() or {}, arrays
    except (SafetensorError, OSError, ValueError, TypeError, AttributeError, KeyError) as error:
        # the last three: dtypes that NumPy does not have
        raise CheckpointError(
            f"checkpoint {path}: damaged or not a safetensors file ({error}); fix: {_remedy(path)}"
        ) from error


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
        try:
            return load_checkpoint(previous_of(path)), f"{error}; going on from {previous_of(path).name}"
        except CheckpointError as second:
            raise CheckpointError(f"{error}; but {second}") from None


def put_aside(path: Path) -> None:
    """Rename a damaged checkpoint: the next save keeps what it finds at ``path`` as the previous one."""
    if path.exists():
        os.replace(path, path.with_name(f"{path.stem}.damaged{path.suffix}"))  # noqa: PTH105


def with_prefix(prefix: str, arrays: Arrays) -> Arrays:
    """``{"prefix/name": array}`` for each."""
    return {f"{prefix}/{name}": array for name, array in arrays.items()}


def of_prefix(prefix: str, arrays: Arrays) -> Arrays:
    """The arrays under ``prefix/``, without it."""
    return {name.removeprefix(f"{prefix}/"): a for name, a in arrays.items() if name.startswith(f"{prefix}/")}
