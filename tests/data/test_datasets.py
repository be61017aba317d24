"""Datasets in memory, the procedural shapes and the registry."""

from collections.abc import Callable

import numpy as np
import pytest

import minicnn.data as data
from minicnn.data.shapes import coverage
from minicnn.errors import DataError, IndexRangeError


def pair() -> data.ArrayDataset:
    raw = np.linspace(0, 1, 2 * 3 * 4 * 4).reshape(2, 3, 4, 4)
    return data.ArrayDataset(raw, [1, 0], ["cat", "dog"], mean=(0.1, 0.2, 0.3), std=(0.5, 1, 2))


def test_array_dataset_normalises_channel_by_channel() -> None:
    dataset = pair()
    raw = np.linspace(0, 1, 96).reshape(2, 3, 4, 4)
    for channel, (mean, std) in enumerate([(0.1, 0.5), (0.2, 1), (0.3, 2)]):
        np.testing.assert_allclose(dataset.images[:, channel], (raw[:, channel] - mean) / std, atol=1e-6)
    np.testing.assert_allclose(dataset.denormalise(dataset.images), raw, atol=1e-6)
    assert dataset.images.dtype == np.float32 and dataset.labels.dtype == np.int64
    assert repr(dataset) == "<arrays: 2 images 3x4x4, 2 classes>"


def test_items_count_from_both_ends() -> None:
    dataset = pair()
    image, label = dataset[-1]
    np.testing.assert_array_equal(image, dataset.images[1])
    assert label == 0 and type(label) is int and len(list(dataset)) == 2
    for index in (2, -3):
        with pytest.raises(IndexRangeError, match=f"index {index} is out of range; it holds 2 samples, so use -2 to 1"):
            dataset[index]


