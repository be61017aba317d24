"""Colour changes against Pillow, colorsys and SciPy, which know nothing of ours."""

import colorsys

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps
from scipy import ndimage

from minicnn.data import augment as A
from minicnn.data.augment import colour
from minicnn.data.augment.randaugment import OPERATIONS
from minicnn.errors import DataError

ROUNDING = 1.6 / 255  # Pillow rounds or cuts to 8 bits, sometimes twice


def picture(seed: int = 0, c: int = 3, h: int = 12, w: int = 17) -> np.ndarray:
    """A raw image (1, C, H, W) of 8-bit levels, none of its channels reaching from 0 to 255."""
    smooth = ndimage.gaussian_filter(np.random.default_rng(seed).random((c, h, w)), (0, 1.5, 1.5))
    low, high = smooth.min(axis=(1, 2), keepdims=True), smooth.max(axis=(1, 2), keepdims=True)
    return (np.rint(30 + 190 * (smooth - low) / (high - low)) / 255).astype(np.float32)[None]


def to_pillow(image: np.ndarray) -> Image.Image:
    levels = np.rint(image[0] * 255).astype(np.uint8)
    return Image.fromarray(levels[0] if len(levels) == 1 else levels.transpose(1, 2, 0))


def from_pillow(image: Image.Image) -> np.ndarray:
    array = np.asarray(image, np.float32) / 255
    return array[None, None] if array.ndim == 2 else array.transpose(2, 0, 1)[None]


@pytest.mark.parametrize("factor", [0.0, 0.3, 1.0, 1.7])
@pytest.mark.parametrize(
    ("change", "enhancer"),
    [
        (colour.brightness, ImageEnhance.Brightness),
        (colour.contrast, ImageEnhance.Contrast),
        (colour.saturation, ImageEnhance.Color),
    ],
)
def test_brightness_contrast_and_saturation_are_pillows(change: object, enhancer: object, factor: float) -> None:
    images = np.concatenate([picture(1), picture(2)])
    got = change(images, np.full(2, factor, np.float32))  # type: ignore[operator]
    for new, old in zip(got, images, strict=True):
        expected = from_pillow(enhancer(to_pillow(old[None])).enhance(factor))  # type: ignore[operator]
        assert np.abs(new - expected).max() <= ROUNDING


@pytest.mark.parametrize("turn", [0.0, 0.25, -0.5, 0.07])
def test_hue_is_colorsys(turn: float) -> None:
    image = np.random.default_rng(4).random((1, 3, 9, 8)).astype(np.float32)
    image[0, :, 0] = [[0.0], [0.5], [0.5]]
    image[0, :, 1] = 0.3  # grey has no hue
    got = colour.hue(image, np.array([turn], np.float32))
    for i, j in np.ndindex(9, 8):
        h, s, v = colorsys.rgb_to_hsv(*image[0, :, i, j].tolist())
        np.testing.assert_allclose(got[0, :, i, j], colorsys.hsv_to_rgb((h + turn) % 1, s, v), atol=2e-6)


def test_jitter_applies_what_it_draws_in_the_order_it_draws() -> None:
    images = np.concatenate([picture(seed) for seed in range(40)])
    jitter = A.ColourJitter(0.4, 0.3, 0.2, hue=0.1)
    factors, order = jitter.draw(A.generators(0, 0, range(40)))
    assert {tuple(row) for row in np.sort(order, axis=1).tolist()} == {(0, 1, 2, 3)} and len(
        np.unique(order, axis=0)
    ) > 12
    got = jitter(images, A.generators(0, 0, range(40)))
    names = (colour.brightness, colour.contrast, colour.saturation, colour.hue)
    for i in range(40):
        expected = images[i : i + 1]
        for kind in order[i]:
            expected = names[kind](expected, factors[i : i + 1, kind])
        np.testing.assert_array_equal(got[i], expected[0])


def test_jitter_draws_evenly_between_its_bounds() -> None:
    factors, _ = A.ColourJitter(0.4, 1.5, 0.0, hue=0.1).draw(A.generators(0, 0, range(3000)))
    bounds = [(0.6, 1.4), (0.0, 2.5), (1.0, 1.0), (-0.1, 0.1)]
    for column, (low, high) in zip(factors.T, bounds, strict=True):
        assert low <= column.min() and column.max() <= high + 1e-6
        assert abs(column.mean() - (low + high) / 2) <= 0.02 * (high - low) + 1e-6
        assert abs(column.std() - (high - low) / 12**0.5) <= 0.02 * (high - low) + 1e-6


def test_grey_images_keep_their_colour_and_take_brightness() -> None:
    grey = picture(c=1)
    for change in (colour.saturation, colour.hue):
        np.testing.assert_array_equal(change(grey, np.array([0.2], np.float32)), grey)
    expected = from_pillow(ImageEnhance.Contrast(to_pillow(grey)).enhance(0.5))
    assert np.abs(colour.contrast(grey, np.array([0.5], np.float32)) - expected).max() <= ROUNDING


