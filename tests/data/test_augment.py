"""Each transform against a loop over pixels, and reproducibility sample by sample."""

from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minicnn.data import augment as A
from minicnn.data.resize import sample_bilinear
from minicnn.errors import DataError

TRANSFORMS = [
    A.Affine(15, 0.1, (0.8, 1.2), 15, fill=-0.5),
    A.Elastic(0.05, 3, fill=-0.5),
    A.RandomCrop(2, fill=-0.5),
    A.RandomFlip(),
    A.Cutout(3, p=0.7, fill=9.0),
    A.Noise(0.3),
    A.Compose(A.RandomCrop(1), A.RandomFlip(), A.Noise(0.1)),
    A.digits_augment(),
    A.Rotation(20),
    A.RandomVerticalFlip(),
    A.RandomCrop(2, "reflect"),
    A.RandomResizedCrop(),
    A.RandomErasing(),
    A.OnPixels(0.2, 0.5, A.ColourJitter(hue=0.1), A.RandomGrey(0.5)),
    A.OnPixels([0.2] * 3, 0.5, A.RandAugment(3, 20)),
    A.PCAColour([0.2, 0.05, 0.01], [[0.6, 0.8, 0], [0.8, -0.6, 0], [0, 0, 1]]),
]


def images_of(n: int, c: int = 3, h: int = 9, w: int = 7, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, c, h, w)).astype(np.float32)


@pytest.mark.parametrize("transform", TRANSFORMS, ids=repr)
def test_result_depends_on_the_sample_alone(transform: A.Transform) -> None:
    images = images_of(8)
    before = images.copy()
    index = np.array([5, 0, 17, 3, 2, 99, 41, 8])
    together = transform(images, A.generators(1, 4, index))
    assert together.shape == images.shape and together.dtype == np.float32
    np.testing.assert_array_equal(images, before)  # the input is untouched
    apart = [transform(images[i : i + 1], A.generators(1, 4, index[i : i + 1]))[0] for i in range(8)]
    np.testing.assert_array_equal(together, np.stack(apart))
    assert not np.array_equal(together, images)
    for seed, epoch in ((2, 4), (1, 5)):
        assert not np.array_equal(together, transform(images, A.generators(seed, epoch, index)))
    assert transform(images[:0], []).shape == (0, 3, 9, 7)


def test_generators_of_seed_epoch_and_index_differ() -> None:
    first = [A.generators(s, e, [i])[0].random() for s in range(3) for e in range(3) for i in range(3)]
    assert len(set(first)) == 27
    for seed, epoch, i in ((0, 0, 0), (7, 3, 2**32 - 1), (2**32, 1, 5), (2**70, 0, 2**40)):
        expected = np.random.default_rng((seed, epoch, i, 1)).bit_generator.state
        assert A.generators(seed, epoch, [i])[0].bit_generator.state == expected
    with pytest.raises(ValueError, match="non-negative"):
        A.generators(0, -1, [3])


@settings(max_examples=40)
@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 3), st.integers(0, 2**32), st.sampled_from(["border", 2.5]))
def test_sample_bilinear_equals_a_loop(h: int, w: int, c: int, seed: int, fill: float | Literal["border"]) -> None:
    rng = np.random.default_rng(seed)
    images = rng.normal(size=(2, c, h, w)).astype(np.float32)
    y, x = rng.uniform(-2, h + 1, (2, 3, 4)), rng.uniform(-2, w + 1, (2, 3, 4))
    y[0, 0], x[0, 0] = h - 1, np.round(x[0, 0])  # pixel centres
    expected = np.zeros((2, c, 3, 4))
    for n, i, j in np.ndindex(2, 3, 4):
        top, left = int(np.floor(y[n, i, j])), int(np.floor(x[n, i, j]))
        for p in (top, top + 1):
            for q in (left, left + 1):
                weight = max(0.0, 1 - abs(float(y[n, i, j]) - p)) * max(0.0, 1 - abs(float(x[n, i, j]) - q))
                inside = 0 <= p < h and 0 <= q < w
                value = images[n, :, min(max(p, 0), h - 1), min(max(q, 0), w - 1)]
                expected[n, :, i, j] += weight * (value if inside or fill == "border" else fill)
    np.testing.assert_allclose(sample_bilinear(images, y, x, fill), expected, atol=1e-5)


