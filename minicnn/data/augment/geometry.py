"""Images moved, bent and mirrored: affine maps, elastic fields, flips."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from minicnn.data.augment.transform import Compose, Generators, Images, check_probability, uniform
from minicnn.data.digits import MEAN, STD
from minicnn.data.resize import resize_bilinear, sample_bilinear
from minicnn.errors import DataError


class Affine:
    """Rotate, shift, scale and shear each image about its centre, read bilinearly.

    **Math**: angle and both shears are uniform in ``±degrees`` and ``±shear`` (degrees), the shift in
    ``±translate`` (fractions of width and height), the scale log-uniform between ``scale[0]`` and ``scale[1]``; output
    pixel ``p`` (from the centre) reads the input at ``inverse(R S K) (p - shift)``.
    What lies outside is ``fill``: ``"border"`` repeats the nearest edge pixel, a number stands for itself (a
    normalised image's black is ``-mean / std``, not 0).
    """

    def __init__(
        self,
        degrees: float = 0.0,
        translate: float = 0.0,
        scale: tuple[float, float] = (1.0, 1.0),
        shear: float = 0.0,
        fill: float | Literal["border"] = "border",
    ) -> None:
        if degrees < 0 or translate < 0 or not 0 <= shear < 90:
            raise DataError(
                "Affine: degrees and translate must be at least 0 and shear in [0, 90), "
                f"got degrees={degrees}, translate={translate}, shear={shear}"
            )
        if not 0 < scale[0] <= scale[1]:
            raise DataError(f"Affine: scale must be (low, high) with 0 < low <= high, got {scale}")
        self.degrees, self.translate, self.scale, self.shear, self.fill = degrees, translate, scale, shear, fill

    def matrices(self, rngs: Generators, h: int, w: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Draw the inverse matrices (N, 2, 2) and the shifts (N, 2), in pixels, both in (x, y) order."""
        draws = uniform(rngs, 6)
        signed = 2 * draws - 1
        angle = np.deg2rad(self.degrees) * signed[:, 0]
        low, high = np.log(self.scale)
        scale = np.exp(low + (high - low) * draws[:, 1])
        kx, ky = np.tan(np.deg2rad(self.shear) * signed[:, 2:4]).T
        cos, sin = np.cos(angle), np.sin(angle)
        # R(angle) @ [[1, kx], [ky, 1]] * scale
        forward = np.stack([cos - sin * ky, cos * kx - sin, sin + cos * ky, sin * kx + cos], axis=1).reshape(-1, 2, 2)
        shift = self.translate * signed[:, 4:6] * (w, h)
        return np.linalg.inv(forward * scale[:, None, None]), shift

    def __call__(self, images: Images, rngs: Generators) -> Images:
        h, w = images.shape[2:]
        inverse, shift = self.matrices(rngs, h, w)
        inverse, shift = inverse.astype(np.float32), shift.astype(np.float32)
        x = np.arange(w, dtype=np.float32) - (w - 1) / 2 - shift[:, None, None, 0]  # (N, 1, W)
        y = (np.arange(h, dtype=np.float32) - (h - 1) / 2)[:, None] - shift[:, None, None, 1]  # (N, H, 1)
        m = inverse[:, :, :, None, None]  # (N, 2, 2, 1, 1)
        at_x = m[:, 0, 0] * x + m[:, 0, 1] * y + (w - 1) / 2  # (N, H, W)
        at_y = m[:, 1, 0] * x + m[:, 1, 1] * y + (h - 1) / 2
        return sample_bilinear(images, at_y, at_x, self.fill)

    def __repr__(self) -> str:
        return (
            f"Affine(degrees={self.degrees}, translate={self.translate}, scale={self.scale}, shear={self.shear}, "
            f"fill={self.fill!r})"
        )


class Rotation(Affine):
    """Turn each image about its centre by an angle uniform in ``±degrees``; `Affine` with nothing else.

    **Differs** from torchvision's RandomRotation: bilinear instead of nearest pixel, and the edge is repeated
    instead of filled with black, unless ``fill`` is a number.
    """

    def __init__(self, degrees: float, fill: float | Literal["border"] = "border") -> None:
        super().__init__(degrees=degrees, fill=fill)

    def __repr__(self) -> str:
        return f"Rotation(degrees={self.degrees}, fill={self.fill!r})"


class Elastic:
    """Bend each image by a smooth random field of displacements (P. Simard et al. 2003, section 3).

    **Math**: displacements on a coarse ``grid x grid`` lattice are Gaussian with standard deviation ``strength``
    (a fraction of the image's side) and interpolated bilinearly to every pixel; the paper smooths white noise with a
    Gaussian kernel instead.
    """

    def __init__(self, strength: float = 0.03, grid: int = 4, fill: float | Literal["border"] = "border") -> None:
        if strength < 0 or grid < 2:
            raise DataError(f"Elastic: strength must be at least 0 and grid at least 2, got {strength} and {grid}")
        self.strength, self.grid, self.fill = strength, grid, fill

    def __call__(self, images: Images, rngs: Generators) -> Images:
        if not rngs:
            return images.copy()
        h, w = images.shape[2:]
        lattice = np.stack([rng.standard_normal((2, self.grid, self.grid)) for rng in rngs]).astype(np.float32)
        field = self.strength * resize_bilinear(lattice, (h, w))  # (N, 2, H, W)
        return sample_bilinear(
            images, np.arange(h)[:, None] + h * field[:, 0], np.arange(w) + w * field[:, 1], self.fill
        )

    def __repr__(self) -> str:
        return f"Elastic(strength={self.strength}, grid={self.grid}, fill={self.fill!r})"


class RandomFlip:
    """Mirror an image left to right with probability ``p`` (A. Krizhevsky et al. 2012, section 4.1)."""

    axis = 3

    def __init__(self, p: float = 0.5) -> None:
        check_probability(type(self).__name__, p)
        self.p = p

    def __call__(self, images: Images, rngs: Generators) -> Images:
        flip = uniform(rngs, 1)[:, 0] < self.p
        return np.where(flip[:, None, None, None], np.flip(images, self.axis), images)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(p={self.p})"


class RandomVerticalFlip(RandomFlip):
    """Mirror an image top to bottom with probability ``p``: for pictures that have no way up."""

    axis = 2


def digits_augment() -> Compose:
    """Return the changes that `minicnn train` makes to the digits: `Affine`, then `Elastic`, both filled with paper."""
    paper = -MEAN / STD
    return Compose(
        Affine(degrees=15, translate=0.1, scale=(0.8, 1.2), shear=15, fill=paper),
        Elastic(strength=0.04, grid=4, fill=paper),
    )
