"""Makes ``digits.npz`` and ``digits_split.npz``: ``python -m minicnn.data.make_digits [FOLDER]`` (needs scikit-learn).

The images are scikit-learn's packaged copy of the UCI digits; see ``digits.md`` for authors and licence.
The files hold the same arrays on every machine: the split is drawn by hashing, not by a random generator whose
stream may change between NumPy versions, and the archives carry no dates.
"""

import gzip
import hashlib
import io
import sys
import zipfile
from importlib.resources import files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SPLIT_SEED = 2
VAL_SIZE = TEST_SIZE = 360


def read_sklearn() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return images (1797, 8, 8) with values 0..16 and labels (1797,) of scikit-learn's copy."""
    packed = (files("sklearn.datasets.data") / "digits.csv.gz").read_bytes()
    table = np.loadtxt(io.BytesIO(gzip.decompress(packed)), delimiter=",").astype(np.uint8)  # (1797, 64 + 1)
    return table[:, :-1].reshape(-1, 8, 8), table[:, -1]


def shares(counts: NDArray[np.int64], total: int) -> NDArray[np.int64]:
    """Divide ``total`` among classes in proportion to ``counts``: floors, then the largest remainders."""
    exact = counts * total / counts.sum()
    whole: NDArray[np.int64] = np.floor(exact).astype(np.int64)
    most_short = np.argsort(whole - exact, kind="stable")[: total - int(whole.sum())]
    whole[most_short] += 1
    return whole


def split_indices(labels: NDArray[np.uint8], seed: int = SPLIT_SEED) -> dict[str, NDArray[np.int16]]:
    """Split 60/20/20, each part with each class's share: 360 val, 360 test, the rest train.

    Within a class the images are ordered by the SHA-256 of ``seed:index``.
    """
    counts = np.bincount(labels).astype(np.int64)
    test_share = shares(counts, TEST_SIZE)
    val_share = shares(counts - test_share, VAL_SIZE)  # of what is left: train stays within one image too
    parts: dict[str, list[int]] = {"train": [], "val": [], "test": []}
    for k in range(len(counts)):
        members = [int(i) for i in np.flatnonzero(labels == k)]
        members.sort(key=lambda i: hashlib.sha256(f"{seed}:{i}".encode()).digest())
        test_end = int(test_share[k])
        val_end = test_end + int(val_share[k])
        parts["test"] += members[:test_end]
        parts["val"] += members[test_end:val_end]
        parts["train"] += members[val_end:]
    return {name: np.array(sorted(indices), dtype=np.int16) for name, indices in parts.items()}


def npz_bytes(**arrays: np.ndarray) -> bytes:
    """Return a compressed npz archive without dates or platform marks, unlike ``np.savez_compressed``."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as out:
        for name, array in arrays.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, np.ascontiguousarray(array), version=(1, 0))
            info = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            info.create_system = 3  # "Unix" on every platform
            info.compress_type = zipfile.ZIP_DEFLATED
            out.writestr(info, member.getvalue(), compresslevel=9)
    return archive.getvalue()


def main() -> None:
    """Write both archives into the folder named on the command line, else beside this file."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    images, labels = read_sklearn()
    (folder / "digits.npz").write_bytes(npz_bytes(images=images, labels=labels))
    (folder / "digits_split.npz").write_bytes(npz_bytes(**split_indices(labels)))


if __name__ == "__main__":
    main()
