"""Small files in the true formats of MNIST, CIFAR and SVHN, made from arrays."""

import gzip
import hashlib
import io
import struct
import tarfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from scipy.io import savemat

from minicnn.data.download import RemoteFile

TEN = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def idx(array: np.ndarray) -> bytes:
    """An array of bytes as an IDX file."""
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


def records(pixels: np.ndarray, *labels: np.ndarray) -> bytes:
    """CIFAR's records: one or two labels, then the pixels, (N, 3, 32, 32)."""
    columns = [np.asarray(numbers, np.uint8)[:, None] for numbers in labels]
    return np.hstack([*columns, pixels.reshape(len(pixels), -1)]).astype(np.uint8).tobytes()


def tar(members: Iterable[tuple[tarfile.TarInfo | str, bytes]]) -> bytes:
    """A tar archive of named contents, uncompressed."""
    target = io.BytesIO()
    with tarfile.TarFile(fileobj=target, mode="w") as archive:
        for member, content in members:
            entry = tarfile.TarInfo(member) if isinstance(member, str) else member
            if not entry.linkname and entry.isreg():
                entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return target.getvalue()


def pixels(count: int, seed: int = 0) -> np.ndarray:
    """Random images (N, 3, 32, 32)."""
    return np.random.default_rng(seed).integers(0, 256, (count, 3, 32, 32)).astype(np.uint8)


def cifar10_members(count: int = 20) -> list[tuple[str, bytes]]:
    """What CIFAR-10's archive holds, with ``count`` images a file; image ``i`` has label ``i % 10``."""
    labels = np.arange(count) % 10
    names = [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]
    members = [(name, records(pixels(count, seed), labels)) for seed, name in enumerate(names)]
    members += [("batches.meta.txt", "\n".join([*TEN, "\n"]).encode()), ("readme.html", b"<a>")]
    return [(f"cifar-10-batches-bin/{name}", content) for name, content in members]


def cifar100_members(count: int = 200) -> list[tuple[str, bytes]]:
    """What CIFAR-100's archive holds; image ``i`` has the fine label ``i % 100``."""
    fine = np.arange(count) % 100
    members = [
        (f"{name}.bin", records(pixels(count, seed), fine // 5, fine)) for seed, name in enumerate(("train", "test"))
    ]
    members += [("fine_label_names.txt", "\n".join(f"thing_{i}" for i in range(100)).encode())]
    return [(f"cifar-100-binary/{name}", content) for name, content in members]


def mat(images: np.ndarray, labels: np.ndarray, compress: bool = True) -> bytes:
    """SVHN's MATLAB file: X (32, 32, 3, N), y (N, 1)."""
    target = io.BytesIO()
    savemat(target, {"X": images.transpose(2, 3, 1, 0), "y": labels[:, None]}, do_compression=compress)
    return target.getvalue()


def put(folder: Path, name: str, content: bytes, packed: bool = False, urls: tuple[str, ...] = ()) -> RemoteFile:
    """Write a file where the cache folder ``folder`` keeps it, and say what it is."""
    content = gzip.compress(content, 1) if packed else content
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return RemoteFile(name, len(content), hashlib.sha256(content).hexdigest(), urls)
