"""Archives read within bounds, member by fixed name: nothing is unpacked to the disk, and no header is believed."""

import gzip
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from minicnn.errors import DataError


def read_members(path: Path, wanted: Mapping[str, int], limit: int) -> dict[str, bytes]:
    """Return the members of a ``.tar.gz`` that ``wanted`` names, each at most as long as it says.

    What else the archive holds, whatever its name, is passed over. At most ``limit`` bytes are unpacked, in memory.
    **Raises** DataError for a damaged archive, one that grows past ``limit``, and a member that is missing, doubled,
    too long or not a file.
    """
    found: dict[str, bytes] = {}
    try:
        with (
            gzip.open(path) as plain,
            tarfile.open(fileobj=_Bounded(plain, limit, path), mode="r|", bufsize=2**18) as archive,  # type: ignore[call-overload]
        ):
            for member in archive:
                name = member.name.removeprefix("./")
                if name in wanted:
                    _check(member, path, wanted[name], name in found)
                    content = archive.extractfile(member)
                    found[name] = b"" if content is None else content.read()
    except DataError:
        raise
    except Exception as error:  # a damaged archive makes tarfile and zlib raise much that they do not document
        raise DataError(f"data: {path} is damaged, or not a .tar.gz archive ({error}); fix: fetch it again") from error
    missing = [name for name in wanted if name not in found]
    if missing:
        raise DataError(f"data: {path} lacks {', '.join(missing)}; expected the archive as published")
    return found


def _check(member: tarfile.TarInfo, path: Path, most: int, again: bool) -> None:
    what = f"data: {path}: the member {member.name!r}"
    if not member.isreg() or member.issparse():
        raise DataError(f"{what} is not a plain file; expected the archive as published")
    if not 0 <= member.size <= most:
        raise DataError(f"{what} has {member.size:,} bytes, expected at most {most:,}")
    if again:
        raise DataError(f"{what} is there twice; expected the archive as published")


class _Bounded:
    """A stream that gives ``limit`` bytes and then raises, whatever follows."""

    def __init__(self, stream: gzip.GzipFile | BinaryIO, limit: int, path: Path) -> None:
        self.stream, self.limit, self.left, self.path = stream, limit, limit, path

    def read(self, count: int) -> bytes:
        content = self.stream.read(min(count, self.left + 1))
        self.left -= len(content)
        if self.left < 0:
            raise DataError(
                f"data: {self.path} unpacks to more than {self.limit:,} bytes; it is not what was published"
            )
        return content
