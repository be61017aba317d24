"""What a dataset is: numbered images of one shape with integer labels."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from minicnn.errors import DataError, IndexRangeError

Images = NDArray[np.float32]
Labels = NDArray[np.int64]


class Dataset(ABC):
    """Numbered samples: float32 images (C, H, W), normalised by ``(raw - mean) / std``, and int64 labels.

    A dataset of your own defines ``__len__``, ``labels`` and ``batch``; everything else follows.

    ``notes`` are lines that a person should read before training on it: counts, files left out.
    """

    notes: tuple[str, ...] = ()

    def __init__(
        self,
        name: str,
        classes: Sequence[str],
        shape: tuple[int, int, int],
        mean: ArrayLike = 0.0,
        std: ArrayLike = 1.0,
    ) -> None:
        self.name = name
        self.classes = tuple(classes)
        self.shape = shape
        self.mean = per_channel("mean", mean, shape[0])
        self.std = per_channel("std", std, shape[0])
        if not np.all(self.std > 0):
            raise DataError(f"dataset {name!r}: std must be positive in every channel, got {self.std.ravel().tolist()}")

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of samples."""

    @property
    @abstractmethod
    def labels(self) -> Labels:
        """All labels, (N,)."""

    @abstractmethod
    def batch(self, indices: NDArray[np.int64]) -> tuple[Images, Labels]:
        """Return images (B, C, H, W) and labels (B,) of the samples at ``indices``, in that order, as new arrays."""

    @property
    def images(self) -> Images:
        """All images, (N, C, H, W)."""
        return self.batch(np.arange(len(self)))[0]

    def __getitem__(self, index: int) -> tuple[Images, int]:
        """Return one image (C, H, W) and its label; negative indices count from the end."""
        count = len(self)
        if not -count <= index < count:
            raise IndexRangeError(
                f"dataset {self.name!r}: index {index} is out of range; it holds {count} samples, so use "
                f"{-count} to {count - 1}"
            )
        images, labels = self.batch(np.array([index % count]))
        return images[0], int(labels[0])

    def __iter__(self) -> Iterator[tuple[Images, int]]:
        return (self[i] for i in range(len(self)))

    def normalise(self, raw: ArrayLike) -> Images:
        """Map raw pixels in 0..1, (..., C, H, W), to what a model trained on this dataset expects."""
        return ((np.asarray(raw, dtype=np.float32) - self.mean) / self.std).astype(np.float32, copy=False)

    def denormalise(self, images: ArrayLike) -> Images:
        """Undo ``normalise``, for display: (..., C, H, W) back to raw pixels in 0..1."""
        return (np.asarray(images, dtype=np.float32) * self.std + self.mean).astype(np.float32, copy=False)

    def __repr__(self) -> str:
        c, h, w = self.shape
        return f"<{self.name}: {len(self)} images {c}x{h}x{w}, {len(self.classes)} classes>"


class ArrayDataset(Dataset):
    """A dataset held in memory: raw images (N, C, H, W) in 0..1 and labels (N,).

    **Raises** DataError for arrays whose shapes do not fit, an empty set, or a label outside ``classes``.
    """

    def __init__(
        self,
        raw: ArrayLike,
        labels: ArrayLike,
        classes: Sequence[str],
        name: str = "arrays",
        mean: ArrayLike = 0.0,
        std: ArrayLike = 1.0,
    ) -> None:
        pixels = np.asarray(raw, dtype=np.float32)
        numbers = np.asarray(labels)
        if pixels.ndim != 4:
            raise DataError(
                f"dataset {name!r}: images must be (N, C, H, W), got shape {pixels.shape}; "
                "give grey images a channel axis with images[:, None]"
            )
        if numbers.shape != pixels.shape[:1]:
            raise DataError(f"dataset {name!r}: {len(pixels)} images need labels ({len(pixels)},), got {numbers.shape}")
        if not len(pixels):
            raise DataError(f"dataset {name!r}: it is empty; expected at least one image")
        if numbers.dtype.kind not in "iu":
            raise DataError(
                f"dataset {name!r}: labels must be integers, got {numbers.dtype}; convert with .astype(int)"
            )
        wrong = np.flatnonzero((numbers < 0) | (numbers >= len(classes)))
        if wrong.size:
            raise DataError(
                f"dataset {name!r}: label {numbers[wrong[0]]} of sample {wrong[0]} is out of range; "
                f"{len(classes)} classes allow 0 to {len(classes) - 1}"
            )
        _, c, h, w = pixels.shape
        super().__init__(name, classes, (c, h, w), mean, std)
        self._images = np.ascontiguousarray(self.normalise(pixels))
        self._labels = numbers.astype(np.int64)
        # Every epoch reads these arrays: a write through a view would alter the data for good.
        self._images.flags.writeable = self._labels.flags.writeable = False

    def __len__(self) -> int:
        return len(self._labels)

    @property
    def labels(self) -> Labels:
        """All labels, (N,), read-only."""
        return self._labels

    @property
    def images(self) -> Images:
        """All images, (N, C, H, W), read-only."""
        return self._images

    def batch(self, indices: NDArray[np.int64]) -> tuple[Images, Labels]:
        """Return copies of the samples at ``indices``."""
        return self._images[indices], self._labels[indices]


class Subset(Dataset):
    """The samples of ``dataset`` at ``indices``, renumbered from 0."""

    def __init__(self, dataset: Dataset, indices: ArrayLike, name: str | None = None) -> None:
        super().__init__(name or f"{dataset.name} subset", dataset.classes, dataset.shape, dataset.mean, dataset.std)
        self.dataset = dataset
        self.indices = np.asarray(indices, dtype=np.int64)
        count = len(dataset)
        wrong = self.indices[(self.indices < 0) | (self.indices >= count)]
        if wrong.size:
            raise IndexRangeError(
                f"subset of {dataset.name!r}: index {wrong[0]} is out of range; it holds {count} samples, "
                f"0 to {count - 1}"
            )

    def __len__(self) -> int:
        return len(self.indices)

    @cached_property
    def _labels(self) -> Labels:
        return self.dataset.labels[self.indices]

    @property
    def labels(self) -> Labels:
        """All labels, (N,)."""
        return self._labels

    def batch(self, indices: NDArray[np.int64]) -> tuple[Images, Labels]:
        """Return the samples of the underlying dataset."""
        return self.dataset.batch(self.indices[indices])


def per_channel(argument: str, value: ArrayLike, channels: int) -> Images:
    """Return a number, or one a channel, as float32 (C, 1, 1)."""
    array = np.asarray(value, dtype=np.float32).ravel()
    if array.size not in (1, channels):
        raise DataError(f"{argument}: expected one number or {channels} (one a channel), got {array.size}")
    return np.ascontiguousarray(np.broadcast_to(array, (channels,))).reshape(channels, 1, 1)