def in_numpy(images: np.ndarray, y: np.ndarray, x: np.ndarray, fill: float | str) -> np.ndarray:
    """What `sample_bilinear` was before it was compiled; trainings are repeated to the bit."""
    n, c, h, w = images.shape
    ring = ((0, 0), (0, 0), (1, 1), (1, 1))
    padded = np.pad(images, ring, "edge") if fill == "border" else np.pad(images, ring, constant_values=fill)
    at_y, at_x = np.clip(y, -1, h) + 1, np.clip(x, -1, w) + 1
    top, left = np.minimum(at_y.astype(int), h), np.minimum(at_x.astype(int), w)
    wy, wx = ((at - low).astype(np.float32)[:, None] for at, low in ((at_y, top), (at_x, left)))
    k, m = np.arange(n)[:, None, None, None], np.arange(c)[:, None, None]

    def mixed(a: np.ndarray, b: np.ndarray, weight: np.ndarray) -> np.ndarray:
        return weight * (b - a) + a

    rows = [
        mixed(padded[k, m, (top + i)[:, None], left[:, None]], padded[k, m, (top + i)[:, None], left[:, None] + 1], wx)
        for i in (0, 1)
    ]
    return mixed(*rows, wy)


@pytest.mark.parametrize("fill", ["border", -0.81])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sample_bilinear_has_the_bits_of_numpy(fill: float | Literal["border"], dtype: type) -> None:
    rng = np.random.default_rng(0)
    images = rng.normal(size=(9, 3, 12, 10)).astype(np.float32)
    y, x = (rng.uniform(-3, side + 3, (9, 14, 11)).astype(dtype) for side in (12, 10))
    y[0], x[1] = np.round(y[0]), np.round(x[1])
    np.testing.assert_array_equal(sample_bilinear(images, y, x, fill), in_numpy(images, y, x, fill))


def fixed(draws: list[float]) -> list[np.random.Generator]:
    """Return one generator that "draws" the given numbers."""

    class Fixed(np.random.Generator):
        def random(self, *_: object) -> np.ndarray:  # type: ignore[override]
            return np.array(draws)

    return [Fixed(np.random.PCG64(0))]


def moved(transform: A.Affine, image: np.ndarray, draws: list[float]) -> np.ndarray:
    return transform(image, fixed(draws))


def test_affine_turns_shifts_and_scales_the_right_way() -> None:
    image = images_of(1, h=7, w=7)
    middle = [0.5] * 6
    np.testing.assert_array_equal(moved(A.Affine(90, 0.3, shear=5), image, middle), image)
    quarter = moved(A.Affine(degrees=90), image, [1.0, 0.5, 0.5, 0.5, 0.5, 0.5])
    np.testing.assert_allclose(
        quarter, np.rot90(image, -1, (2, 3)), atol=1e-5
    )  # clockwise on the screen: y points down
    right_2_up_1 = moved(A.Affine(translate=2 / 7, fill=-3), image, [0.5, 0.5, 0.5, 0.5, 1.0, 0.25])
    expected = np.full_like(image, -3)
    expected[:, :, :-1, 2:] = image[:, :, 1:, :-2]
    np.testing.assert_allclose(right_2_up_1, expected, atol=1e-5)
    twice = moved(A.Affine(scale=(0.5, 2.0)), image, [0.5, 1.0, 0.5, 0.5, 0.5, 0.5])
    np.testing.assert_allclose(twice[:, :, 1::2, 1::2], image[:, :, 2:5, 2:5], atol=1e-5)  # centre 3 stays
    slanted = moved(A.Affine(shear=45, fill=0), image, [0.5, 0.5, 1.0, 0.5, 0.5, 0.5])
    np.testing.assert_allclose(slanted[:, :, 4, 1:], image[:, :, 4, :-1], atol=1e-5)  # one row below: one pixel right