def test_random_grey_is_pillows_l() -> None:
    images = np.concatenate([picture(seed) for seed in range(200)])
    got = A.RandomGrey(0.3)(images, A.generators(0, 0, range(200)))
    changed = [i for i in range(200) if not np.array_equal(got[i], images[i])]
    assert 40 < len(changed) < 80
    for i in changed:
        expected = from_pillow(to_pillow(images[i : i + 1]).convert("L"))[0]
        assert np.abs(got[i] - expected).max() <= ROUNDING and np.ptp(got[i], axis=0).max() == 0


def test_pca_colour_moves_along_the_axes_of_the_training_pixels() -> None:
    rng = np.random.default_rng(0)
    mixing = np.array([[0.3, 0.1, 0.0], [0.25, -0.1, 0.02], [0.2, 0.05, -0.05]])
    raw = (0.5 + np.einsum("ck,nkhw->nchw", mixing, rng.normal(size=(30, 3, 8, 8)))).astype(np.float32)
    fitted = A.PCAColour.of(raw, std=0.1)
    pixels = raw.transpose(0, 2, 3, 1).reshape(-1, 3).astype(np.float64)
    _, strengths, axes = np.linalg.svd(pixels - pixels.mean(axis=0), full_matrices=False)
    np.testing.assert_allclose(fitted.values, strengths**2 / len(pixels), rtol=1e-5)
    np.testing.assert_allclose(np.abs(fitted.vectors.T @ axes.T), np.eye(3), atol=1e-4)
    images = np.zeros((4000, 3, 1, 2), np.float32)
    shift = fitted(images, A.generators(0, 0, range(4000)))
    np.testing.assert_array_equal(shift[..., 0], shift[..., 1])  # one shift for all pixels of an image
    amounts = shift[:, :, 0, 0] @ fitted.vectors
    np.testing.assert_allclose(amounts.std(axis=0), 0.1 * fitted.values, rtol=0.05)
    assert np.abs(amounts.mean(axis=0)).max() < 0.01 * fitted.values[0]
    assert np.abs(np.corrcoef(amounts.T) - np.eye(3)).max() < 0.06


def test_on_pixels_shows_raw_pixels_and_normalises_again() -> None:
    mean, std = np.array([0.5, 0.4, 0.3]), np.array([0.2, 0.25, 0.3])
    raw = np.concatenate([picture(1), picture(2)])
    normalised = ((raw - mean[:, None, None]) / std[:, None, None]).astype(np.float32)
    seen = []

    def note(images: A.Images, rngs: A.Generators) -> A.Images:
        seen.append(images)
        return np.asarray(1 - images)

    got = A.OnPixels(mean, std, note)(normalised, A.generators(0, 0, range(2)))
    np.testing.assert_allclose(seen[0], raw, atol=1e-6)
    np.testing.assert_allclose(got, (1 - raw - mean[:, None, None]) / std[:, None, None], atol=1e-5)
    assert got.dtype == np.float32
    assert A.OnPixels(0, 1, A.CentreCrop(5)).output_shape((3, 9, 8)) == (3, 5, 5)


# ---- the fourteen operations of RandAugment


def operate(name: str, image: np.ndarray, amount: float) -> np.ndarray:
    return OPERATIONS[name].change(image, amount, 0.5)


@pytest.mark.parametrize("amount", [-0.9, -0.25, 0.0, 0.6])
@pytest.mark.parametrize(
    ("name", "enhancer"),
    [
        ("brightness", ImageEnhance.Brightness),
        ("colour", ImageEnhance.Color),
        ("contrast", ImageEnhance.Contrast),
        ("sharpness", ImageEnhance.Sharpness),
    ],
)
def test_enhancements_are_pillows(name: str, enhancer: object, amount: float) -> None:
    image = picture(3)
    expected = from_pillow(enhancer(to_pillow(image)).enhance(1 + amount))  # type: ignore[operator]
    assert np.abs(operate(name, image, amount) - expected).max() <= 2 * ROUNDING


