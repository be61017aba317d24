"""CIFAR-10 and CIFAR-100, from their binary version: no pickle is ever opened.

**See** A. Krizhevsky, "Learning multiple layers of features from tiny images", 2009; https://www.cs.toronto.edu/~kriz/cifar.html
says what the files hold.
"""

from pathlib import Path

import numpy as np

from minicnn.data.archives import read_members
from minicnn.data.byte_images import Arrays, ByteImages, part
from minicnn.data.download import RemoteFile, fetch
from minicnn.errors import DataError

PIXELS = 3 * 32 * 32
LIMIT = 200_000_000  # bytes that an archive may unpack to; CIFAR-10 has 184 million

# Addresses, sizes and SHA-256: url_checksums/cifar10.txt and cifar100.txt of github.com/tensorflow/datasets.
CIFAR10 = RemoteFile(
    "cifar-10-binary.tar.gz",
    170052171,
    "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    ("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",),
)
CIFAR100 = RemoteFile(
    "cifar-100-binary.tar.gz",
    168513733,
    "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
    ("https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",),
)


def cifar10(split: str = "train", size: int = 32) -> ByteImages:
    """Return a part of CIFAR-10: 45,000 ``train``, 5,000 ``val`` or 10,000 ``test`` images, downloaded when first used.

    **Shapes**: images (N, 3, size, size), scaled bilinearly from 32x32.
    """
    return part("cifar10", split, size, _read_cifar10)


def cifar100(split: str = "train", size: int = 32) -> ByteImages:
    """Return a part of CIFAR-100, with its 100 fine classes; counts and shapes as in `cifar10`."""
    return part("cifar100", split, size, _read_cifar100)


def _read_cifar10() -> tuple[Arrays, Arrays, tuple[str, ...]]:
    return read_cifar10(fetch(CIFAR10))


def _read_cifar100() -> tuple[Arrays, Arrays, tuple[str, ...]]:
    return read_cifar100(fetch(CIFAR100))


def read_cifar10(path: Path) -> tuple[Arrays, Arrays, tuple[str, ...]]:
    """Read training and test images (N, 3, 32, 32), their labels, and the ten names."""
    folder = "cifar-10-batches-bin/"
    train = [f"{folder}data_batch_{i}.bin" for i in range(1, 6)]
    test, names = f"{folder}test_batch.bin", f"{folder}batches.meta.txt"
    members = read_members(path, dict.fromkeys((*train, test), 10_000 * (1 + PIXELS)) | {names: 1000}, LIMIT)
    classes = class_names(members[names], 10, f"{path}: {names}")
    batches = [records(members[name], 1, 10, f"{path}: {name}") for name in train]
    pixels, labels = (np.concatenate(arrays) for arrays in zip(*batches, strict=True))
    return (pixels, labels), records(members[test], 1, 10, f"{path}: {test}"), classes


def read_cifar100(path: Path) -> tuple[Arrays, Arrays, tuple[str, ...]]:
    """Read training and test images (N, 3, 32, 32), their fine labels, and the hundred names."""
    train, test, names = (f"cifar-100-binary/{name}" for name in ("train.bin", "test.bin", "fine_label_names.txt"))
    most = 50_000 * (2 + PIXELS)
    members = read_members(path, {train: most, test: most, names: 10_000}, LIMIT)
    classes = class_names(members[names], 100, f"{path}: {names}")
    return (
        records(members[train], 2, 100, f"{path}: {train}"),
        records(members[test], 2, 100, f"{path}: {test}"),
        classes,
    )


def records(content: bytes, label_bytes: int, classes: int, where: str) -> Arrays:
    """Take records apart: ``label_bytes`` labels, of which the last counts, then three planes of 32x32."""
    width = label_bytes + PIXELS
    if not content or len(content) % width:
        raise DataError(f"data: {where} has {len(content):,} bytes, expected a multiple of {width:,}, a record each")
    table = np.frombuffer(content, np.uint8).reshape(-1, width)
    labels = table[:, label_bytes - 1].astype(np.int64)
    wrong = np.flatnonzero(labels >= classes)
    if wrong.size:
        raise DataError(
            f"data: {where}: label {labels[wrong[0]]} of sample {wrong[0]} is out of range; "
            f"{classes} classes allow 0 to {classes - 1}"
        )
    return table[:, label_bytes:].reshape(-1, 3, 32, 32), labels


def class_names(content: bytes, count: int, where: str) -> tuple[str, ...]:
    """The names of the classes, one a line."""
    try:
        names = tuple(content.decode("ascii").split())
    except UnicodeDecodeError as error:
        raise DataError(f"data: {where} is not plain text ({error})") from error
    if len(set(names)) != count or len(names) != count or not all(name.isprintable() for name in names):
        raise DataError(f"data: {where} has {len(names)} names, expected {count} different ones, one a line")
    return names
