"""What ``torch.save`` wrote, read without torch and without trust.

A ``.pth`` is a pickle, and a pickle is a program. The reader knows a dozen names (dictionaries, storage types, the
functions that rebuild a tensor) and refuses every other, so nothing else can be called; storages are only copied into
arrays after their sizes have been checked against the file.

Two containers: a zip archive (torch 1.6 and later) with ``data.pkl`` and one member a storage, and the older stream of
pickles followed by the raw storages.
"""

import collections
import io
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from minicnn.errors import CheckpointError

MAGIC = 0x1950A86A20F9469CFC6C  # the first pickle of the stream container
_DTYPES = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "BFloat16Storage": "<u2",  # the upper halves of floats: widened below
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}
# A tensor may repeat its storage (stride 0); beyond this many bytes that is an attack, not a weight.
EXPANDED_BYTES = 64 << 20


class StorageType(NamedTuple):
    """``torch.FloatStorage`` and its like: only the name matters."""

    name: str


class Storage(NamedTuple):
    """A flat array, maybe not yet read: its key, its element type and how many there are."""

    key: str
    kind: str
    numel: int


class LazyTensor(NamedTuple):
    """A tensor as the pickle describes it: a window on a storage."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _rebuild_tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> LazyTensor:
    """``torch._utils._rebuild_tensor`` and ``_v2``; gradient flags and hooks are left out."""
    numbers = (offset, *shape, *strides)
    if not isinstance(storage, Storage) or not all(type(n) is int and n >= 0 for n in numbers):
        raise pickle.UnpicklingError("a tensor without a storage, or with sizes that are not whole numbers")
    return LazyTensor(storage, offset, tuple(shape), tuple(strides))


def _rebuild_parameter(data: Any, *_: Any) -> Any:
    return data


_ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("torch", "Size"): lambda sizes=(): tuple(sizes),
}


class _Reader(pickle.Unpickler):
    """Builds dictionaries, numbers and ``LazyTensor`` s; every other name is refused."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _ALLOWED:
            return _ALLOWED[(module, name)]
        if module in ("torch", "torch.storage", "torch.cuda") and name in _DTYPES:
            return StorageType(name)
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no weights need; nothing was run")

    def persistent_load(self, saved: Any) -> Storage:
        kind, storage_type, key, _, numel, *view = saved
        if kind != "storage" or not isinstance(storage_type, StorageType) or type(numel) is not int or numel < 0:
            raise pickle.UnpicklingError(f"unknown persistent object {str(saved)[:80]}")
        if view and view[0] is not None:
            raise pickle.UnpicklingError("views of storages (written before torch 0.4) are not supported")
        return Storage(str(key), storage_type.name, numel)


