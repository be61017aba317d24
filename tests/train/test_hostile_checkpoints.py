"""Checkpoint files that are broken, forged or something else: refused by name, whatever they hold."""

import errno
import gzip
import io
import json
import pickle
import zipfile

import numpy as np
import pytest

from minicnn.errors import CheckpointError
from minicnn.train.checkpoint import FORMAT, VERSION, digest, load_checkpoint, load_newest, save_checkpoint
from tests.train.hostile import NO_FILES, no_file, put_together, refused, taken_apart, unix_only

ARRAYS = {
    "model/weight": np.arange(600, dtype=np.float32).reshape(20, 30),
    "model/bias": np.arange(7, dtype=np.float64),
    "average/updates": np.asarray(3, np.int64),
}
STATE = {"epoch": 3, "rows": [{"loss": 0.25}], "text": "naïve"}
rng = np.random.default_rng(5)


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    path = tmp_path_factory.mktemp("good") / "last.safetensors"
    save_checkpoint(path, ARRAYS, STATE)
    return path.read_bytes()


def check(tmp_path, content):
    path = tmp_path / "last.safetensors"
    path.write_bytes(content)
    refused(lambda: load_checkpoint(path), CheckpointError, path)
    refused(lambda: load_newest(path), CheckpointError, path)


@pytest.mark.parametrize("share", [0, *(k / 30 for k in range(1, 30)), 0.9999])
def test_truncated(tmp_path, good, share):
    check(tmp_path, good[: int(share * len(good))])


@pytest.mark.parametrize("length", range(0, 17))
def test_cut_in_the_first_bytes(tmp_path, good, length):
    check(tmp_path, good[:length])


@pytest.mark.parametrize("place", rng.random(30))
def test_a_bit_of_the_header_flipped(tmp_path, good, place):
    header = 8 + int.from_bytes(good[:8], "little")
    check(tmp_path, flipped(good, int(place * header * 8)))


@pytest.mark.parametrize("place", rng.random(30))
def test_a_bit_of_the_data_flipped(tmp_path, good, place):
    header = 8 + int.from_bytes(good[:8], "little")
    check(tmp_path, flipped(good, 8 * header + int(place * (len(good) - header) * 8)))


def flipped(content, bit):
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@pytest.mark.parametrize("extra", [1, 7, 8, 100, 4096, 10**6])
def test_bytes_too_many(tmp_path, good, extra):
    check(tmp_path, good + bytes(extra))


@pytest.mark.parametrize("kind", ["twice", "backwards", "header only", "data first", "zeros", "ones", "noise"])
def test_the_bytes_in_another_order(tmp_path, good, kind):
    header, data = taken_apart(good)
    contents = {
        "twice": good + good,
        "backwards": good[::-1],
        "header only": put_together(header, b""),
        "data first": data + good[: -len(data)],
        "zeros": bytes(len(good)),
        "ones": b"\xff" * len(good),
        "noise": np.random.default_rng(0).bytes(len(good)),
    }
    check(tmp_path, contents[kind])


HEADER_LENGTHS = [
    0,
    1,
    2,
    8,
    100,
    10**4,
    10**6,
    10**8,
    10**8 + 1,
    2**31,
    2**32,
    2**40,
    2**62,
    2**63,
    2**64 - 8,
    2**64 - 1,
]


@pytest.mark.parametrize("length", HEADER_LENGTHS)
def test_a_header_of_another_length(tmp_path, good, length):
    check(tmp_path, length.to_bytes(8, "little") + good[8:])


def test_a_long_file_of_nothing(tmp_path):
    """200 MB that lie nowhere: a header of 90 MB of zeros."""
    path = tmp_path / "last.safetensors"
    with path.open("wb") as file:
        file.write((90 * 10**6).to_bytes(8, "little"))
        file.truncate(200 * 10**6)
    refused(lambda: load_checkpoint(path), CheckpointError, path)


