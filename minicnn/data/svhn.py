"""The Street View House Numbers, cropped digits of 32x32 pixels.

**See** Y. Netzer et al., "Reading digits in natural images with unsupervised feature learning", 2011.
"""

from pathlib import Path

import numpy as np

from minicnn.data.byte_images import Arrays, ByteImages, part
from minicnn.data.download import RemoteFile, fetch
from minicnn.data.mat import read_arrays
from minicnn.errors import DataError

DIGITS = tuple("0123456789")
LIMIT = 250_000_000  # bytes of one file, unpacked; that of the training images has 225 million

# Addresses, sizes and SHA-256: url_checksums/svhn_cropped.txt of github.com/tensorflow/datasets.
TRAIN = RemoteFile(
    "svhn/train_32x32.mat",
    182040794,
    "435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8",
    ("http://ufldl.stanford.edu/housenumbers/train_32x32.mat",),
)
TEST = RemoteFile(
    "svhn/test_32x32.mat",
    64275384,
    "cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b",
    ("http://ufldl.stanford.edu/housenumbers/test_32x32.mat",),
)


def svhn(split: str = "train", size: int = 32) -> ByteImages:
    """Return a part of SVHN: about 65,900 ``train``, 7,300 ``val`` or 26,032 ``test`` digits.

    Downloaded when first used.
    **Shapes**: images (N, 3, size, size), scaled bilinearly from 32x32. Class ``k`` is the digit ``k``.
    """
    return part("svhn", split, size, _read_svhn)


def _read_svhn() -> tuple[Arrays, Arrays, tuple[str, ...]]:
    return read_mat(fetch(TRAIN)), read_mat(fetch(TEST)), DIGITS


def read_mat(path: Path) -> Arrays:
    """Read images (N, 3, 32, 32) and labels (N,) from a MATLAB 5 file with X (32, 32, 3, N) and y (N, 1).

    **Raises** DataError for any other file.
    """
    arrays = read_arrays(path, LIMIT)
    missing = [name for name in ("X", "y") if name not in arrays]
    if missing:
        raise DataError(f"data: {path} has no array {' and no array '.join(missing)}; expected those of SVHN")
    pixels, numbers = arrays["X"], arrays["y"]
    if pixels.dtype != np.uint8 or pixels.shape[:3] != (32, 32, 3) or pixels.ndim != 4 or not pixels.size:
        raise DataError(f"data: {path}: X is {pixels.dtype} {pixels.shape}, expected uint8 (32, 32, 3, N)")
    if numbers.shape != (pixels.shape[3], 1):
        raise DataError(f"data: {path}: y is {numbers.shape}, expected ({pixels.shape[3]}, 1), a label an image")
    wrong = np.flatnonzero(~np.isin(numbers, np.arange(1, 11)))  # NaN is none of them
    if wrong.size:
        raise DataError(
            f"data: {path}: label {numbers[wrong[0], 0]} of sample {wrong[0]} is out of range; "
            "expected 1 to 10 (10 is the digit 0)"
        )
    return np.ascontiguousarray(pixels.transpose(3, 2, 0, 1)), numbers[:, 0].astype(np.int64) % 10
