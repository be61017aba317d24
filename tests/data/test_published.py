"""MNIST, Fashion-MNIST, CIFAR and SVHN from small files in their true formats, through the real loaders."""

from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

import minicnn.data as data
from minicnn.data import byte_images, cifar, idx
from minicnn.errors import DataError
from tests.data import published_files as made

svhn = import_module("minicnn.data.svhn")  # the package's `svhn` is the function in it


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MINICNN_DATA", str(tmp_path))
    return tmp_path


def grey(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 200, (count, 28, 28)).astype(np.uint8)


@pytest.fixture
def small_mnist(cache: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[np.ndarray, np.ndarray]:
    """Forty training and ten test images, in the files that the loader asks for."""
    labels = np.arange(40) % 10
    contents = [made.idx(grey(40, 1)), made.idx(labels), made.idx(grey(10, 2)), made.idx(labels[:10])]
    files = [
        made.put(cache, file.name, content, packed=True) for file, content in zip(idx.MNIST, contents, strict=True)
    ]
    monkeypatch.setattr(idx, "MNIST", tuple(files))
    return grey(40, 1), grey(10, 2)


def test_mnist_reads_every_pixel(small_mnist: tuple[np.ndarray, np.ndarray]) -> None:
    pixels, tests = small_mnist
    train, val, test = (data.load("mnist", split) for split in ("train", "val", "test"))
    # four images a class: the last of each, 30 to 39, is held out
    np.testing.assert_allclose(train.denormalise(train.images)[:, 0] * 255, pixels[:30], atol=1e-3)
    np.testing.assert_allclose(val.denormalise(val.images)[:, 0] * 255, pixels[30:], atol=1e-3)
    np.testing.assert_allclose(test.denormalise(test.images)[:, 0] * 255, tests, atol=1e-3)
    assert train.labels.tolist() == [*range(10)] * 3 and test.labels.tolist() == [*range(10)]
    np.testing.assert_allclose(train.mean.item(), (pixels[:30] / 255).mean(), rtol=1e-6)
    np.testing.assert_allclose(train.std.item(), (pixels[:30] / 255).std(), rtol=1e-6)
    assert test.mean == train.mean and repr(val) == "<mnist val: 10 images 1x28x28, 10 classes>"
    np.testing.assert_array_equal(train.batch(np.array([7, 2]))[0], train.images[[7, 2]])


def test_images_are_scaled(small_mnist: tuple[np.ndarray, np.ndarray]) -> None:
    pixels, _ = small_mnist
    large, small = data.load("mnist", size=56), data.load("mnist", size=14)
    assert large.shape == (1, 56, 56) and small.images.shape == (30, 1, 14, 14)
    raw = large.denormalise(large.images)[0, 0] * 255
    # half-pixel centres: output pixel 1 lies at 0.25 of the way from input pixel 0 to 1
    expected = np.float64(pixels[0, 0, 0]) * 0.75 + np.float64(pixels[0, 0, 1]) * 0.25
    assert abs(raw[0, 1] - expected) <= 1
    means = small.denormalise(small.images).mean(axis=(1, 2, 3)) * 255
    np.testing.assert_allclose(means, pixels[:30].mean(axis=(1, 2)), atol=4)


def test_fashion_has_its_own_names(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = np.arange(20) % 10
    contents = [made.idx(grey(20, 1)), made.idx(labels), made.idx(grey(20, 2)), made.idx(labels)]
    files = [made.put(cache, file.name, content) for file, content in zip(idx.FASHION, contents, strict=True)]
    monkeypatch.setattr(idx, "FASHION", tuple(files))
    assert data.load("fashion_mnist", "test").classes[9] == "Ankle boot"


def test_cifar10_reads_every_pixel(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = made.put(cache, cifar.CIFAR10.name, made.tar(made.cifar10_members()), packed=True)
    monkeypatch.setattr(cifar, "CIFAR10", file)
    train, val, test = (data.load("cifar10", split) for split in ("train", "val", "test"))
    pixels = np.concatenate([made.pixels(20, seed) for seed in range(5)])
    assert (len(train), len(val), len(test)) == (90, 10, 20) and train.classes[3] == "cat"
    np.testing.assert_allclose(train.denormalise(train.images) * 255, pixels[:90], atol=1e-3)
    np.testing.assert_allclose(test.denormalise(test.images) * 255, made.pixels(20, 5), atol=1e-3)
    np.testing.assert_allclose(train.mean.ravel(), pixels[:90].mean(axis=(0, 2, 3)) / 255, rtol=1e-6)
    np.testing.assert_allclose(train.std.ravel(), pixels[:90].std(axis=(0, 2, 3)) / 255, rtol=1e-6)
    assert train.labels.tolist() == [*range(10)] * 9 and data.load("cifar10", size=8).shape == (3, 8, 8)


def test_cifar100_takes_the_fine_label(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = made.put(cache, cifar.CIFAR100.name, made.tar(made.cifar100_members()), packed=True)
    monkeypatch.setattr(cifar, "CIFAR100", file)
    train, val = data.load("cifar100"), data.load("cifar100", "val")
    assert train.labels.tolist() == [*range(100)] == val.labels.tolist() and train.classes[17] == "thing_17"
    np.testing.assert_allclose(val.denormalise(val.images) * 255, made.pixels(200, 0)[100:], atol=1e-3)


@pytest.mark.parametrize("compress", [True, False])
def test_svhn_counts_from_one_and_calls_zero_ten(cache: Path, monkeypatch: pytest.MonkeyPatch, compress: bool) -> None:
    labels = (np.arange(20) % 10 + 1).astype(np.uint8)
    for name in ("TRAIN", "TEST"):
        content = made.mat(made.pixels(20, 3), labels, compress)
        monkeypatch.setattr(svhn, name, made.put(cache, getattr(svhn, name).name, content))
    test = data.load("svhn", "test")
    assert test.labels.tolist() == (labels % 10).tolist()
    np.testing.assert_allclose(test.denormalise(test.images) * 255, made.pixels(20, 3), atol=1e-3)
    assert len(data.load("svhn")) == 10


def test_every_published_file_is_named_whole() -> None:
    files = [*idx.MNIST, *idx.FASHION, cifar.CIFAR10, cifar.CIFAR100, svhn.TRAIN, svhn.TEST]
    assert len({file.name for file in files}) == len({file.sha256 for file in files}) == 12
    for file in files:
        assert len(bytes.fromhex(file.sha256)) == 32 and 4000 < file.size < 2**28 and file.urls
        assert all(url.startswith(("https://", "http://")) and url.endswith(Path(file.name).name) for url in file.urls)


def test_a_class_keeps_nine_tenths() -> None:
    labels = np.repeat([3, 1, 2], [25, 9, 1])
    held = byte_images.held_out(labels)
    assert np.flatnonzero(held).tolist() == [23, 24, 33]  # 2 of 25, at least 1 of 9, none of 1


def test_moments_are_exact_and_never_zero() -> None:
    values = np.array([3, 3, 200, 7], dtype=np.int64)
    mean, std = byte_images.moments(4, int(values.sum()), int((values**2).sum()))
    assert mean == pytest.approx((values / 255).mean(), rel=1e-14)
    assert std == pytest.approx((values / 255).std(), rel=1e-14)
    assert byte_images.moments(9, 9 * 17, 9 * 17**2) == (17 / 255, 1 / 255)


@pytest.mark.parametrize("size", [0, -1, 5000, 2.5, "28"])
def test_sizes_are_checked(size: object) -> None:
    with pytest.raises(DataError, match="mnist: size must be a whole number of pixels from 1 to 4096, got"):
        data.load("mnist", size=size)


def test_splits_are_checked() -> None:
    for name in ("mnist", "cifar10", "cifar100", "fashion_mnist", "svhn"):
        with pytest.raises(DataError, match=f"{name}: there is no split 'tests'; expected one of train, val, test"):
            data.load(name, "tests")
