"""The Street View House Numbers, cropped digits of 32x32 pixels.

**See** Y. Netzer et al., "Reading digits in natural images with unsupervised feature learning", 2011.
"""

from pathlib import Path

import numpy as np

from minicnn.data.byte_images import Arrays, ByteImages, part
from minicnn.data.download import RemoteFile, fetch
from minicnn.errors import DataError

DIGITS = tuple("0123456789")
MOST = 600_000  # images of one file; the largest that is published has 531,131

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

    **Raises** DataError for any other file; shapes are looked at before the arrays are read.
    """
    from scipy.io import loadmat, whosmat

    try:
        with path.open("rb") as file:
            if file.read(10) != b"MATLAB 5.0":
                raise DataError(f"data: {path} is not a MATLAB 5 file")
        _check(path, {name: (shape, kind) for name, shape, kind in whosmat(path)})
        arrays = loadmat(path, variable_names=("X", "y"), mat_dtype=False)
        pixels, numbers = arrays["X"], arrays["y"].ravel()
    except DataError:
        raise
    except Exception as error:  # SciPy raises much that it does not document where a file is damaged
        raise DataError(f"data: {path} is damaged ({type(error).__name__}: {error}); fix: fetch it again") from error
    if pixels.dtype != np.uint8 or pixels.shape[3] != numbers.size:
        raise DataError(f"data: {path}: X is {pixels.dtype} {pixels.shape} for {numbers.size} labels")
    wrong = np.flatnonzero(~np.isin(numbers, np.arange(1, 11)))  # NaN is none of them
    if wrong.size:
        raise DataError(
            f"data: {path}: label {numbers[wrong[0]]} of sample {wrong[0]} is out of range; expected 1 to 10 (10 is 0)"
        )
    return np.ascontiguousarray(pixels.transpose(3, 2, 0, 1)), numbers.astype(np.int64) % 10


def _check(path: Path, found: dict[str, tuple[tuple[int, ...], str]]) -> None:
    """Raise DataError unless a file's variables are those of SVHN."""
    shape, kind = found.get("X", ((), "missing"))
    if kind != "uint8" or len(shape) != 4 or shape[:3] != (32, 32, 3) or not 0 < shape[3] <= MOST:
        raise DataError(f"data: {path}: X is {kind} {shape}, expected uint8 (32, 32, 3, N) of at most {MOST:,} images")
    labels, kind = found.get("y", ((), "missing"))
    if kind not in ("uint8", "double") or labels != (shape[3], 1):
        raise DataError(f"data: {path}: y is {kind} {labels}, expected uint8 or double ({shape[3]}, 1)")
