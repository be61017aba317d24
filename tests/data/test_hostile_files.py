"""Broken and hostile archives, IDX, CIFAR and SVHN files: refused by name, quickly, in little memory."""

import gzip
import random
import struct
import tarfile
import zlib
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minicnn.data.archives import read_members
from minicnn.data.cifar import class_names, read_cifar10, read_cifar100, records
from minicnn.data.idx import read_idx, read_pair
from minicnn.data.mat import read_arrays
from minicnn.errors import DataError
from tests.data import published_files as made
from tests.data.bounded import bounded

read_mat = import_module("minicnn.data.svhn").read_mat

IMAGES = made.idx(np.random.default_rng(0).integers(0, 256, (30, 28, 28)))
BATCH = made.records(made.pixels(3), np.arange(3))
WANTED = {"folder/a.bin": 5000, "folder/b.txt": 100}
GOOD = [("folder/a.bin", bytes(range(250)) * 20), ("folder/b.txt", b"one\ntwo\n")]
NUMBERS = (np.arange(12) % 10 + 1).astype(np.uint8)
MAT = made.mat(made.pixels(12), NUMBERS)
PLAIN_MAT = made.mat(made.pixels(12), NUMBERS, compress=False)

Case = tuple[str, bytes]
Read = Callable[[Path], Any]


def cuts(content: bytes, count: int) -> Iterator[Case]:
    for i in range(count):
        length = len(content) * i // count
        yield f"cut at {length}", content[:length]


def flips(content: bytes, count: int, seed: int) -> Iterator[Case]:
    rng = random.Random(seed)
    for i in range(count):
        damaged = bytearray(content)
        at = rng.randrange(len(damaged))
        damaged[at] ^= 1 << rng.randrange(8)
        yield f"bit {i} flipped, at {at}", bytes(damaged)


def idx_headers() -> Iterator[Case]:
    for name, head in {
        "of another type": b"\0\0\x0d\x03",
        "of another count of dimensions": b"\0\0\x08\x02",
        "of labels": b"\0\0\x08\x01",
        "with the magic turned": b"\x03\x08\0\0",
        "with magic of noise": b"abcd",
    }.items():
        yield name, head + IMAGES[4:]
    for shape in ((31, 28, 28), (29, 28, 28), (0, 28, 28), (30, 0, 28), (2**32 - 1,) * 3, (2**31, 1, 1), (2**16,) * 3):
        yield f"that promises {shape}", struct.pack(">BBBBIII", 0, 0, 8, 3, *shape) + IMAGES[16:]
    yield "with a byte too many", IMAGES + b"x"
    yield "with negative counts", b"\0\0\x08\x03" + struct.pack(">iii", -30, 28, 28) + IMAGES[16:]


def idx_packed() -> Iterator[Case]:
    packed = gzip.compress(IMAGES, mtime=0)
    yield from cuts(packed, 8)
    yield "a bomb", gzip.compress(IMAGES + bytes(30_000_000), 1)
    yield (
        "a bomb that its header promises",
        gzip.compress(struct.pack(">BBBBIII", 0, 0, 8, 3, 2**28, 1, 1) + bytes(10**6)),
    )
    yield "with a wrong checksum", packed[:-8] + b"\0\0\0\0" + packed[-4:]
    yield "with a wrong length", packed[:-4] + b"\1\1\1\1"
    yield "with bytes behind it", packed + b"garbage"
    yield "packed twice", gzip.compress(packed)
    yield "two in a row", packed + packed
    yield "of no data", gzip.compress(b"")
    yield "only its magic", b"\x1f\x8b"


def special(kind: bytes, link: str = "") -> tarfile.TarInfo:
    entry = tarfile.TarInfo("folder/a.bin")
    entry.type, entry.linkname, entry.devmajor = kind, link, 1
    return entry


def tars() -> Iterator[Case]:
    """Archives whose wanted members are missing, doubled, or no plain files; names that lead elsewhere."""
    yield "of nothing", gzip.compress(made.tar([]))
    yield "without the second member", packed(GOOD[:1])
    yield "with a member twice", packed([*GOOD, GOOD[0]])
    yield "with a member too long", packed([("folder/a.bin", bytes(5001)), GOOD[1]])
    yield "with a link to the outside", packed([(special(tarfile.SYMTYPE, "/etc/passwd"), b""), GOOD[1]])
    yield "with a hard link", packed([(special(tarfile.LNKTYPE, "../../etc/passwd"), b""), GOOD[1]])
    yield "with a character device", packed([(special(tarfile.CHRTYPE), b""), GOOD[1]])
    yield "with a block device", packed([(special(tarfile.BLKTYPE), b""), GOOD[1]])
    yield "with a pipe", packed([(special(tarfile.FIFOTYPE), b""), GOOD[1]])
    yield "with a folder for a file", packed([(special(tarfile.DIRTYPE), b""), GOOD[1]])
    for name in ("../folder/a.bin", "/folder/a.bin", "folder/../folder/a.bin", "folder//a.bin", "FOLDER/a.bin", "a.bin",
                 "folder/a.bin\n", "folder\\a.bin", "x/" * 60 + "folder/a.bin", "folder/\u202ea.bin"):  # fmt: skip
        yield f"that calls it {name!r}", packed([(name, GOOD[0][1]), GOOD[1]])
    yield "with a bomb beside", packed([("bomb", bytes(30_000_000)), *GOOD])
    yield "with a bomb for a name", packed([("n" * 3_000_000, b""), *GOOD])
    yield "that is not packed", made.tar(GOOD)
    yield "that is a zip", b"PK\x03\x04" + bytes(500)
    yield "of zeros", gzip.compress(bytes(30_000_000))
    yield "of noise", gzip.compress(random.Random(3).randbytes(20_000))
    yield "with a negative size", gzip.compress(resized(b"\xff" * 12))
    yield "with a size of 8 EB", gzip.compress(resized(b"\x80\0\0\0" + b"\x7f" + b"\xff" * 7))


