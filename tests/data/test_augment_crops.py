"""Crops, resizing and erasing against plain loops over pixels, Pillow's numbers never taken on trust."""

import math

import numpy as np
import pytest

from minicnn import models
from minicnn.data import augment as A
from minicnn.data.augment.crops import resize_into
from minicnn.errors import DataError


def images_of(n: int, c: int = 2, h: int = 9, w: int = 7, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, c, h, w)).astype(np.float32)


def triangle(old: int, new: int) -> np.ndarray:
    """The weights (new, old) of one axis of an antialiased bilinear resize: a tent as wide as an output pixel."""
    scale = old / new
    reach = max(scale, 1.0)
    weights = np.zeros((new, old))
    for i in range(new):
        centre = (i + 0.5) * scale
        for j in range(old):
            weights[i, j] = max(0.0, 1 - abs(j + 0.5 - centre) / reach)
        weights[i] /= weights[i].sum()
    return weights


@pytest.mark.parametrize("size", [(4, 3), (9, 7), (20, 15), (3, 14)])
def test_resize_equals_a_loop(size: tuple[int, int]) -> None:
    image = images_of(1)[0]
    out = np.empty((2, *size), np.float32)
    resize_into(out, image)
    expected = np.einsum("ih,chw,jw->cij", triangle(9, size[0]), image.astype(np.float64), triangle(7, size[1]))
    assert np.abs(out - expected).max() <= 1e-5 * np.abs(expected).max()


def test_random_crop_of_a_smaller_size_is_a_window() -> None:
    images = images_of(120)
    corners = set()
    cropped = A.RandomCrop(size=5)(images, A.generators(0, 0, range(120)))
    assert cropped.shape == (120, 2, 5, 5) == (120, *A.RandomCrop(size=5).output_shape((2, 9, 7)))
    for new, old in zip(cropped, images, strict=True):
        found = [(i, j) for i in range(5) for j in range(3) if np.array_equal(new, old[:, i : i + 5, j : j + 5])]
        assert len(found) == 1
        corners.add(found[0])
    assert len(corners) == 15  # every window of 9x7 has its turn


@pytest.mark.parametrize("fill", ["reflect", "border", 3.0])
def test_random_crop_fills_as_told(fill: float | str) -> None:
    image = images_of(1, 1, 4, 5)
    rows = {"reflect": [2, 1, 0, 1, 2, 3, 2, 1], "border": [0, 0, 0, 1, 2, 3, 3, 3]}
    columns = {"reflect": [2, 1, 0, 1, 2, 3, 4, 3, 2], "border": [0, 0, 0, 1, 2, 3, 4, 4, 4]}
    if isinstance(fill, str):
        whole = image[0, 0][rows[fill]][:, columns[fill]]
    else:
        whole = np.full((8, 9), 3, np.float32)
        whole[2:6, 2:7] = image[0, 0]
    for i in range(20):
        crop = A.RandomCrop(2, fill)(image, A.generators(0, 0, [i]))[0, 0]
        assert any(np.array_equal(crop, whole[y : y + 4, x : x + 5]) for y in range(5) for x in range(5))


def box_by_hand(rng: np.random.Generator, h: int, w: int) -> tuple[int, int, int, int]:
    """Section 6 of the paper, a box at a time; torchvision tries ten times and then takes the middle."""
    draws = rng.random(22).tolist()
    for area, shape in zip(draws[:10], draws[10:20], strict=True):
        pixels = (0.08 + 0.92 * area) * h * w
        ratio = math.exp(math.log(3 / 4) + shape * (math.log(4 / 3) - math.log(3 / 4)))
        height, width = round(math.sqrt(pixels / ratio)), round(math.sqrt(pixels * ratio))
        if 0 < height <= h and 0 < width <= w:
            return int(draws[20] * (h - height + 1)), int(draws[21] * (w - width + 1)), height, width
    height, width = (h, round(h * 4 / 3)) if w / h > 4 / 3 else (round(w * 4 / 3), w) if w / h < 3 / 4 else (h, w)
    return (h - height) // 2, (w - width) // 2, height, width


@pytest.mark.parametrize(("h", "w"), [(32, 32), (30, 47), (9, 60), (60, 9)])
def test_random_resized_boxes_are_those_of_a_loop(h: int, w: int) -> None:
    boxes = A.RandomResizedCrop().boxes(A.generators(3, 1, range(300)), h, w)
    assert [tuple(box) for box in boxes.tolist()] == [box_by_hand(rng, h, w) for rng in A.generators(3, 1, range(300))]


def test_random_resized_boxes_have_the_stated_areas_and_aspects() -> None:
    boxes = A.RandomResizedCrop().boxes(A.generators(0, 0, range(2000)), 400, 400)
    top, left, height, width = boxes.T
    share, aspect = height * width / 400**2, np.log(width / height)
    assert 0.078 < share.min() < 0.1 and 0.95 < share.max() <= 1
    assert 0.5 < np.mean(share < 0.54) < 0.62  # some large ones do not fit and are drawn again
    assert abs(aspect.mean()) < 0.02 and np.abs(aspect).max() < math.log(4 / 3) + 0.02
    assert (top + height <= 400).all() and (left + width <= 400).all() and (boxes >= 0).all()
    room = (height < 300) & (width < 300)
    for low, side in ((top, height), (left, width)):
        assert abs((low[room] / (400 - side[room])).mean() - 0.5) < 0.03


