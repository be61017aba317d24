"""Two images of a batch become one, and so do their labels: mixup and CutMix.

A mix is any callable ``(images (B, C, H, W), targets (B, classes), rngs) -> images, targets`` with targets that are
probabilities; ``DataLoader(..., mix=MixUp(0.2))`` makes them of the labels and yields them, float32, in their place.
``cross_entropy`` takes both. Who is mixed with whom follows from numbers that each sample draws for itself, so the
same batches come out of any count of workers.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from minicnn.data.augment.transform import Generators, Images, check_probability, uniform
from minicnn.errors import DataError

Targets = NDArray[np.float32]
Mix = Callable[[Images, Targets, Generators], tuple[Images, Targets]]


def one_hot(labels: NDArray[np.int64], classes: int) -> Targets:
    """Labels (B,) as probabilities (B, classes)."""
    hot: Targets = (labels[:, None] == np.arange(classes)).astype(np.float32)
    return hot


class PairMix(ABC):
    """Mix each image, with probability ``p``, with a partner: the images of the batch in random order."""

    def __init__(self, alpha: float, p: float) -> None:
        if not alpha > 0:
            raise DataError(f"{type(self).__name__}: alpha must be positive, got {alpha}")
        check_probability(type(self).__name__, p)
        self.alpha, self.p = alpha, p

    def draw(self, rngs: Generators) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Draw partners (B,), a permutation, and what each image keeps of itself (B,), Beta(alpha, alpha) or 1."""
        draws = uniform(rngs, 2)
        kept = np.array([rng.beta(self.alpha, self.alpha) for rng in rngs])
        return draws[:, 0].argsort(kind="stable"), np.where(draws[:, 1] < self.p, kept, 1.0)

    def __call__(self, images: Images, targets: Targets, rngs: Generators) -> tuple[Images, Targets]:
        partner, kept = self.draw(rngs)
        mixed, kept = self.blend(images, images[partner], kept, rngs)
        part = kept.astype(np.float32)[:, None]
        return mixed, part * targets + (1 - part) * targets[partner]

    @abstractmethod
    def blend(
        self, images: Images, others: Images, kept: NDArray[np.float64], rngs: Generators
    ) -> tuple[Images, NDArray[np.float64]]:
        """Return the mixed images and what each label keeps (B,)."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(alpha={self.alpha}, p={self.p})"


class MixUp(PairMix):
    """Blend an image with another of its batch, and their labels alike.

    **Math**: ``x = k x_i + (1 - k) x_j``, ``y = k y_i + (1 - k) y_j`` with k of Beta(alpha, alpha).
    **Differs** from torchvision and the authors' code, which draw one k a batch: here each pair has its own.
    **See** H. Zhang et al., "mixup: beyond empirical risk minimization", 2018, section 2; alpha 0.2 is ImageNet's
    (section 3.1), 1 CIFAR's (section 3.2).
    """

    def __init__(self, alpha: float = 0.2, p: float = 1.0) -> None:
        super().__init__(alpha, p)

    def blend(
        self, images: Images, others: Images, kept: NDArray[np.float64], rngs: Generators
    ) -> tuple[Images, NDArray[np.float64]]:
        part = kept.astype(np.float32)[:, None, None, None]
        return part * images + (1 - part) * others, kept


class CutMix(PairMix):
    """Paste a box of another image of the batch into an image; the labels are mixed by area.

    **Math**: the box has the image's aspect ratio and ``1 - k`` of its area, k of Beta(alpha, alpha), round a random
    centre, and is cut off at the edge; the label keeps what part of the image is left.
    **Differs** from torchvision and the authors' code, which draw one box a batch: here each pair has its own.
    **See** S. Yun et al., "CutMix: regularization strategy to train strong classifiers with localizable features",
    2019, section 3.1.
    """

    def __init__(self, alpha: float = 1.0, p: float = 1.0) -> None:
        super().__init__(alpha, p)

    def blend(
        self, images: Images, others: Images, kept: NDArray[np.float64], rngs: Generators
    ) -> tuple[Images, NDArray[np.float64]]:
        h, w = images.shape[2:]
        side = np.sqrt(1 - kept)[:, None] * (h, w)  # (B, 2), as below
        centre = uniform(rngs, 2) * (h, w)
        low, high = np.maximum(np.rint(centre - side / 2), 0), np.minimum(np.rint(centre + side / 2), (h, w))
        rows, columns = np.arange(h), np.arange(w)
        down = (rows >= low[:, :1]) & (rows < high[:, :1])  # (B, H)
        across = (columns >= low[:, 1:]) & (columns < high[:, 1:])
        mixed = np.where((down[:, :, None] & across[:, None, :])[:, None], others, images)
        return mixed, 1 - down.sum(axis=1) * across.sum(axis=1) / (h * w)


class OneOf:
    """Apply one of several mixes to a batch, each as often as the others; the first sample of the batch draws it."""

    def __init__(self, *mixes: Mix) -> None:
        if not mixes:
            raise DataError("OneOf: expected one mix or more, got none")
        self.mixes = mixes

    def __call__(self, images: Images, targets: Targets, rngs: Generators) -> tuple[Images, Targets]:
        chosen = int(rngs[0].random() * len(self.mixes)) if rngs else 0
        return self.mixes[chosen](images, targets, rngs)

    def __repr__(self) -> str:
        return f"OneOf({', '.join(map(repr, self.mixes))})"
