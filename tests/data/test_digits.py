"""The shipped digits, their split and how they are scaled."""

import hashlib
import io
import zipfile
from importlib.resources import files

import numpy as np
import pytest

import minicnn.data as data
from minicnn.data.digits import MEAN, SPLITS, STD
from minicnn.data.make_digits import npz_bytes, shares, split_indices
from minicnn.data.resize import resize_bilinear
from minicnn.errors import DataError


def packaged(name: str) -> dict[str, np.ndarray]:
    with (files("minicnn.data") / name).open("rb") as file, np.load(file) as archive:
        return dict(archive)


def sha256(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def test_archive_holds_the_uci_digits() -> None:
    archive = packaged("digits.npz")
    images, labels = archive["images"], archive["labels"]
    assert images.shape == (1797, 8, 8) and images.dtype == labels.dtype == np.uint8
    assert images.min() == 0 and images.max() == 16
    assert np.bincount(labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert sha256(images) == "8f26b2bd9d135c256808f68f14fdabddde6d9c7f869ae419704b051f0f14b3b3"
    assert sha256(labels) == "8ba4f891220f5e4c9c819638d1602d74b83618f167043c6da52a2a247841ddf0"


def test_split_never_changes() -> None:
    parts = packaged("digits_split.npz")
    assert {name: sha256(rows.astype("<i2")) for name, rows in parts.items()} == {
        "train": "5d5352964d9d015935167af9d915348558864ef11c41511904dfbf10f606455b",
        "val": "9908c36a92d2467a954bafbd54bb1eca34bddd4354077841b16cb8a74f395221",
        "test": "e680046ec6516ae31b2104614ee1605dfe1ee6b750c0f622cbd24f9bde1b957b",
    }


def test_split_is_disjoint_complete_and_stratified() -> None:
    labels = packaged("digits.npz")["labels"]
    parts = packaged("digits_split.npz")
    assert {name: len(rows) for name, rows in parts.items()} == {"train": 1077, "val": 360, "test": 360}
    assert sorted(np.concatenate(list(parts.values())).tolist()) == list(range(1797))
    for rows in parts.values():
        fair = np.bincount(labels) * len(rows) / 1797
        assert np.abs(np.bincount(labels[rows]) - fair).max() < 1


def test_script_makes_the_committed_split_and_dateless_archives() -> None:
    made = split_indices(packaged("digits.npz")["labels"])
    for name, rows in packaged("digits_split.npz").items():
        np.testing.assert_array_equal(made[name], rows)
    for name in ("digits.npz", "digits_split.npz"):
        with (files("minicnn.data") / name).open("rb") as file, zipfile.ZipFile(file) as archive:
            assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
            assert {info.create_system for info in archive.infolist()} == {3}
    array = np.arange(6).reshape(2, 3)
    with zipfile.ZipFile(io.BytesIO(npz_bytes(a=array))) as archive:
        assert archive.infolist()[0].date_time == (1980, 1, 1, 0, 0, 0)
    assert npz_bytes(a=array) == npz_bytes(a=np.asfortranarray(array))


def test_shares_sum_to_the_total() -> None:
    assert shares(np.array([5, 3, 2]), 4).tolist() == [2, 1, 1]
    assert shares(np.array([10, 10, 10]), 10).tolist() == [4, 3, 3]


@pytest.mark.parametrize("split", SPLITS)
def test_images_are_normalised_by_the_training_part(split: str) -> None:
    part = data.digits(split)
    rows = packaged("digits_split.npz")[split]
    ink = packaged("digits.npz")["images"][rows, None]
    assert part.images.dtype == np.float32 and part.labels.dtype == np.int64
    assert part.images.shape == (len(rows), 1, 8, 8) == (len(part), *part.shape)
    np.testing.assert_allclose(part.denormalise(part.images) * 16, ink, atol=1e-4)
    np.testing.assert_array_equal(part.labels, packaged("digits.npz")["labels"][rows])


def test_training_part_has_mean_0_and_std_1() -> None:
    images = data.digits("train").images.astype(np.float64)
    assert abs(images.mean()) < 1e-5 and abs(images.std() - 1) < 1e-5


@pytest.mark.parametrize(("size", "margin"), [(8, 0), (15, 0), (16, 2), (28, 3), (32, 4)])
def test_large_digits_have_a_frame(size: int, margin: int) -> None:
    np.testing.assert_array_equal(data.digits("val", size).images, data.digits("val", size, margin).images)


def test_size_and_margin() -> None:
    small, large = data.digits("val", size=8), data.digits("val", size=28, margin=2)
    assert large.images.shape == (360, 1, 28, 28)
    paper = np.float32(-MEAN / STD)
    frame = np.pad(np.zeros((24, 24), bool), 2, constant_values=True)
    np.testing.assert_allclose(large.images[:, :, frame], paper, rtol=1e-6)
    inner = resize_bilinear(small.images, (24, 24))
    np.testing.assert_allclose(large.images[:, :, 2:-2, 2:-2], inner, atol=1e-5)


@pytest.mark.parametrize(("size", "to"), [((8, 8), (32, 32)), ((3, 5), (7, 4)), ((1, 1), (3, 2)), ((4, 6), (4, 6))])
def test_resize_equals_a_loop_over_pixels(size: tuple[int, int], to: tuple[int, int]) -> None:
    images = np.random.default_rng(0).normal(size=(2, 3, *size)).astype(np.float32)
    expected = np.zeros((2, 3, *to))
    for i in range(to[0]):
        for j in range(to[1]):
            y = min(max((i + 0.5) * size[0] / to[0] - 0.5, 0), size[0] - 1)
            x = min(max((j + 0.5) * size[1] / to[1] - 0.5, 0), size[1] - 1)
            for p in range(size[0]):
                for q in range(size[1]):
                    weight = max(0, 1 - abs(y - p)) * max(0, 1 - abs(x - q))
                    expected[:, :, i, j] += weight * images[:, :, p, q]
    np.testing.assert_allclose(resize_bilinear(images, to), expected, atol=1e-5)


def test_wrong_split_or_size_is_named() -> None:
    with pytest.raises(DataError, match=r"no split 'tset'; expected one of train, val, test"):
        data.digits("tset")
    with pytest.raises(DataError, match="size 4 with margin 2 leaves 0 pixels"):
        data.digits("test", size=4, margin=2)
    with pytest.raises(DataError, match="leaves 0 pixels"):
        data.digits("test", size=0)


def test_shared_arrays_cannot_be_written() -> None:
    part = data.digits("test")
    with pytest.raises(ValueError, match="read-only"):
        part.images[0] = 0
    images, _ = part.batch(np.array([0]))
    images[...] = 7
    assert part.images.max() < 7
