"""MATLAB 5 files of numeric arrays, read without believing them: no memory is given to what a header merely claims.

**See** MathWorks, "MAT-File Format", chapter 1, level 5. (SciPy's reader allocates whatever a tag says.)
"""

import math
import struct
import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minicnn.errors import DataError

HEADER = 128  # bytes of text, a version and the order of bytes
MATRIX, COMPRESSED = 14, 15
MOST = 20  # arrays in a file
STORED = {1: "<i1", 2: "<u1", 3: "<i2", 4: "<u2", 5: "<i4", 6: "<u4", 7: "<f4", 9: "<f8", 12: "<i8", 13: "<u8"}


def read_arrays(path: Path, limit: int) -> dict[str, NDArray[Any]]:
    """Return the arrays of real numbers of a file, by name, in the types that they are stored in.

    **Raises** DataError for a damaged file, one of another version, and one of more than ``limit`` bytes, unpacked.
    """
    try:
        if path.stat().st_size > limit:
            raise DataError(f"has more than {limit:,} bytes")
        content = path.read_bytes()
        if content[:10] != b"MATLAB 5.0" or content[124:HEADER] != b"\0\1IM":
            raise DataError("is not a MATLAB 5 file with the order of bytes of PCs")
        arrays = {}
        for count, (kind, body) in enumerate(_elements(memoryview(content)[HEADER:])):
            if kind == COMPRESSED:
                kind, body = next(_elements(memoryview(_inflated(body, limit))), (0, body))
            if kind != MATRIX or count == MOST:
                raise DataError(f"is damaged, or holds more than {MOST} arrays")
            name, array = _matrix(body)
            arrays[name] = array
        return arrays
    except (OSError, DataError, zlib.error) as error:
        raise DataError(f"data: {path} {error}; fix: fetch it again") from error


def _elements(content: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Take a sequence of elements apart: type and bytes of each."""
    at = 0
    while at < len(content):
        if len(content) - at < 8:
            raise DataError("is damaged: it ends inside a tag")
        kind, size = struct.unpack_from("<II", content, at)
        if kind >> 16:  # at most four bytes, in the tag itself
            kind, size, start, step = kind & 0xFFFF, kind >> 16, at + 4, 8
        else:
            start, step = at + 8, 8 + (size if kind == COMPRESSED else -(-size // 8) * 8)
        body = content[start : start + size]
        if len(body) != size or start + size > at + step:
            raise DataError(f"is damaged: an element claims {size:,} bytes and has {len(body):,}")
        yield kind, body
        at += step


def _inflated(body: memoryview, limit: int) -> bytes:
    unpack = zlib.decompressobj()
    content = unpack.decompress(body, limit)
    if not unpack.eof:
        raise DataError(f"is damaged, or unpacks to more than {limit:,} bytes")
    return content


def _matrix(body: memoryview) -> tuple[str, NDArray[Any]]:
    """Name and values of an array: flags, dimensions, name and real part are elements in it."""
    parts = list(islice(_elements(body), 5))  # a bomb may hold millions
    if len(parts) != 4 or [kind for kind, _ in parts[:3]] != [6, 5, 1] or parts[3][0] not in STORED:
        raise DataError("is damaged, or holds something that is not an array of real numbers")
    (_, shape), (_, name), (kind, values) = parts[1:]
    kind_of = np.dtype(STORED[kind])
    if len(shape) % 4 or len(values) % kind_of.itemsize:
        raise DataError("is damaged: an array ends inside a number")
    dimensions = np.frombuffer(shape, "<i4").tolist()
    numbers = np.frombuffer(values, kind_of)
    if min(dimensions, default=0) < 0 or math.prod(dimensions) != numbers.size:
        raise DataError(f"is damaged: an array of {dimensions} has {numbers.size:,} numbers")
    return bytes(name).decode("ascii", "replace"), numbers.reshape(dimensions, order="F")