def resized(size: bytes) -> bytes:
    """An archive whose first member's size field is replaced, its checksum mended."""
    content = bytearray(made.tar(GOOD))
    content[124:136] = size
    content[148:156] = b" " * 8
    content[148:156] = b"%06o\0 " % sum(content[:512])
    return bytes(content)


def packed(members: Any) -> bytes:
    return gzip.compress(made.tar(members), 1)


def packed_cuts() -> Iterator[Case]:
    # the last bytes of an archive are padding: what is wanted is whole without them
    content = gzip.compress(made.tar(GOOD))
    yield from ((name, part) for name, part in cuts(content, 12) if len(part) < len(content) * 0.8)


def cifar() -> Iterator[Case]:
    good = dict(made.cifar10_members(3))

    def without(**changed: bytes) -> bytes:
        renamed = {f"cifar-10-batches-bin/{name.replace('__', '.')}": content for name, content in changed.items()}
        return packed(list((good | renamed).items()))

    yield "with an empty batch", without(data_batch_1__bin=b"")
    yield "with a byte too few", without(data_batch_2__bin=BATCH[:-1])
    yield "with a byte too many", without(test_batch__bin=BATCH + b"x")
    yield "with a label of 10", without(data_batch_3__bin=made.records(made.pixels(3), np.array([0, 10, 1])))
    yield "with a label of 255", without(test_batch__bin=b"\xff" * 3073)
    yield "with a batch too long", without(data_batch_5__bin=bytes(3073 * 10_001))
    yield "with nine names", without(batches__meta__txt=b"\n".join(b"n%d" % i for i in range(9)))
    yield "with a name twice", without(batches__meta__txt=b"\n".join(b"n%d" % (i % 9) for i in range(10)))
    yield "with names of noise", without(batches__meta__txt=b"\xff\xfe\n" * 10)
    yield "with names that steer terminals", without(batches__meta__txt=b"\n".join(b"\x1b[3%dm" % i for i in range(10)))
    yield "with a page of names", without(batches__meta__txt=b"name\n" * 1000)
    yield "of CIFAR-100", packed(made.cifar100_members(2))


def mats() -> Iterator[Case]:
    pixels, labels = made.pixels(12), NUMBERS
    yield "with a label of 0", made.mat(pixels, labels * 0)
    yield "with a label of 11", made.mat(pixels, labels + 1)
    yield "with labels of 255", made.mat(pixels, np.full(12, 255, np.uint8))
    yield "with a label that is no number", made.mat(pixels, np.where(labels == 3, np.nan, labels))
    yield "with a label of one half", made.mat(pixels, labels - 0.5)
    yield "with endless labels", made.mat(pixels, np.full(12, np.inf))
    yield "with a label too few", made.mat(pixels, labels[:-1])
    yield "with labels of text", made.mat(pixels, np.array(["a"] * 12))
    yield "of grey images", made.mat(pixels[:, :1], labels)
    yield "of smaller images", made.mat(pixels[..., :16], labels)
    yield "of floating-point images", made.mat(pixels / 255.0, labels)
    yield "of no images", made.mat(pixels[:0], labels[:0])
    yield "of the next version", MAT.replace(b"MATLAB 5.0", b"MATLAB 7.3")
    yield "of text", b"MATLAB 5.0 MAT-file, but only so far".ljust(200)
    yield "of a header alone", MAT[:128]
    yield "without X", MAT[:128] + MAT[136 + struct.unpack("<I", MAT[132:136])[0] :]
    yield "with a bomb", MAT[:128] + element(15, zlib.compress(element(14, bytes(30_000_000)), 9))
    for what, dims in (
        ("huge", (32, 32, 3, 2**31 - 1)),
        ("negative", (32, 32, 3, -1)),
        ("overflowing", (2**31 - 1,) * 4),
    ):
        yield f"with {what} dimensions", PLAIN_MAT.replace(struct.pack("<4i", 32, 32, 3, 12), struct.pack("<4i", *dims))
    size = struct.pack("<II", 2, 12 * 3072)  # the tag of X's bytes
    for count in (2**32 - 1, 2**31, 10**9, 12 * 3072 - 1, 0):
        yield f"whose X claims {count} bytes", PLAIN_MAT.replace(size, struct.pack("<II", 2, count))


