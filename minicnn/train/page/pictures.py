"""Pictures of a dataset as PNGs, small enough to lie inside a page."""

import base64
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minicnn.data import Dataset

SIDE = 80  # pixels: 24 colour pictures of noise are 600 kB then


def data_uri(dataset: Dataset, index: int) -> str:
    """The picture of one sample as it was before normalisation, for ``<img src=...>``."""
    buffer = io.BytesIO()
    picture(pixels(dataset, np.array([index]))[0]).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def pixels(dataset: Dataset, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
    """(B, H, W, 3) or (B, H, W, 1): raw pixels in 0..255; of channels that are neither grey nor RGB the first."""
    images, _ = dataset.batch(indices)
    raw = np.nan_to_num(dataset.denormalise(images)).clip(0, 1)
    shown = raw if raw.shape[1] in (1, 3) else raw[:, :1]
    values: NDArray[np.uint8] = np.rint(255 * shown.transpose(0, 2, 3, 1)).astype(np.uint8)
    return values


def picture(values: NDArray[np.uint8]) -> Any:
    """A Pillow image of (H, W, 1 or 3), not larger than ``SIDE``."""
    from PIL import Image

    image = Image.fromarray(values[..., 0] if values.shape[-1] == 1 else values)
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    return image
