"""What is learned from the training part and done to every image: mean pixels, global contrast, whitening.

A step is a callable images (N, C, H, W) -> images, with ``undo`` for display. Fit it to the training part, and give it
to all parts: ``whiten = ZCA.of(train.images); train, val = Prepared(train, whiten), Prepared(val, whiten)``.
"""

from collections.abc import Iterator
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from minicnn.data.dataset import Dataset, Images, Labels
from minicnn.errors import DataError

BLOCK = 1000  # images at a time: sums in float64 need twice the memory
ZCA_MOST = 64 * 64 * 3  # pixels and channels; the time of an eigendecomposition grows with the cube


class Step(Protocol):
    """A fixed change of images (N, C, H, W)."""

    def __call__(self, images: Images) -> Images: ...

    def undo(self, images: Images) -> Images: ...


def channel_statistics(raw: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation of each channel, (C,), of raw images (N, C, H, W): what `ArrayDataset` asks for."""
    images = _checked("channel_statistics", raw)
    pixels = images.size // images.shape[1]
    mean = np.sum([block.sum(axis=(0, 2, 3)) for block in _blocks(images)], axis=0) / pixels
    squares = [np.square(block - mean[:, None, None]).sum(axis=(0, 2, 3)) for block in _blocks(images)]
    return mean, np.sqrt(np.sum(squares, axis=0) / pixels)


class PixelMean:
    """Subtract the mean training image.

    **Math**: ``x - mean`` with mean (C, H, W): one value a pixel and channel.
    **See** A. Krizhevsky et al. 2012, section 2; K. He et al. 2016, section 4.2 (CIFAR).
    """

    def __init__(self, mean: ArrayLike) -> None:
        self.mean = np.asarray(mean, np.float32)

    @classmethod
    def of(cls, images: ArrayLike) -> "PixelMean":
        """Fit to the training images (N, C, H, W)."""
        checked = _checked("PixelMean.of", images)
        return cls(checked.mean(axis=0, dtype=np.float64))

    def __call__(self, images: Images) -> Images:
        return images - self.mean

    def undo(self, images: Images) -> Images:
        """Add the mean image again."""
        return images + self.mean


class GlobalContrast:
    """Subtract from each image its mean and divide it by its standard deviation.

    **Math**: ``scale (x - m) / max(epsilon, sqrt(bias + mean((x - m)^2)))`` with ``m = mean(x)``, over all pixels and
    channels of one image. Nothing is fitted.
    **Differs** from pylearn2, which divides by the norm: its ``scale=55`` for CIFAR is 1 here.
    **See** I. Goodfellow et al., "Deep Learning", 2016, section 12.2.1.1.
    """

    def __init__(self, scale: float = 1.0, bias: float = 0.0, epsilon: float = 1e-8) -> None:
        if scale <= 0 or bias < 0 or epsilon <= 0:
            raise DataError(
                f"GlobalContrast: expected scale > 0, bias >= 0 and epsilon > 0, got {scale}, {bias} and {epsilon}"
            )
        self.scale, self.bias, self.epsilon = scale, bias, epsilon

    def __call__(self, images: Images) -> Images:
        flat = images.reshape(len(images), -1).astype(np.float64)
        flat -= flat.mean(axis=1, keepdims=True)
        deviation = np.sqrt(self.bias + np.square(flat).mean(axis=1, keepdims=True))
        flat *= self.scale / np.maximum(deviation, self.epsilon)
        return flat.reshape(images.shape).astype(np.float32)

    def undo(self, images: Images) -> Images:
        """For display only, since what was divided out is gone: grey 0.5, standard deviation 0.25."""
        shown: Images = images * np.float32(0.25 / self.scale) + np.float32(0.5)
        return shown


class ZCA:
    """Whiten images: pixels of the training part become uncorrelated and about equally strong, and look as before.

    **Math**: with the mean and the covariance ``U diag(s) U^T`` of the training images as vectors of C H W numbers,
    ``(x - mean) W`` with ``W = U diag(1 / sqrt(s + epsilon)) U^T``. Usually after `GlobalContrast`; ``epsilon`` damps
    what hardly varies, most of it noise (0.1: pylearn2's, for images of standard deviation 1).
    **See** A. Krizhevsky, "Learning multiple layers of features from tiny images", 2009, appendix A; I. Goodfellow et
    al., "Maxout networks", 2013 (CIFAR); wide residual networks (S. Zagoruyko and N. Komodakis 2016, section 3).
    """

    def __init__(self, mean: ArrayLike, whiten: ArrayLike, colour: ArrayLike) -> None:
        self.mean = np.asarray(mean, np.float32)  # (C, H, W)
        self.whiten = np.asarray(whiten, np.float32)  # (D, D), symmetric, D = C H W
        self.colour = np.asarray(colour, np.float32)  # its inverse

    @classmethod
    def of(cls, images: ArrayLike, epsilon: float = 0.1) -> "ZCA":
        """Fit to the training images (N, C, H, W); CIFAR's 3,072 numbers an image take a while, once.

        **Raises** DataError for images of more than 64 x 64 x 3 numbers, and where epsilon is negative, or 0 with fewer
        images than numbers.
        """
        checked = _checked("ZCA.of", images)
        size = checked[0].size
        if size > ZCA_MOST:
            raise DataError(
                f"ZCA.of: images of {size} numbers need a matrix of {size}x{size}, expected at most {ZCA_MOST}"
            )
        if epsilon < 0 or (epsilon == 0 and len(checked) <= size):
            raise DataError(
                f"ZCA.of: epsilon must be at least 0, and positive for {len(checked)} images of {size} numbers, which "
                f"do not vary in every direction; got {epsilon}"
            )
        mean = checked.mean(axis=0, dtype=np.float64)
        covariance = np.zeros((size, size))
        for block in _blocks(checked):
            flat = (block - mean).reshape(len(block), size)
            covariance += flat.T @ flat
        values, vectors = np.linalg.eigh(covariance / len(checked))
        spread = np.sqrt(np.maximum(values, 0) + epsilon)
        return cls(mean, (vectors / spread) @ vectors.T, (vectors * spread) @ vectors.T)

    def __call__(self, images: Images) -> Images:
        return self._product(self._flat(images) - self.mean.ravel(), self.whiten)

    def undo(self, images: Images) -> Images:
        """Colour the images again."""
        return self._product(self._flat(images), self.colour) + self.mean

    def _flat(self, images: Images) -> Images:
        if images.shape[1:] != self.mean.shape:
            raise DataError(f"ZCA: fitted to images of {self.mean.shape}, got {images.shape[1:]}")
        return images.reshape(len(images), -1)

    def _product(self, flat: Images, matrix: Images) -> Images:
        product: Images = (flat @ matrix).reshape(len(flat), *self.mean.shape)
        return product


class Prepared(Dataset):
    """``dataset`` with every image passed through ``steps``, in order; ``hold`` keeps the results in memory.

    Its ``mean`` and ``std`` are 0 and 1: colours are changed before these steps or not at all.
    """

    def __init__(self, dataset: Dataset, *steps: Step, hold: bool = False) -> None:
        super().__init__(dataset.name, dataset.classes, dataset.shape)
        self.dataset, self.steps = dataset, steps
        self._held: Images | None = None
        if hold:
            held = np.empty((len(dataset), *dataset.shape), np.float32)
            for start in range(0, len(held), BLOCK):
                rows = np.arange(start, min(start + BLOCK, len(held)))
                held[rows] = self.batch(rows)[0]
            held.flags.writeable = False
            self._held = held

    def __len__(self) -> int:
        return len(self.dataset)

    @property
    def labels(self) -> Labels:
        """All labels, (N,)."""
        return self.dataset.labels

    def batch(self, indices: NDArray[np.int64]) -> tuple[Images, Labels]:
        """Return the samples at ``indices`` after all steps."""
        if self._held is not None:
            return self._held[indices], self.labels[indices]
        images, labels = self.dataset.batch(indices)
        return self._passed(images), labels

    def _passed(self, images: Images) -> Images:
        for step in self.steps:
            images = step(images)
        return images

    def normalise(self, raw: ArrayLike) -> Images:
        """Map raw pixels in 0..1, (..., C, H, W), to what a model trained on this dataset expects."""
        images = self.dataset.normalise(raw)
        return self._passed(images.reshape(-1, *images.shape[-3:])).reshape(images.shape)

    def denormalise(self, images: ArrayLike) -> Images:
        """Undo ``normalise``, for display."""
        given = np.asarray(images, np.float32)
        undone: Images = given.reshape(-1, *given.shape[-3:])
        for step in reversed(self.steps):
            undone = step.undo(undone)
        return self.dataset.denormalise(undone).reshape(given.shape)


def _checked(owner: str, images: ArrayLike) -> NDArray[np.floating]:
    array: NDArray[np.floating] = np.asarray(images)
    if array.ndim != 4 or not array.size:
        raise DataError(f"{owner}: expected images (N, C, H, W), at least one, got shape {array.shape}")
    return array


def _blocks(images: NDArray[np.floating]) -> Iterator[NDArray[np.float64]]:
    return (images[start : start + BLOCK].astype(np.float64) for start in range(0, len(images), BLOCK))