def test_random_resized_crop_resizes_its_box() -> None:
    images = images_of(5, h=20, w=24)
    crop = A.RandomResizedCrop(12)
    boxes = crop.boxes(A.generators(1, 0, range(5)), 20, 24)
    got = crop(images, A.generators(1, 0, range(5)))
    assert got.shape == (5, 2, 12, 12)
    for new, old, (top, left, height, width) in zip(got, images, boxes, strict=True):
        box = old[:, top : top + height, left : left + width].astype(np.float64)
        expected = np.einsum("ih,chw,jw->cij", triangle(height, 12), box, triangle(width, 12))
        assert np.abs(new - expected).max() <= 1e-5 * np.abs(expected).max()


def test_centre_crop_is_the_middle_of_the_resized_image() -> None:
    images = images_of(3, h=20, w=31)
    plain = A.CentreCrop(8)(images, [])
    np.testing.assert_array_equal(plain, images[:, :, 6:14, 12:20])  # torchvision's int(round(11.5)) is 12
    np.testing.assert_array_equal(plain, models.Crops(8, 1)(images)[0])  # the view that an ensemble takes
    resized = A.CentreCrop(8, resize=10)(images, [])
    middle = np.einsum("ih,nchw,jw->ncij", triangle(20, 10), images.astype(np.float64), triangle(31, 15))
    assert np.abs(resized - middle[:, :, 1:9, 4:12]).max() <= 1e-5 * np.abs(middle).max()
    tall = A.CentreCrop(8, resize=10)(images.transpose(0, 1, 3, 2), [])
    assert np.abs(tall - resized.transpose(0, 1, 3, 2)).max() <= 1e-5


def test_random_erasing_overwrites_one_rectangle_as_often_as_told() -> None:
    images = np.full((400, 2, 30, 20), 9, np.float32)
    erased = A.RandomErasing(0.7, fill="random")(images, A.generators(0, 0, range(400)))
    shares, ratios, places = [], [], set()
    for new in erased:
        hole = (new != 9).all(axis=0)
        assert ((new == 9).all(axis=0) | hole).all()
        if hole.any():
            rows, columns = np.flatnonzero(hole.any(1)), np.flatnonzero(hole.any(0))
            assert hole.sum() == rows.size * columns.size
            shares.append(hole.mean())
            ratios.append(rows.size / columns.size)
            places.add((int(rows[0]), int(columns[0])))
            assert rows[-1] - rows[0] == rows.size - 1 and columns[-1] - columns[0] == columns.size - 1
    assert 0.63 < len(shares) / 400 < 0.77
    assert 0.01 < min(shares) < 0.04 and 0.3 < max(shares) < 0.42
    assert 0.25 < min(ratios) < 0.6 and 2 < max(ratios) <= 4 and np.mean(np.array(ratios) > 1.6) > 0.35  # uniform
    assert len(places) > 150
    values = erased[erased != 9]
    assert abs(values.mean()) < 0.02 and abs(values.std() - 1) < 0.02
    assert np.unique(A.RandomErasing(1, fill=-2)(images, A.generators(0, 0, range(400)))).tolist() == [-2, 9]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: A.RandomCrop(2, fill="mirror"), "fill must be a number, 'border' or 'reflect', got 'mirror'"),
        (lambda: A.RandomCrop(size=0), "size must be at least 1 pixel, got 0"),
        (lambda: A.RandomCrop(1, size=12)(images_of(1), A.generators(0, 0, [0])), "9x7 with padding 1 have no window"),
        (lambda: A.RandomCrop(7, "reflect")(images_of(1), A.generators(0, 0, [0])), "cannot be reflected 7 pixels"),
        (lambda: A.RandomResizedCrop(scale=(0, 1)), r"scale must be \(low, high\)"),
        (lambda: A.RandomResizedCrop(ratio=(2, 1)), r"ratio must be \(low, high\)"),
        (lambda: A.RandomResizedCrop(-3), "size must be at least 1 pixel, got -3"),
        (lambda: A.CentreCrop(8, 7), "1 <= size <= resize, got size=8 and resize=7"),
        (lambda: A.CentreCrop(8)(images_of(1), []), "9x7 have no crop of 8 pixels; fix: resize=8"),
        (lambda: A.RandomErasing(2), "p must be a probability"),
        (lambda: A.RandomErasing(scale=(0.5, 2)), r"scale must be \(low, high\)"),
        (lambda: A.RandomErasing(ratio=(0, 2)), r"ratio must be \(low, high\)"),
        (lambda: A.RandomErasing(fill="noise"), "fill must be a number or 'random', got 'noise'"),
    ],
)
def test_wrong_settings_are_named(make: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        make()  # type: ignore[operator]
