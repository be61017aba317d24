"""MNIST and Fashion-MNIST, and the IDX format that they are published in.

**See** Y. LeCun, L. Bottou, Y. Bengio and P. Haffner, "Gradient-based learning applied to document recognition", 1998;
H. Xiao, K. Rasul and R. Vollgraf, "Fashion-MNIST", 2017.
"""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from minicnn.data.byte_images import Arrays, ByteImages, Bytes, part
from minicnn.data.download import RemoteFile, fetch
from minicnn.errors import DataError

DIGITS = tuple("0123456789")
CLOTHES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
LIMIT = 2**28  # bytes of one file, unpacked: five times what MNIST's largest has

# Sizes and SHA-256: url_checksums/mnist.txt and fashion_mnist.txt of github.com/tensorflow/datasets; addresses: the
# same, torchvision/datasets/mnist.py of github.com/pytorch/vision, and the README of zalandoresearch/fashion-mnist.
MNIST_URLS = ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/")
FASHION_URLS = (
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
)


def _file(folder: str, name: str, size: int, sha256: str, urls: tuple[str, ...]) -> RemoteFile:
    return RemoteFile(f"{folder}/{name}", size, sha256, tuple(url + name for url in urls))


# Training images, training labels, test images, test labels.
MNIST = tuple(
    _file("mnist", name, size, sha256, MNIST_URLS)
    for name, size, sha256 in (
        ("train-images-idx3-ubyte.gz", 9912422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
        ("train-labels-idx1-ubyte.gz", 28881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
        ("t10k-images-idx3-ubyte.gz", 1648877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
        ("t10k-labels-idx1-ubyte.gz", 4542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
    )
)
FASHION = tuple(
    _file("fashion_mnist", name, size, sha256, FASHION_URLS)
    for name, size, sha256 in (
        ("train-images-idx3-ubyte.gz", 26421880, "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
        ("train-labels-idx1-ubyte.gz", 29515, "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
        ("t10k-images-idx3-ubyte.gz", 4422102, "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
        ("t10k-labels-idx1-ubyte.gz", 5148, "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
    )
)


def mnist(split: str = "train", size: int = 28) -> ByteImages:
    """Return a part of MNIST: 9 in 10 of the 60,000 training digits, the rest as ``val``, or 10,000 ``test`` digits.

    Downloaded when first used.

    **Shapes**: images (N, 1, size, size), white ink on black, scaled bilinearly from 28x28.
    """
    return part("mnist", split, size, _read_mnist)


def fashion_mnist(split: str = "train", size: int = 28) -> ByteImages:
    """Return a part of Fashion-MNIST: 54,000 ``train``, 6,000 ``val`` or 10,000 ``test`` clothes; as `mnist`."""
    return part("fashion_mnist", split, size, _read_fashion)


def _read_mnist() -> tuple[Arrays, Arrays, tuple[str, ...]]:
    return (*_read(MNIST, DIGITS), DIGITS)


def _read_fashion() -> tuple[Arrays, Arrays, tuple[str, ...]]:
    return (*_read(FASHION, CLOTHES), CLOTHES)


def _read(files: tuple[RemoteFile, ...], classes: tuple[str, ...]) -> tuple[Arrays, Arrays]:
    paths = [fetch(file) for file in files]
    return read_pair(paths[0], paths[1], len(classes)), read_pair(paths[2], paths[3], len(classes))


def read_pair(images: Path, labels: Path, classes: int) -> Arrays:
    """Read grey images, (N, 1, H, W), and their labels, (N,), from two IDX files.

    **Raises** DataError when the files do not belong together, or a label is not one of ``classes``.
    """
    pixels, numbers = read_idx(images, 3), read_idx(labels, 1)
    if len(pixels) != len(numbers):
        raise DataError(f"data: {images} has {len(pixels)} images, but {labels} has {len(numbers)} labels")
    if numbers.max() >= classes:
        first = int(np.argmax(numbers >= classes))
        raise DataError(
            f"data: {labels}: label {numbers[first]} of sample {first} is out of range; "
            f"{classes} classes allow 0 to {classes - 1}"
        )
    return pixels[:, None], numbers.astype(np.int64)


def read_idx(path: Path, dimensions: int) -> Bytes:
    """Read an IDX file of bytes, compressed by gzip or plain, as an array of ``dimensions`` dimensions.

    Format: two zero bytes, the type (8: bytes), the count of dimensions, each dimension as a big-endian 32-bit number,
    the bytes. **Raises** DataError for anything else, before memory is given to what a header promises.
    """
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            with gzip.open(raw) if packed else raw as stream:
                head = stream.read(4 + 4 * dimensions)
                shape = _shape(path, head, dimensions)
                content = stream.read(math.prod(shape) + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"data: {path} cannot be read ({error}); fix: fetch it again") from error
    if len(content) != math.prod(shape):
        more = "more" if len(content) > math.prod(shape) else f"{len(content):,}"
        raise DataError(f"data: {path} promises {math.prod(shape):,} bytes for {shape} and has {more}")
    return np.frombuffer(content, np.uint8).reshape(shape)


def _shape(path: Path, head: bytes, dimensions: int) -> tuple[int, ...]:
    """The shape that an IDX header gives."""
    if len(head) < 4 + 4 * dimensions:
        raise DataError(f"data: {path} ends inside its header, after {len(head)} bytes; fix: fetch it again")
    if head[:4] != bytes((0, 0, 8, dimensions)):
        raise DataError(
            f"data: {path} begins with {head[:4].hex(' ')}, expected 00 00 08 {dimensions:02x}: "
            f"an IDX file of bytes in {dimensions} dimensions"
        )
    shape = struct.unpack(f">{dimensions}I", head[4:])
    if not 0 < math.prod(shape) <= LIMIT:
        raise DataError(f"data: {path} promises an array of {shape}; expected 1 to {LIMIT:,} bytes")
    return shape