def element(kind: int, content: bytes) -> bytes:
    return struct.pack("<II", kind, len(content)) + content


def idx_reader(path: Path) -> Any:
    return read_idx(path, 3)


def tar_reader(path: Path) -> Any:
    return read_members(path, WANTED, 1_000_000)


CASES: dict[str, tuple[Read, list[Case]]] = {
    "IDX cut": (idx_reader, [*cuts(IMAGES, 12)]),
    "IDX header": (idx_reader, [*idx_headers()]),
    "IDX packed": (idx_reader, [*idx_packed()]),
    "tar": (tar_reader, [*tars()]),
    "tar cut": (tar_reader, [*packed_cuts()]),
    "tar bits": (tar_reader, [*flips(gzip.compress(made.tar(GOOD))[10:], 10, 5)]),
    "CIFAR": (read_cifar10, [*cifar()]),
    "CIFAR-100": (read_cifar100, [("of CIFAR-10", packed(made.cifar10_members(2))), ("of nothing", b"")]),
    "SVHN": (read_mat, [*mats()]),
    "SVHN cut": (read_mat, [*cuts(MAT, 10)]),
    "SVHN plain cut": (read_mat, [*cuts(PLAIN_MAT, 10)]),
}


@pytest.mark.parametrize(
    ("read", "content"),
    [
        pytest.param(read, content, id=f"{kind}: {name.encode('unicode_escape').decode()[:60]}")
        for kind, (read, cases) in CASES.items()
        for name, content in cases
    ],
)
def test_hostile_file(tmp_path: Path, read: Read, content: bytes) -> None:
    path = tmp_path / "some file.bin"
    path.write_bytes(content)
    with bounded(path), pytest.raises(DataError) as caught:
        read(path)
    text = str(caught.value)
    assert str(path) in text and len(text) < len(str(path)) + 400


def test_what_is_not_hostile_is_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for content, read in (
        (IMAGES, idx_reader),
        (gzip.compress(IMAGES), idx_reader),
        (MAT, read_mat),
        (PLAIN_MAT, read_mat),
    ):
        path.write_bytes(content)
        read(path)
    path.write_bytes(packed([("./folder/a.bin", GOOD[0][1]), ("other", b"x"), GOOD[1], ("../../outside", b"x")]))
    assert tar_reader(path) == dict(GOOD)
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.arange(29), "30 images, but .*labels has 29 labels"),
        (np.arange(30), "label 10 of sample 10 is out of range; 10 classes allow 0 to 9"),
        (np.full(30, 255), "label 255 of sample 0 is out of range"),
    ],
)
def test_labels_must_fit(tmp_path: Path, labels: np.ndarray, message: str) -> None:
    (tmp_path / "images").write_bytes(IMAGES)
    (tmp_path / "labels").write_bytes(made.idx(labels))
    with pytest.raises(DataError, match=message):
        read_pair(tmp_path / "images", tmp_path / "labels", 10)


@pytest.mark.parametrize("members", [[("bomb", bytes(30_000_000)), *GOOD], [("n" * 3_000_000, b""), *GOOD]])
def test_an_archive_is_not_unpacked_without_end(tmp_path: Path, members: list[Case]) -> None:
    (tmp_path / "bomb.tgz").write_bytes(packed(members))
    with pytest.raises(DataError, match=r"bomb\.tgz unpacks to more than 1,000,000 bytes"):
        tar_reader(tmp_path / "bomb.tgz")


def test_a_bomb_in_a_matlab_file_is_not_unpacked(tmp_path: Path) -> None:
    (tmp_path / "bomb.mat").write_bytes(MAT[:128] + element(15, zlib.compress(element(14, bytes(30_000_000)), 9)))
    with pytest.raises(DataError, match=r"bomb\.mat is damaged, or unpacks to more than 1,000,000 bytes"):
        read_arrays(tmp_path / "bomb.mat", 1_000_000)
    with pytest.raises(DataError, match=r"bomb\.mat has more than 1,000 bytes"):
        read_arrays(tmp_path / "bomb.mat", 1000)


def test_labels_of_records_must_fit() -> None:
    with pytest.raises(DataError, match="there: label 100 of sample 1 is out of range; 100 classes allow 0 to 99"):
        records(made.records(made.pixels(2), np.array([1, 2]), np.array([99, 100])), 2, 100, "there")
    with pytest.raises(DataError, match="there has 0 names, expected 3 different ones"):
        class_names(b"", 3, "there")


def test_the_kinds_are_many() -> None:
    counts = [len(cases) for _, cases in CASES.values()]
    assert len(counts) >= 10 and max(counts) <= 40 and sum(counts) >= 130