OFFSETS = [
    *([0, 0], [0, 1], [8, 2408], [2400, 0], [-8, 2392], [-2400, 0], [0, 2**62], [0, 2**64], [2**63, 2**63 + 2400]),
    *([0.0, 2400.0], ["0", "2400"], [0], [], [0, 2400, 2400], None, 0, "all", {"begin": 0, "end": 2400}, [[0], [2400]]),
    *([56, 2456], [4, 2404], [2456, 4856], [0, 2399], [1, 2401]),
]


@pytest.mark.parametrize("offsets", OFFSETS, ids=str)
def test_offsets_that_overlap_or_lie_elsewhere(tmp_path, good, offsets):
    header, data = taken_apart(good)
    assert header["model/weight"]["data_offsets"] != offsets
    header["model/weight"]["data_offsets"] = offsets
    check(tmp_path, put_together(header, data))


DTYPES = [
    *("F64", "F16", "BF16", "I32", "U32", "I64", "BOOL", "F8_E4M3", "F8_E5M2", "F7", "f32", "float32", "<f4", ""),
    *("object", "O", None, 32, ["F32"], {"F": 32}, "F32 ", "\x00", "C64"),
]


@pytest.mark.parametrize("dtype", DTYPES, ids=repr)
def test_dtypes_that_are_none_or_another(tmp_path, good, dtype):
    header, data = taken_apart(good)
    header["model/weight"]["dtype"] = dtype
    check(tmp_path, put_together(header, data))


SHAPES = [
    *([30, 20], [600], [20, 30, 1], [1, 20, 30], [20, 31], [20], [], [0], [-20, -30], [-1], [2**32, 2**32], [2**63, 2]),
    *([2**64, 1], [20.0, 30.0], ["20", "30"], [[20, 30]], None, 600, "20x30", {"n": 600}, [20, None], [10**30]),
    [1] * 1000 + [600],
]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: str(shape)[:20])
def test_shapes_that_do_not_fit(tmp_path, good, shape):
    header, data = taken_apart(good)
    header["model/weight"]["shape"] = shape
    check(tmp_path, put_together(header, data))


def names(header, kind):
    """Headers whose tensors have other names, or too few or too many of them."""
    weight = header.pop("model/weight")
    if kind != "missing":
        header[kind] = weight
    return header


@pytest.mark.parametrize(
    "kind",
    ["missing", "model/Weight", "weight", "", "model/weight\x00", "../../etc/passwd", "model/wëight", "x" * 10**5],
)
def test_other_names(tmp_path, good, kind):
    header, data = taken_apart(good)
    check(tmp_path, put_together(names(header, kind[:100]), data))


HEADERS = [
    *(
        b"",
        b" ",
        b"{",
        b"}",
        b"{}",
        b"[]",
        b"null",
        b"1",
        b'"text"',
        b"{]",
        b'{"a":}',
        b"{'a':1}",
        b"\xff\xfe{}",
        b"\x00",
    ),
    *(b'{"__metadata__":{}}', b'{"__metadata__":[]}', b'{"__metadata__":null}', b'{"__metadata__":{"format":1}}'),
    *(b'{"a":' * 100_000, b"[" * 10**6, b'{"a":[' * 1000 + b"]}" * 1000, b'{"a":1' + b"0" * 10**6 + b"}"),
    *(
        b'{"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},' * 2 + b'"b":1}',
        b"\xef\xbb\xbf{}",
        b"{}" + b"\x00" * 8,
    ),
]


@pytest.mark.parametrize("header", HEADERS, ids=lambda header: repr(header[:20]))
def test_headers_that_are_no_table(tmp_path, good, header):
    check(tmp_path, put_together(header, taken_apart(good)[1]))


