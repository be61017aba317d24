"""Distorted digits and their sums: labels, one seed one set, no digit of one part in another, any other digits."""

from collections.abc import Callable

import numpy as np
import pytest

import minicnn.data as data
from minicnn.data.augment import Affine, generators
from minicnn.data.digit_addition import RTS
from minicnn.errors import DataError

PLAIN = Affine()  # no distortion at all
ALL = np.arange(60)


def test_the_label_is_the_sum_of_the_digits_in_the_channels() -> None:
    """Undistorted, every channel is one of the shipped digits, centred on paper; their labels add up."""
    sums = data.digit_addition("val", count=60, distortion=PLAIN)
    known = data.digits("val", 20)
    pictures = known.denormalise(data.digits("val", 20, margin=0).images)
    images, labels = sums.batch(ALL)
    assert images.shape == (60, 2, 42, 42) and images.dtype == np.float32 and labels.dtype == np.int64
    raw = sums.denormalise(images)
    for image, label, chosen in zip(raw, labels, sums.chosen, strict=True):
        for channel, number in zip(image, chosen, strict=True):
            np.testing.assert_allclose(channel[11:31, 11:31], pictures[number, 0], atol=1e-5)
            assert channel.sum() == pytest.approx(pictures[number].sum(), rel=1e-5)
        assert label == sum(int(known.labels[number]) for number in chosen)
    assert sums.classes == tuple(str(k) for k in range(19))


@pytest.mark.parametrize(("make", "terms"), [(data.digit_addition, 2), (data.distorted_digits, 1)])
def test_shapes_classes_and_range(make: Callable[..., data.Dataset], terms: int) -> None:
    pictures = make("train", count=60)
    images, labels = pictures.batch(ALL)
    assert pictures.shape == images.shape[1:] == (terms, 42, 42) and len(pictures) == 60
    raw = pictures.denormalise(images)
    assert images.min() == 0 and 0.9 < raw.max() <= 1 and (images[:, :, 0, 0] == 0).mean() > 0.9
    assert images.mean() < 0.5 and images.std() == pytest.approx(1, abs=0.15)
    assert len(pictures.classes) == 9 * terms + 1 and labels.max() < len(pictures.classes)
    assert repr(pictures).startswith(f"<{make.__name__} train: 60 images {terms}x42x42")
    np.testing.assert_array_equal(pictures.labels, labels)


def test_all_sums_appear_as_often_as_two_dice_of_ten_faces_make_them() -> None:
    share = np.bincount(data.digit_addition(count=20_000).labels, minlength=19) / 20_000
    faces = np.bincount(data.digits("train").labels) / 1077
    np.testing.assert_allclose(share, np.convolve(faces, faces), atol=0.01)


def test_a_sample_depends_on_seed_split_and_index_alone() -> None:
    some, more = data.digit_addition(count=20, seed=3), data.digit_addition(count=500, seed=3)
    order = np.array([7, 2, 2, 19, 0])
    images, labels = more.batch(order)
    np.testing.assert_array_equal(images, some.images[order])
    np.testing.assert_array_equal(labels, some.labels[order])
    np.testing.assert_array_equal(images[1], images[2])
    assert (data.digit_addition(count=20, seed=4).chosen != some.chosen).any()
    for other in (data.digit_addition(count=20, seed=4), data.digit_addition("val", count=20, seed=3)):
        assert (other.images != some.images).any(axis=(1, 2, 3)).all()


def test_no_digit_of_one_part_is_in_another() -> None:
    """Every digit that is shown belongs to the part that was asked for, and the parts share none."""
    shown = {}
    for split in ("train", "val", "test"):
        sums = data.digit_addition(split, count=5000, distortion=PLAIN)
        own = {image.tobytes() for image in data.digits(split, 28, margin=4).images}
        shown[split] = {sums.source.images[number].tobytes() for number in np.unique(sums.chosen)}
        assert shown[split] == own  # 10,000 draws leave none of a thousand out
    assert not shown["train"] & shown["test"] and not shown["train"] & shown["val"] and not shown["val"] & shown["test"]


def test_each_digit_is_distorted_by_itself() -> None:
    """The same digit twice in one picture: two places, two angles, two sizes."""
    one = data.Subset(data.digits("train", 28, margin=4), [0])
    images = data.digit_addition(count=40, source=one).images
    assert np.abs(images[:, 0] - images[:, 1]).max(axis=(1, 2)).min() > 1.5
    ink = images.sum(axis=(2, 3))
    assert np.ptp(ink) > 0.5 * np.median(ink)
    rows = (images.sum(3) * np.arange(42)).sum(2) / ink
    assert rows.std(axis=0).min() > 3 and abs(np.corrcoef(rows.T)[0, 1]) < 0.4


def test_the_distortion_is_the_papers() -> None:
    assert (RTS.degrees, RTS.scale, RTS.fill) == (45, (0.7, 1.2), 0)
    inverse, shift = RTS.matrices(generators(0, 0, np.arange(2000)), 42, 42)
    scale = 1 / np.sqrt(np.linalg.det(inverse))
    angle = np.rad2deg(np.arctan2(inverse[:, 0, 1], inverse[:, 0, 0]))
    assert 0.7 <= scale.min() < 0.71 and 1.19 < scale.max() <= 1.2
    assert -45 <= angle.min() < -44 and 44 < angle.max() <= 45 and np.abs(shift).max() <= 8.4


def test_a_digit_seldom_leaves_the_picture() -> None:
    images = data.distorted_digits(count=400).images[:, 0]
    edge = np.stack([images[:, 0], images[:, -1], images[:, :, 0], images[:, :, -1]]).max(axis=(0, 2))
    assert (edge > 2.5).mean() < 0.03


def test_digits_of_ones_own() -> None:
    """MNIST's arrays, say: bytes, 28 pixels, ten classes."""
    rng = np.random.default_rng(0)
    raw, labels = rng.integers(0, 256, (30, 28, 28)), rng.integers(0, 10, 30)
    own = data.ArrayDataset(raw[:, None] / 255, labels, "0123456789", mean=0.1307, std=0.3081)
    sums = data.digit_addition("test", size=32, count=12, source=own, distortion=PLAIN)
    images, sum_labels = sums.denormalise(sums.images), sums.labels
    np.testing.assert_allclose(images[:, :, 2:-2, 2:-2] * 255, raw[sums.chosen], atol=0.01)
    np.testing.assert_array_equal(sum_labels, labels[sums.chosen].sum(1))
    wide = data.ArrayDataset(raw[:, None, :5] / 255, labels, "0123456789")
    assert data.distorted_digits(count=3, source=wide, size=28).images.shape == (3, 1, 28, 28)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: data.digit_addition("tests"),
            r"digit_addition: there is no split 'tests'; expected one of train, val",
        ),
        (lambda: data.distorted_digits(size=20), "distorted_digits: the digits are 1x28x28, expected .* at most 20x20"),
        (lambda: data.digit_addition(count=0), "count of at least 1 .* got 0 and 0"),
        (lambda: data.digit_addition(seed=-1), "seed of at least 0, got 10000 and -1"),
        (lambda: data.digit_addition(source=data.shapes(10, 16)), "the digits are 3x16x16, expected one channel"),
    ],
)
def test_wrong_arguments_are_named(make: Callable[[], object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        make()
