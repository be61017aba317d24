"""Means, contrast and whitening against loops and SciPy's matrix functions."""

import numpy as np
import pytest
from scipy import linalg

from minicnn import data
from minicnn.data import prepare as P
from minicnn.errors import DataError


def images_of(n: int, c: int = 2, h: int = 4, w: int = 3, seed: int = 0) -> np.ndarray:
    """Images whose pixels are correlated."""
    rng = np.random.default_rng(seed)
    size = c * h * w
    mixing = rng.normal(size=(size, size)) / size**0.5
    return (0.5 + 0.2 * rng.normal(size=(n, size)) @ mixing).astype(np.float32).reshape(n, c, h, w)


def test_channel_statistics_are_those_of_all_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(P, "BLOCK", 7)
    images = images_of(30) + np.array([100, 0], np.float32)[:, None, None]
    mean, std = P.channel_statistics(images)
    pixels = images.astype(np.float64).transpose(1, 0, 2, 3).reshape(2, -1)
    np.testing.assert_allclose(mean, [np.mean(row) for row in pixels], rtol=1e-12)
    np.testing.assert_allclose(std, [np.std(row) for row in pixels], rtol=1e-10)


def test_pixel_mean_has_a_value_a_pixel() -> None:
    images = images_of(30)
    step = P.PixelMean.of(images)
    np.testing.assert_allclose(step.mean, sum(image.astype(np.float64) for image in images) / 30, rtol=1e-6)
    np.testing.assert_allclose(step(images).mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(step.undo(step(images)), images, atol=1e-6)


def test_global_contrast_is_an_image_at_a_time() -> None:
    images = images_of(6)
    images[2] = 0.7  # without contrast
    got = P.GlobalContrast(scale=2, bias=0.01, epsilon=0.05)(images)
    for new, old in zip(got, images, strict=True):
        centred = old.astype(np.float64) - old.astype(np.float64).mean()
        size = max(0.05, (0.01 + (centred**2).sum() / centred.size) ** 0.5)
        np.testing.assert_allclose(new, 2 * centred / size, atol=1e-5)
    plain = P.GlobalContrast()(images)
    np.testing.assert_allclose(plain[[0, 1, 3]].std(axis=(1, 2, 3)), 1, rtol=1e-5)
    np.testing.assert_allclose(plain[2], 0, atol=1e-3)  # never divided by 0
    shown = P.GlobalContrast(3).undo(P.GlobalContrast(3)(images))
    np.testing.assert_allclose(shown[0].mean(), 0.5, atol=1e-5)
    np.testing.assert_allclose(shown[0].std(), 0.25, rtol=1e-5)


def test_zca_whitens_what_it_was_fitted_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(P, "BLOCK", 70)
    images = images_of(400)
    flat = images.reshape(400, -1).astype(np.float64)
    covariance = np.cov(flat.T, bias=True)
    zca = P.ZCA.of(images, epsilon=1e-3)
    np.testing.assert_allclose(zca.whiten, linalg.inv(linalg.sqrtm(covariance + 1e-3 * np.eye(24))).real, atol=1e-3)
    white = zca(images).reshape(400, -1).astype(np.float64)
    np.testing.assert_allclose(white, (flat - flat.mean(axis=0)) @ zca.whiten, atol=1e-4)
    exact = P.ZCA.of(images, epsilon=0)(images).reshape(400, -1)
    np.testing.assert_allclose(np.cov(exact.T, bias=True), np.eye(24), atol=2e-3)
    np.testing.assert_allclose(zca.undo(zca(images)), images, atol=1e-4)
    assert np.corrcoef(white[:, 0], flat[:, 0])[0, 1] > 0.1  # it stays the picture it was, unlike with PCA's axes


@pytest.mark.parametrize("hold", [False, True])
def test_prepared_datasets_pass_every_image_through_the_steps(hold: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(P, "BLOCK", 7)
    raw = images_of(20)
    plain = data.ArrayDataset(raw, np.arange(20) % 3, "abc", mean=0.5, std=0.2)
    mean, zca = P.PixelMean.of(plain.images), P.ZCA.of(plain.images)
    prepared = P.Prepared(plain, mean, zca, hold=hold)
    expected = zca(mean(plain.images))
    np.testing.assert_allclose(prepared.images, expected, atol=1e-5)
    images, labels = prepared.batch(np.array([4, 9]))
    np.testing.assert_allclose(images, expected[[4, 9]], atol=1e-5)
    assert labels.tolist() == [1, 0] and len(prepared) == 20 and prepared.classes == ("a", "b", "c")
    np.testing.assert_allclose(prepared.normalise(raw[3]), expected[3], atol=1e-5)
    np.testing.assert_allclose(prepared.denormalise(images), raw[[4, 9]], atol=1e-4)
    first = next(iter(data.DataLoader(prepared, 6)))
    np.testing.assert_allclose(first[0], expected[:6], atol=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: P.channel_statistics(np.zeros((3, 2))), r"channel_statistics: expected images \(N, C, H, W\)"),
        (lambda: P.PixelMean.of(np.zeros((0, 1, 2, 2))), r"PixelMean.of: expected images .*got shape \(0, 1, 2, 2\)"),
        (lambda: P.GlobalContrast(scale=0), "expected scale > 0, bias >= 0 and epsilon > 0, got 0, 0.0 and 1e-08"),
        (lambda: P.ZCA.of(np.zeros((1, 3, 65, 65))), "images of 12675 numbers need a matrix of 12675x12675"),
        (lambda: P.ZCA.of(images_of(5), epsilon=0), "positive for 5 images of 24 numbers"),
        (lambda: P.ZCA.of(images_of(50), epsilon=-1), "epsilon must be at least 0"),
        (lambda: P.ZCA.of(images_of(50))(np.zeros((1, 1, 4, 3), np.float32)), r"fitted to images of \(2, 4, 3\)"),
    ],
)
def test_wrong_settings_are_named(make: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        make()  # type: ignore[operator]
