"""Images kept as bytes, and the datasets that are published as a training file and a test file."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from minicnn.data.dataset import Dataset, Images, Labels
from minicnn.data.download import cache_folder
from minicnn.errors import DataError

SPLITS = ("train", "val", "test")
LARGEST = 4096  # pixels a side that an image may be asked for in

Bytes = NDArray[np.uint8]
Arrays = tuple[Bytes, Labels]  # pixels (N, C, H, W) and labels (N,)


class ByteImages(Dataset):
    """Images of one size, kept as bytes (N, C, H, W); scaled to ``size`` and normalised when they are asked for.

    ``rows`` chooses the images that belong to this dataset, by default all; the bytes are shared, not copied.
    Scaling is bilinear, with antialiasing where an image gets smaller.
    """

    def __init__(
        self,
        pixels: Bytes,
        labels: Labels,
        classes: Sequence[str],
        name: str,
        mean: Sequence[float],
        std: Sequence[float],
        size: int | None = None,
        rows: NDArray[np.int64] | None = None,
    ) -> None:
        _, channels, height, width = pixels.shape
        shape = (channels, height, width) if size is None else (channels, size, size)
        super().__init__(name, classes, shape, mean, std)
        check_size(name, shape[1])
        self._pixels = pixels
        self._rows = np.arange(len(pixels)) if rows is None else rows
        self._labels: Labels = labels[self._rows].astype(np.int64)
        self._labels.flags.writeable = False

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def labels(self) -> Labels:
        """All labels, (N,), read-only."""
        return self._labels

    def batch(self, indices: NDArray[np.int64]) -> tuple[Images, Labels]:
        """Scale and normalise the samples at ``indices``."""
        raw = self._pixels[self._rows[indices]]  # (B, C, h, w)
        if raw.shape[1:] != self.shape:
            raw = resized(raw, self.shape[1])
        return self.normalise(raw / np.float32(255)), self._labels[indices]


def resized(pixels: Bytes, size: int) -> Bytes:
    """Scale images (N, C, H, W) to (N, C, size, size), bilinearly, with antialiasing where they get smaller."""
    from PIL import Image

    n, c = pixels.shape[:2]
    result = np.empty((n, c, size, size), np.uint8)
    for image, target in zip(pixels.reshape(n * c, *pixels.shape[2:]), result.reshape(n * c, size, size), strict=True):
        target[...] = np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR))
    return result


def check_size(name: str, size: int) -> None:
    """Raise DataError unless ``size`` is a side that images may have."""
    if not isinstance(size, int | np.integer) or not 1 <= size <= LARGEST:
        raise DataError(f"{name}: size must be a whole number of pixels from 1 to {LARGEST}, got {size!r}")


class Published(NamedTuple):
    """Both files of a dataset in memory, and the mean and standard deviation of its training part."""

    train: Arrays
    test: Arrays
    classes: tuple[str, ...]
    held: NDArray[np.bool_]  # (N,): which images of the training file are the validation part
    mean: list[float]
    std: list[float]


Read = Callable[[], tuple[Arrays, Arrays, Sequence[str]]]


def part(name: str, split: str, size: int, read: Read) -> ByteImages:
    """Return a part of a dataset of two files, which ``read`` reads: training, test, names of the classes.

    The validation part is the last tenth of each class of the training file, which has none of its own.
    Mean and standard deviation, a channel, are those of what is left, in the size of the files.
    """
    check_split(name, split)
    check_size(name, size)
    whole = _whole(read, cache_folder())
    pixels, labels = whole.test if split == "test" else whole.train
    rows = None if split == "test" else np.flatnonzero(whole.held == (split == "val"))
    return ByteImages(pixels, labels, whole.classes, f"{name} {split}", whole.mean, whole.std, size, rows)


def check_split(name: str, split: str) -> None:
    """Raise DataError unless ``split`` is one of the three parts."""
    if split not in SPLITS:
        raise DataError(f"{name}: there is no split {split!r}; expected one of {', '.join(SPLITS)}")


@lru_cache(maxsize=1)  # three parts are asked for in a row
def _whole(read: Read, folder: Path) -> Published:
    train, test, classes = read()
    held = held_out(train[1])
    mean, std = statistics(train[0][~held])
    return Published(train, test, tuple(classes), held, mean, std)


def held_out(labels: Labels) -> NDArray[np.bool_]:
    """Mark the last tenth of each class, (N,): at least one image, unless the class has no other."""
    held = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        count = max(len(rows) // 10, 1) if len(rows) > 1 else 0
        held[rows[len(rows) - count :]] = True
    return held


def statistics(pixels: Bytes) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel of images (N, C, H, W), of pixels scaled to 0..1.

    Counted exactly: the sums are of whole numbers.
    """
    values = np.arange(256)
    mean, std = [], []
    for channel in range(pixels.shape[1]):
        counts = np.bincount(pixels[:, channel].ravel(), minlength=256)
        m, s = moments(int(counts.sum()), int(counts @ values), int(counts @ values**2))
        mean.append(m)
        std.append(s)
    return mean, std


def moments(count: int, total: int, squares: int) -> tuple[float, float]:
    """Mean and standard deviation, in units of 255, of ``count`` bytes; at least one step of grey, so not 0."""
    variance = (count * squares - total * total) / count**2  # the numerator is a whole number: nothing cancels
    return total / count / 255, max(variance**0.5, 1.0) / 255
