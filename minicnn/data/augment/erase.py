"""Parts of images overwritten: cutout and random erasing."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from minicnn.data.augment.transform import Generators, Images, check_probability, uniform
from minicnn.errors import DataError

ATTEMPTS = 10  # rectangles tried before an image is left as it is


class Cutout:
    """Overwrite a square of ``size`` pixels round a random centre with ``fill``, with probability ``p``.

    The square may reach over the edge. **See** T. DeVries and G. Taylor 2017, section 3.
    """

    def __init__(self, size: int, p: float = 1.0, fill: float = 0.0) -> None:
        check_probability("Cutout", p)
        if size < 1:
            raise DataError(f"Cutout: size must be at least 1 pixel, got {size}")
        self.size, self.p, self.fill = size, p, fill

    def __call__(self, images: Images, rngs: Generators) -> Images:
        h, w = images.shape[2:]
        draws = uniform(rngs, 3)
        top = (draws[:, 0] * h).astype(np.int64) - self.size // 2
        left = (draws[:, 1] * w).astype(np.int64) - self.size // 2
        rows = np.arange(h) - top[:, None]  # (N, H): the row inside the square
        columns = np.arange(w) - left[:, None]
        inside_rows = (rows >= 0) & (rows < self.size) & (draws[:, 2] < self.p)[:, None]
        inside = inside_rows[:, :, None] & ((columns >= 0) & (columns < self.size))[:, None, :]
        return np.where(inside[:, None], np.float32(self.fill), images)

    def __repr__(self) -> str:
        return f"Cutout(size={self.size}, p={self.p}, fill={self.fill})"


class RandomErasing:
    """Overwrite a rectangle of random area and aspect ratio at a random place, with probability ``p``.

    **Math**: the area is uniform in ``scale`` (fractions of the image), height / width uniform in ``ratio``; of ten
    rectangles drawn the first that lies inside is taken. ``fill`` is a number, or ``"random"``: for normalised images,
    a standard normal number a pixel and channel.
    **Differs** from torchvision, whose aspect ratio is log-uniform and whose largest area is 0.33.
    **See** Z. Zhong et al., "Random erasing data augmentation", 2017, algorithm 1.
    """

    def __init__(
        self,
        p: float = 0.5,
        scale: tuple[float, float] = (0.02, 0.4),
        ratio: tuple[float, float] = (0.3, 1 / 0.3),
        fill: float | Literal["random"] = "random",
    ) -> None:
        check_probability("RandomErasing", p)
        if not 0 < scale[0] <= scale[1] <= 1:
            raise DataError(f"RandomErasing: scale must be (low, high) with 0 < low <= high <= 1, got {scale}")
        if not 0 < ratio[0] <= ratio[1]:
            raise DataError(f"RandomErasing: ratio must be (low, high) with 0 < low <= high, got {ratio}")
        if isinstance(fill, str) and fill != "random":
            raise DataError(f"RandomErasing: fill must be a number or 'random', got {fill!r}")
        self.p, self.scale, self.ratio, self.fill = p, scale, ratio, fill

    def boxes(self, rngs: Generators, h: int, w: int) -> NDArray[np.int64]:
        """Draw the rectangles (N, 4): top, left, height, width; height 0 where nothing is erased."""
        draws = uniform(rngs, 1 + 4 * ATTEMPTS)
        tries = draws[:, 1:].reshape(len(rngs), ATTEMPTS, 4)
        area = h * w * (self.scale[0] + (self.scale[1] - self.scale[0]) * tries[:, :, 0])
        ratio = self.ratio[0] + (self.ratio[1] - self.ratio[0]) * tries[:, :, 1]
        tall, wide = np.rint(np.sqrt(area * ratio)), np.rint(np.sqrt(area / ratio))
        top, left = np.floor(tries[:, :, 2] * h), np.floor(tries[:, :, 3] * w)
        fits = (top + tall <= h) & (left + wide <= w) & (tall > 0) & (wide > 0)
        erased = fits.any(axis=1) & (draws[:, 0] < self.p)
        chosen = np.stack([top, left, tall, wide], axis=2)[np.arange(len(rngs)), fits.argmax(axis=1)]
        return np.where(erased[:, None], chosen, 0).astype(np.int64)

    def __call__(self, images: Images, rngs: Generators) -> Images:
        erased = images.copy()
        for image, rng, (top, left, height, width) in zip(
            erased, rngs, self.boxes(rngs, *images.shape[2:]), strict=True
        ):
            hole = image[:, top : top + height, left : left + width]
            hole[...] = rng.standard_normal(hole.shape, dtype=np.float32) if self.fill == "random" else self.fill
        return erased

    def __repr__(self) -> str:
        return f"RandomErasing(p={self.p}, scale={self.scale}, ratio={self.ratio}, fill={self.fill!r})"
