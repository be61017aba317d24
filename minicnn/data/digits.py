"""The UCI handwritten digits that ship with minicnn (``digits.md``: authors, licence, how the files were made)."""

from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minicnn.data.dataset import ArrayDataset
from minicnn.data.resize import resize_bilinear
from minicnn.errors import DataError

CLASSES = tuple("0123456789")
SPLITS = ("train", "val", "test")
# Mean and standard deviation of the 1,077 training images at 8x8, scaled to 0..1; the same at every size, so that a
# digit's ink has one value whatever the margin.
MEAN = 0.30418698
STD = 0.37531546


def digits(split: str = "train", size: int = 8, margin: int | None = None) -> ArrayDataset:
    """Return one part of the digits: 1,077 ``train``, 360 ``val`` or 360 ``test`` images, stratified by class.

    **Shapes**: images (N, 1, size, size). The 8x8 originals are enlarged bilinearly (no antialiasing) to
    ``size - 2 * margin`` and set in a frame of paper ``margin`` pixels wide: by default ``size // 8`` pixels, so that
    augmentation seldom pushes ink over the edge, and none for sizes below 16.
    **Math**: ``image = (pixel / 16 - MEAN) / STD``; 0 is paper, 16 is ink; the statistics are the training part's.
    """
    if split not in SPLITS:
        raise DataError(f"digits: there is no split {split!r}; expected one of {', '.join(SPLITS)}")
    if margin is None:
        margin = size // 8 if size >= 16 else 0
    inner = size - 2 * margin
    if margin < 0 or inner < 1:
        raise DataError(
            f"digits: size {size} with margin {margin} leaves {inner} pixels for the digit; "
            "expected margin >= 0 and size - 2 * margin >= 1"
        )
    packed = _read("digits.npz")
    rows = _read("digits_split.npz")[split]
    ink = packed["images"][rows, None] * np.float32(1 / 16)  # (N, 1, 8, 8)
    raw = np.pad(resize_bilinear(ink, (inner, inner)), ((0, 0), (0, 0), (margin, margin), (margin, margin)))
    return ArrayDataset(raw, packed["labels"][rows], CLASSES, f"digits {split}", MEAN, STD)


@cache
def _read(name: str) -> dict[str, NDArray[Any]]:
    """Read a packaged archive once."""
    with (files("minicnn.data") / name).open("rb") as file, np.load(file) as archive:
        return dict(archive)
