"""Files of torch.save are read without torch: every kind of tensor, both containers; hostile ones get an error."""

import collections
import contextlib
import io
import os
import pickle
import struct
import zipfile

import numpy as np
import pytest

from minicnn import weights
from minicnn.errors import CheckpointError

torch = pytest.importorskip("torch")

CONTAINERS = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "stream"])


def save(content, path, zipped=True):
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


def tensors():
    torch.manual_seed(0)
    base = torch.randn(4, 6)
    return collections.OrderedDict(
        plain=base,
        transposed=base.t(),
        strided=base[1:4:2, ::3],
        offset=base[2],
        scalar=torch.tensor(5),
        empty=torch.zeros(0, 3),
        expanded=torch.arange(3.0).expand(4, 3),
        double=torch.randn(2, 3).double(),
        half=torch.randn(7).half(),
        bfloat16=torch.randn(9).bfloat16(),
        bools=torch.tensor([True, False]),
        small=torch.tensor([1, 255], dtype=torch.uint8),
        parameter=torch.nn.Parameter(torch.randn(3)),
    )


@CONTAINERS
def test_every_kind_of_tensor(tmp_path, zipped):
    expected = tensors()
    found = weights.load(save(expected, tmp_path / "w.pth", zipped))
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        wanted = tensor.detach().float() if tensor.dtype in (torch.bfloat16,) else tensor.detach()
        assert found[name].dtype == wanted.numpy().dtype and found[name].shape == tuple(tensor.shape), name
        assert np.array_equal(found[name], wanted.numpy()), name
        assert found[name].flags.c_contiguous and found[name].flags.writeable


@CONTAINERS
def test_shared_storages_become_arrays_of_their_own(tmp_path, zipped):
    shared = torch.zeros(3)
    found = weights.load(save({"a": shared, "b": shared}, tmp_path / "w.pth", zipped))
    found["a"][0] = 1
    assert found["b"][0] == 0


@CONTAINERS
@pytest.mark.parametrize("wrapper", ["state_dict", "model_state_dict", "model"])
def test_checkpoints_are_unpacked(tmp_path, zipped, wrapper):
    inside = {f"module.{name}": tensor for name, tensor in tensors().items()}
    content = {"epoch": 3, wrapper: inside, "best": 71.5, "optimizer": {"state": {0: {"m": torch.ones(2)}}}}
    assert list(weights.load(save(content, tmp_path / "w.pth", zipped))) == list(tensors())


def test_a_module_state_dict_with_its_metadata(tmp_path):
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    found = weights.load(save(net.state_dict(), tmp_path / "w.pth"))
    assert list(found) == list(net.state_dict()) and found["1.num_batches_tracked"].dtype == np.int64


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@CONTAINERS
def test_a_hostile_pickle_runs_nothing(tmp_path, zipped):
    victim = tmp_path / "executed"
    file = save({"w": torch.ones(2), "x": Evil(victim)}, tmp_path / "w.pth", zipped)
    with pytest.raises(CheckpointError, match=r"asks for \w+\.mkdir, which no weights need; nothing was run"):
        weights.load(file)
    assert not victim.exists()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("builtins", "eval"),
        ("os", "system"),
        ("torch", "load"),
        ("collections", "Counter"),
        ("torch._utils", "_element_size"),
    ],
)
def test_no_other_name_is_reached(tmp_path, module, name):
    file = tmp_path / "w.pth"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("w/data.pkl", f"c{module}\n{name}\n.".encode())
    with pytest.raises(CheckpointError, match=f"asks for {module}.{name}"):
        weights.load(file)