def is_torch_stream(head: bytes) -> bool:
    """Whether ``head`` begins as the older container does: with the pickled magic number."""
    return head.startswith(b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.")


def load_torch(path: Path) -> Any:
    """The object in the file, with NumPy arrays for tensors. **Raises** CheckpointError for everything else."""
    try:
        return _from_zip(path) if _starts_as_zip(path) else _from_stream(path)
    except (zipfile.BadZipFile, NotImplementedError) as error:
        raise CheckpointError(f"weights: {path} is a damaged or truncated archive: {error}") from None
    except RecursionError:
        raise CheckpointError(f"weights: {path} is nested too deeply for a file of weights") from None
    except Exception as error:  # altered bytes, read as a pickle or a zip, can raise anything
        raise CheckpointError(f"weights: {path} is not a usable file of torch.save: {error}") from None


def _starts_as_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"PK"


def _from_zip(path: Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        folder = _checked_folder(archive, path.stat().st_size)
        content = _Reader(io.BytesIO(archive.read(folder + "data.pkl"))).load()
        return _with_arrays(content, lambda storage: archive.read(f"{folder}data/{storage.key}"), {})


def _checked_folder(archive: zipfile.ZipFile, size: int) -> str:
    """The folder inside the archive that holds data.pkl, once nothing can unpack to more than the file's ``size``."""
    members = {info.filename: info for info in archive.infolist()}
    if any(info.compress_type != zipfile.ZIP_STORED for info in members.values()):
        raise ValueError("its members are compressed, and torch.save never compresses")
    if sum(info.file_size for info in members.values()) > size:
        raise ValueError("its members overlap: they are larger than the file")
    pickles = [name for name in members if name.count("/") <= 1 and name.rpartition("/")[2] == "data.pkl"]
    if len(pickles) != 1:
        raise ValueError("a zip archive without one data.pkl: no file of torch.save (a TorchScript module, a folder?)")
    folder = pickles[0].removesuffix("data.pkl")
    order = archive.read(folder + "byteorder") if folder + "byteorder" in members else b"little"
    if order != b"little":
        raise ValueError(f"written on a {order[:10].decode(errors='replace')}-endian machine, which is not supported")
    return folder


def _from_stream(path: Path) -> Any:
    """Magic number, protocol version, system facts, the object, the storages' keys; then the storages one by one."""
    with path.open("rb") as file:
        magic, version, system = (_Reader(file).load() for _ in range(3))
        if magic != MAGIC or version != 1001 or not system.get("little_endian", True):
            raise ValueError("not the stream container, or of a version or byte order that is not supported")
        content, keys = _Reader(file).load(), _Reader(file).load()
        kinds = {storage.key: storage for storage in _storages(content)}
        raw: dict[str, bytes] = {}
        for key in keys:
            (numel,) = struct.unpack("<q", file.read(8))
            storage = kinds.get(str(key))
            size = numel * np.dtype(_DTYPES[storage.kind]).itemsize if storage else 0
            if storage is None or numel < 0 or size > path.stat().st_size:
                raise ValueError("the list of storages does not fit the tensors")
            raw[str(key)] = file.read(size)
    return _with_arrays(content, lambda storage: raw[storage.key], {})


def _storages(value: Any) -> list[Storage]:
    if isinstance(value, LazyTensor):
        return [value.storage]
    if isinstance(value, dict):
        return [storage for item in value.values() for storage in _storages(item)]
    return [s for item in value for s in _storages(item)] if isinstance(value, (list, tuple)) else []


def _with_arrays(value: Any, raw: Callable[[Storage], bytes], seen: dict[str, np.ndarray]) -> Any:
    """``value`` with an array for every tensor; tensors that share a storage are copied apart."""
    if isinstance(value, LazyTensor):
        return _array(value, raw, seen)
    if isinstance(value, dict):
        return {key: _with_arrays(item, raw, seen) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_with_arrays(item, raw, seen) for item in value)
    return value


def _array(tensor: LazyTensor, raw: Callable[[Storage], bytes], seen: dict[str, np.ndarray]) -> np.ndarray:
    storage, dtype = tensor.storage, np.dtype(_DTYPES[tensor.storage.kind])
    if storage.key not in seen:
        data = raw(storage)
        if len(data) != storage.numel * dtype.itemsize:
            raise ValueError(f"storage {storage.key} has {len(data)} bytes, expected {storage.numel * dtype.itemsize}")
        seen[storage.key] = np.frombuffer(data, dtype)
    flat = seen[storage.key]
    size = int(np.prod([int(s) for s in tensor.shape], dtype=object)) if tensor.shape else 1
    last = tensor.offset + sum((n - 1) * step for n, step in zip(tensor.shape, tensor.strides, strict=True))
    if (size and last >= flat.size) or size * dtype.itemsize > max(EXPANDED_BYTES, flat.nbytes):
        raise ValueError(f"a tensor of shape {tensor.shape} does not fit its storage of {flat.size} elements")
    if not size:
        return np.zeros(tensor.shape, dtype)
    strides = tuple(step * dtype.itemsize for step in tensor.strides)
    view = np.lib.stride_tricks.as_strided(flat[tensor.offset :], tensor.shape, strides, writeable=False)
    if storage.kind == "BFloat16Storage":
        return (view.astype(np.uint32) << 16).view(np.float32)
    return view.copy()