METADATA = [
    *(
        {"format": ""},
        {"format": "pt"},
        {"format": FORMAT.upper()},
        {"format": None},
        {"format": 1},
        {"format": [FORMAT]},
    ),
    *({"version": "2"}, {"version": "99"}, {"version": "0"}, {"version": "-1"}, {"version": ""}, {"version": "1.0"}),
    *({"version": "١"}, {"version": "9" * 5000}, {"version": 1}, {"version": None}, {"version": " 1"}),
    *({"sha256": ""}, {"sha256": "0" * 64}, {"sha256": None}, {"sha256": "x" * 10**6}, {"sha256": ["0"]}),
    *({"state": ""}, {"state": "{}"}, {"state": None}, {"state": {"epoch": 3}}, {"state": "\ud800"}),
]


@pytest.mark.parametrize("changed", METADATA, ids=lambda changed: str(changed)[:30])
def test_metadata_of_another_kind_or_version(tmp_path, good, changed):
    header, data = taken_apart(good)
    header["__metadata__"] |= changed
    check(tmp_path, put_together(header, data))


@pytest.mark.parametrize("name", ["format", "version", "sha256", "state"])
def test_metadata_that_lacks_something(tmp_path, good, name):
    header, data = taken_apart(good)
    del header["__metadata__"][name]
    check(tmp_path, put_together(header, data))


STATES = [
    *("", "{", "nul", "[]", "null", "3", '"epoch"', "{'epoch': 3}", '{"epoch": 3,}', '{"epoch": 3} x', "NaN", "true"),
    *(
        "[" * 10**5,
        '{"a":' * 10**5,
        "[" * 10**6 + "]" * 10**6,
        '{"epoch": ' + "9" * 10**5 + "}",
        "\x00",
        "{}{}",
        "\ufeff{}",
    ),
]


@pytest.mark.parametrize("text", STATES, ids=lambda text: repr(text[:12]))
def test_states_that_are_no_table_though_their_digest_is_right(tmp_path, text):
    from safetensors.numpy import save

    metadata = {"format": FORMAT, "version": str(VERSION), "state": text, "sha256": digest(ARRAYS, text)}
    check(tmp_path, save(ARRAYS, metadata=metadata))


def other_files():
    """What is given the name of a checkpoint by mistake, or on purpose."""
    zipped, arrays = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"weight": [1.0]}))
    np.savez(arrays, **{"weight": np.ones(3)})
    return {
        "empty": b"",
        "text": b"epoch 3\n" * 100,
        "json": json.dumps({"epoch": 3}).encode(),
        "pickle": pickle.dumps({"weight": [1.0] * 100}),
        "old pickle": pickle.dumps({"weight": [1.0] * 100}, protocol=0),
        "pickle that runs": b"cos\nsystem\n(S'exit 3'\ntR.",
        "torch file": zipped.getvalue(),
        "npz": arrays.getvalue(),
        "gzip": gzip.compress(b"weights" * 100),
        "web page": b"<!DOCTYPE html><html>not found</html>" * 10,
        "lfs pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
        "png": b"\x89PNG\r\n\x1a\n" + bytes(100),
        "hdf5": b"\x89HDF\r\n\x1a\n" + bytes(100),
        "elf": b"\x7fELF" + bytes(100),
        "npy": b"\x93NUMPY\x01\x00" + bytes(100),
    }


@pytest.mark.parametrize("kind", other_files())
def test_other_files_by_that_name(tmp_path, kind):
    check(tmp_path, other_files()[kind])


@unix_only
@pytest.mark.parametrize("kind", NO_FILES)
def test_no_file_at_all(tmp_path, kind):
    path = tmp_path / "last.safetensors"
    no_file(path, kind)
    refused(lambda: load_checkpoint(path), CheckpointError, path)


def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    path = tmp_path / "last.safetensors"
    path.touch()

    def refuse(*args, **kwargs):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("pathlib.Path.open", refuse)
    with pytest.raises(CheckpointError, match=r"cannot be read \(Permission denied\); fix: its permissions"):
        load_checkpoint(path)