def test_affine_shears_then_scales_then_turns() -> None:
    angle, kx, ky, scale = np.deg2rad(20), np.tan(np.deg2rad(-6)), np.tan(np.deg2rad(3)), 1.5
    turn = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    draws = [1.0, 1.0, 0.2, 0.65, 0.5, 1.0]  # the shears are -0.6 and 0.3 of 10 degrees
    inverse, shift = A.Affine(20, 0.1, (0.5, 1.5), 10).matrices(fixed(draws), 8, 6)
    expected = np.linalg.inv(np.array(turn) @ np.diag([scale, scale]) @ [[1, kx], [ky, 1]])
    np.testing.assert_allclose(inverse[0], expected, rtol=1e-12)
    np.testing.assert_allclose(shift[0], [0, 0.8])


def test_crop_and_flip_are_windows_and_mirrors() -> None:
    images = images_of(40)
    padded = np.pad(images, ((0, 0), (0, 0), (2, 2), (2, 2)), constant_values=5)
    corners = set()
    for image, frame in zip(A.RandomCrop(2, fill=5)(images, A.generators(0, 0, range(40))), padded, strict=True):
        found = [(i, j) for i in range(5) for j in range(5) if np.array_equal(image, frame[:, i : i + 9, j : j + 7])]
        assert len(found) == 1
        corners.add(found[0])
    assert {i for i, _ in corners} == {j for _, j in corners} == set(range(5))
    flips = [
        np.array_equal(new, old[..., ::-1])
        for new, old in zip(A.RandomFlip()(images, A.generators(0, 0, range(40))), images, strict=True)
    ]
    assert 8 < sum(flips) < 32
    np.testing.assert_array_equal(A.RandomFlip(1.0)(images, A.generators(0, 0, range(40))), images[..., ::-1])
    np.testing.assert_array_equal(A.RandomVerticalFlip(1.0)(images, A.generators(0, 0, range(40))), images[:, :, ::-1])


def test_cutout_overwrites_one_square() -> None:
    images = images_of(60)
    cut = A.Cutout(3, p=0.5, fill=9)(images, A.generators(0, 0, range(60)))
    sizes, corners = [], set()
    for new, old in zip(cut, images, strict=True):
        hole = (new != old).all(axis=0)
        assert np.array_equal(new[:, ~hole], old[:, ~hole]) and (new[:, hole] == 9).all()
        rows, columns = hole.any(1).sum(), hole.any(0).sum()
        assert hole.sum() == rows * columns
        sizes.append((int(rows), int(columns)))
        if hole.sum() == 9:
            corners.add(int(hole.ravel().argmax()))  # the first pixel, row by row
    assert (3, 3) in sizes and (0, 0) in sizes and max(max(size) for size in sizes) == 3
    assert len(corners) > 10  # row and column are drawn apart: the diagonal alone has 5


def test_noise_has_the_stated_strength() -> None:
    flat = np.zeros((200, 1, 16, 16), dtype=np.float32)
    strength = A.Noise(0.5)(flat, A.generators(0, 0, range(200))).std(axis=(1, 2, 3))
    assert 0.2 < strength.mean() < 0.3 and strength.max() < 0.6 and strength.min() < 0.05


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: A.Affine(degrees=-1), "degrees=-1"),
        (lambda: A.Affine(shear=90), r"shear in \[0, 90\)"),
        (lambda: A.Affine(scale=(0, 1)), r"scale must be \(low, high\)"),
        (lambda: A.Elastic(grid=1), "grid at least 2, got 0.03 and 1"),
        (lambda: A.RandomCrop(-1), "padding must be at least 0, got -1"),
        (lambda: A.RandomFlip(1.5), "p must be a probability between 0 and 1, got 1.5"),
        (lambda: A.Cutout(0), "size must be at least 1 pixel, got 0"),
        (lambda: A.Noise(-0.1), "std must be at least 0, got -0.1"),
    ],
)
def test_wrong_settings_are_named(make: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        make()  # type: ignore[operator]