@pytest.mark.parametrize("c", [1, 3])
def test_operations_on_levels_are_pillows(c: int) -> None:
    image = picture(5, c=c, h=40, w=50)
    pillow = to_pillow(image)
    for bits in (4, 6, 8):
        np.testing.assert_array_equal(
            operate("posterise", image, 8 - bits), from_pillow(ImageOps.posterize(pillow, bits))
        )
    np.testing.assert_array_equal(operate("equalise", image, 0), from_pillow(ImageOps.equalize(pillow)))
    stretched = from_pillow(ImageOps.autocontrast(pillow))
    assert np.abs(operate("auto contrast", image, 0) - stretched).max() <= ROUNDING
    solarised = from_pillow(ImageOps.solarize(pillow, 102))  # 0.4 of 255, which is itself inverted
    np.testing.assert_allclose(operate("solarise", image, 0.6), solarised, atol=1e-6)
    np.testing.assert_array_equal(operate("identity", image, 1), image)
    flat = np.full((1, c, 5, 5), 0.4, np.float32)
    for name in ("auto contrast", "equalise"):
        np.testing.assert_allclose(operate(name, flat, 0), flat, atol=1e-6)


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("name", ["shear x", "shear y", "translate x", "translate y", "rotate"])
def test_operations_that_move_are_scipys(name: str, sign: int) -> None:
    image = picture(6)
    h, w = image.shape[2:]
    amount = sign * {"rotate": 25.0, "translate x": 0.3, "translate y": 0.3}.get(name, 0.2)
    cos, sin = np.cos(np.deg2rad(amount)), np.sin(np.deg2rad(amount))
    matrices = {  # output (y, x) -> input (y, x), both from the top left corner of the image
        "shear x": ([[1, 0], [amount, 1]], (0, 0)),
        "shear y": ([[1, amount], [0, 1]], (0, 0)),
        "translate x": (np.eye(2), (0, int(amount * w))),
        "translate y": (np.eye(2), (int(amount * h), 0)),
        "rotate": (
            [[cos, sin], [-sin, cos]],
            np.array([h, w]) / 2 - np.array([[cos, sin], [-sin, cos]]) @ [h / 2, w / 2],
        ),
    }
    matrix, corner = (np.asarray(part, np.float64) for part in matrices[name])
    offset = matrix @ [0.5, 0.5] + corner - 0.5
    expected = [
        ndimage.affine_transform(plane.astype(np.float64), matrix, offset, order=1, mode="grid-constant", cval=0.5)
        for plane in image[0]
    ]
    got = operate(name, image, amount)[0]
    assert np.abs(got - expected).max() <= 1e-5 and np.abs(got - image[0]).max() > 0.1


def test_randaugment_applies_what_it_draws() -> None:
    images = np.concatenate([picture(seed) for seed in range(30)])
    augment = A.RandAugment(3, 12)
    chosen, signs = augment.draw(A.generators(0, 2, range(30)))
    got = augment(images, A.generators(0, 2, range(30)))
    names = list(OPERATIONS)
    for i in range(30):
        image = images[i : i + 1]
        for index, sign in zip(chosen[i], signs[i], strict=True):
            name = names[index]
            most = {"rotate": 30, "solarise": 1, "posterise": 4, "shear x": 0.3, "shear y": 0.3}
            most |= dict.fromkeys(("translate x", "translate y"), 150 / 331)
            most |= dict.fromkeys(("colour", "contrast", "brightness", "sharpness"), 0.9)
            amount = most.get(name, 0) * 0.4 * (1 if name in ("solarise", "posterise") else sign)
            image = operate(name, image, amount)
        np.testing.assert_allclose(got[i], image[0], atol=1e-6)


def test_randaugment_draws_every_operation_as_often() -> None:
    chosen, signs = A.RandAugment(2).draw(A.generators(0, 0, range(3500)))
    counts = np.bincount(chosen.ravel(), minlength=14)
    assert len(counts) == 14 and counts.min() > 400 and counts.max() < 600
    assert set(np.unique(signs)) == {-1, 1} and abs(signs.mean()) < 0.05
    assert abs(np.corrcoef(chosen.T)[0, 1]) < 0.06


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: A.ColourJitter(-0.1), "brightness must be at least 0, got -0.1"),
        (lambda: A.ColourJitter(hue=0.6), "hue must be a part of a turn, 0 to 0.5, got 0.6"),
        (lambda: A.RandomGrey(-1), "p must be a probability"),
        (lambda: A.PCAColour([1, 2], np.eye(3)), r"expected values \(C,\) and vectors \(C, C\)"),
        (lambda: A.PCAColour([1, 2, 3], np.eye(3), -1), "std must be at least 0"),
        (lambda: A.PCAColour.of(np.zeros((3, 4))), r"expected images \(N, C, H, W\)"),
        (lambda: A.PCAColour([1], [[1]])(picture(), A.generators(0, 0, [0])), "fitted to 1 channels, got images of 3"),
        (lambda: colour.luma(picture(c=4)), "expected images of 1 or 3 channels, got 4"),
        (lambda: A.RandAugment(0), "count must be at least 1, got 0"),
        (lambda: A.RandAugment(2, 31), "magnitude must be 0 to 30, got 31"),
    ],
)
def test_wrong_settings_are_named(make: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        make()  # type: ignore[operator]