@CONTAINERS
def test_every_truncation_is_an_error(tmp_path, zipped):
    whole = save({"w": torch.arange(50.0), "v": torch.ones(3)}, tmp_path / "w.pth", zipped).read_bytes()
    cut = tmp_path / "cut.pth"
    for length in range(0, len(whole), max(1, len(whole) // 60)):
        cut.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match="weights: "):
            weights.load(cut)


@CONTAINERS
def test_altered_bytes_never_escape_as_other_errors(tmp_path, zipped):
    whole = bytearray(save({"w": torch.arange(8.0), "v": torch.ones(3)}, tmp_path / "w.pth", zipped).read_bytes())
    file, rng = tmp_path / "altered.pth", np.random.default_rng(0)
    for _ in range(150):
        altered = bytearray(whole)
        altered[rng.integers(len(altered))] ^= 1 << rng.integers(8)
        file.write_bytes(altered)
        with contextlib.suppress(CheckpointError):  # a flipped bit inside a number is a number
            weights.load(file)


def hand_made(pickled, folder="w", **members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(f"{folder}/data.pkl", pickled)
        for name, data in members.items():
            archive.writestr(f"{folder}/data/{name}", data)
    return buffer.getvalue()


def tensor_pickle(numel, offset, shape, strides):
    """The pickle of one tensor under "w", its figures chosen freely."""

    class Pickler(pickle._Pickler):
        def persistent_id(self, value):
            return ("storage", torch.FloatStorage, "0", "cpu", numel) if value == "the storage" else None

    class Fake:
        def __reduce__(self):
            return torch._utils._rebuild_tensor_v2, ("the storage", offset, shape, strides, False, {})

    buffer = io.BytesIO()
    Pickler(buffer, 2).dump({"w": Fake()})
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("numel", "offset", "shape", "strides", "match"),
    [
        (4, 0, (5,), (1,), "does not fit its storage of 4"),
        (4, 2, (3,), (1,), "does not fit its storage of 4"),
        (4, 0, (2, 2), (3, 1), "does not fit its storage of 4"),
        (5, 0, (4,), (1,), "has 16 bytes, expected 20"),
        (4, -1, (4,), (1,), "sizes that are not whole numbers"),
        (4, 0, (2,), (-1,), "sizes that are not whole numbers"),
        (4, 0, (1 << 40,), (0,), "does not fit its storage of 4"),
        (4, 0, (4, 1), (1,), "not a usable file"),
    ],
)
def test_tensors_stay_inside_their_storage(tmp_path, numel, offset, shape, strides, match):
    file = tmp_path / "w.pth"
    file.write_bytes(hand_made(tensor_pickle(numel, offset, shape, strides), **{"0": struct.pack("<4f", 1, 2, 3, 4)}))
    with pytest.raises(CheckpointError, match=match):
        weights.load(file)


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path):
    file = tmp_path / "w.pth"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("w/data.pkl", b"\0" * (50 << 20))
    assert file.stat().st_size < 1 << 20
    with pytest.raises(CheckpointError, match=r"compressed, and torch\.save never compresses"):
        weights.load(file)


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html><title>404</title>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
        (b"\x1f\x8b\x08", "gzip"),
        (pickle.dumps({"w": 1}), "a pickle that torch.save did not write"),
        (b"\x93NUMPY\x01\x00", "a NumPy array"),
        (b"just text", "of an unknown kind"),
        (hand_made(b"N."), "holds a NoneType, expected a dict"),
        (hand_made(pickle.dumps({"a": 1}, 2)), "holds no named tensors"),
        (b"PK\x03\x04 and nothing else", "damaged or truncated archive"),
        (struct.pack("<Q", 10**9) + b'{"a": 1}', "damaged safetensors"),
    ],
)
def test_what_is_no_file_of_weights_is_named(tmp_path, data, match):
    file = tmp_path / "weights.pth"
    file.write_bytes(data)
    with pytest.raises(CheckpointError, match=match):
        weights.load(file)


def test_a_missing_file(tmp_path):
    with pytest.raises(CheckpointError, match=r"cannot read .*No such file"):
        weights.load(tmp_path / "none.pth")


def test_safetensors_whatever_the_name(tmp_path):
    from safetensors.numpy import save_file

    file = tmp_path / "weights.pth"
    save_file({"a": np.arange(3.0)}, file)
    assert np.array_equal(weights.load(file)["a"], np.arange(3.0))


def test_deep_nesting_is_refused(tmp_path):
    file = tmp_path / "w.pth"
    file.write_bytes(hand_made(b"]" * 5000 + b"a" * 4999 + b"."))
    with pytest.raises(CheckpointError):
        weights.load(file)