def test_subset_renumbers() -> None:
    whole = data.digits("val")
    part = data.Subset(whole, [7, 3, 3])
    np.testing.assert_array_equal(part.images, whole.images[[7, 3, 3]])
    np.testing.assert_array_equal(part.labels, whole.labels[[7, 3, 3]])
    assert len(part) == 3 and part.classes == whole.classes and part[-1][1] == whole[3][1]
    with pytest.raises(IndexRangeError, match="index 360 is out of range; it holds 360 samples"):
        data.Subset(whole, [0, 360])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: data.ArrayDataset(np.zeros((2, 4, 4)), [0, 0], ["a"]),
            r"must be \(N, C, H, W\), got shape \(2, 4, 4\)",
        ),
        (lambda: data.ArrayDataset(np.zeros((2, 1, 4, 4)), [0], ["a"]), r"2 images need labels \(2,\), got \(1,\)"),
        (lambda: data.ArrayDataset(np.zeros((0, 1, 4, 4)), [], ["a"]), "it is empty"),
        (lambda: data.ArrayDataset(np.zeros((1, 1, 4, 4)), [0.5], ["a"]), "labels must be integers, got float64"),
        (
            lambda: data.ArrayDataset(np.zeros((2, 1, 4, 4)), [0, 3], "abc"),
            "label 3 of sample 1 is out of range; 3 classes",
        ),
        (lambda: data.ArrayDataset(np.zeros((1, 1, 4, 4)), [-1], ["a"]), "label -1 of sample 0 is out of range"),
        (
            lambda: data.ArrayDataset(np.zeros((1, 3, 4, 4)), [0], ["a"], mean=(1, 2)),
            r"mean: expected one number or 3 .*2",
        ),
        (lambda: data.ArrayDataset(np.zeros((1, 1, 4, 4)), [0], ["a"], std=0), "std must be positive"),
        (lambda: data.shapes(0), "count must be at least 1, got 0"),
        (lambda: data.shapes(size=7), "size must be at least 8, got 7"),
        (lambda: data.shapes(channels=0), "channels must be at least 1, got 0"),
        (lambda: data.shapes(seed=-1), "seed must be at least 0, got -1"),
        (lambda: data.shapes(noise=-0.1), "noise must be at least 0, got -0.1"),
        (lambda: data.shapes(split="tests"), "no split 'tests'; expected one of train, val, test"),
    ],
)
def test_wrong_arguments_are_named(make: Callable[[], object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        make()


@pytest.mark.parametrize(("size", "channels"), [(16, 1), (33, 3), (64, 4)])
def test_a_shape_depends_on_seed_split_and_index_alone(size: int, channels: int) -> None:
    some = data.shapes(40, size, seed=5, channels=channels)
    more = data.shapes(10_000, size, seed=5, channels=channels)
    order = np.array([31, 2, 2, 17, 0])
    images, labels = more.batch(order)
    assert images.shape == (5, channels, size, size) and images.dtype == np.float32
    np.testing.assert_array_equal(images, some.images[order])
    np.testing.assert_array_equal(labels, some.labels[order])
    np.testing.assert_array_equal(more[17][0], images[3])
    np.testing.assert_array_equal(some[-1][0], some[39][0])
    raw = some.denormalise(some.images)
    assert raw.min() >= -1e-6 and raw.max() <= 1 + 1e-6
    for other in (data.shapes(40, size, 6, channels), data.shapes(40, size, 5, channels, split="test")):
        assert (other.images != some.images).any(axis=(1, 2, 3)).all()


def test_chunks_do_not_show() -> None:
    large = data.shapes(9, 512, channels=1)  # four images fill a chunk
    np.testing.assert_array_equal(large.images, np.stack([large[i][0] for i in range(9)]))


def test_shapes_have_ten_balanced_classes_that_show() -> None:
    dataset = data.shapes(200, 32, noise=0)
    assert len(dataset.classes) == 10 and np.bincount(dataset.labels).tolist() == [20] * 10
    raw = dataset.denormalise(dataset.images)
    contrast = raw.max(axis=(2, 3)) - raw.min(axis=(2, 3))
    assert contrast.min() > 0.25  # in every channel of every image


@pytest.mark.parametrize(
    ("name", "share"),
    # Covered area over the square round the figure (side twice its radius), from the outlines' formulas.
    [("disc", np.pi * 0.81 / 4), ("square", 1.44**2 / 4), ("triangle", 3 * np.sqrt(3) / 16)],
)
def test_figures_cover_their_area(name: str, share: float) -> None:
    draws = np.random.default_rng(0).random((20, 7, 1, 1)).astype(np.float32)
    labels = np.full(20, data.shapes(10).classes.index(name))
    side = 2 * (0.35 + 0.35 * draws[:, 0, 0, 0])  # of an image of side 2
    covered = coverage(labels, draws, 128).mean(axis=(1, 2)) * 4
    np.testing.assert_allclose(covered, share * side**2, rtol=0.03)


def test_colours_do_not_give_the_class_away() -> None:
    dataset = data.shapes(1000, 8, noise=0)
    means = np.stack([dataset.images[dataset.labels == k].mean(axis=(0, 2, 3)) for k in range(10)])
    assert np.abs(means - means.mean(axis=0)).max() < 0.35


def test_load_by_name() -> None:
    offline = ["digit_addition", "digits", "distorted_digits", "shapes"]
    assert data.names() == sorted([*offline, "cifar10", "cifar100", "fashion_mnist", "mnist", "svhn"])
    assert data.load("digits", "test", size=28).shape == (1, 28, 28)
    assert len(data.load("shapes", "val", count=12, size=16)) == 12
    assert data.load("digit_addition", "val", count=12).shape == (2, 42, 42)
    assert data.load("distorted_digits", "val", size=28).shape == (1, 28, 28)


def test_unknown_names_and_options_are_named() -> None:
    with pytest.raises(DataError, match=r"no folder 'digit'; available: .*digits, .*svhn, .*; did you mean 'digits'\?"):
        data.load("digit")
    with pytest.raises(
        DataError, match=r"no folder 'imagenet'; available: .*digits, .*svhn, or the path of a folder of pictures$"
    ):
        data.load("imagenet")
    with pytest.raises(DataError, match="'digits' has no option 'sise'; it takes size, margin"):
        data.load("digits", sise=3)
