"""Published files, each with its size and SHA-256: kept in one folder, fetched from the first mirror that has them."""

import hashlib
import os
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import platformdirs

from minicnn.errors import DataError

TIMEOUT = 30  # seconds without a byte, after which the next mirror is asked


class RemoteFile(NamedTuple):
    """A file that never changes: where it is kept below the cache folder, what it must be, and who has it."""

    name: str
    size: int  # in bytes
    sha256: str
    urls: tuple[str, ...]


def cache_folder() -> Path:
    """Where files are kept: ``$MINICNN_DATA``, or ``data`` in the user's cache folder of minicnn."""
    chosen = os.environ.get("MINICNN_DATA")
    if chosen:
        return Path(chosen).expanduser()
    return Path(platformdirs.user_cache_dir("minicnn", appauthor=False)) / "data"


def fetch(file: RemoteFile) -> Path:
    """Return where ``file`` lies, whole and checked; it is downloaded when it is not there yet.

    A download is written beside its place and moved there once its SHA-256 is right: nobody ever finds half a file.
    **Raises** DataError, which says how to put the file there by hand, when no mirror gives it.
    """
    path = cache_folder() / file.name
    if is_whole(path, file):
        return path
    problems = []
    for url in file.urls:
        problem = _download(url, path, file)
        if not problem:
            return path
        problems.append(f"{url}: {problem}")
    there = "; the file that is there is damaged" if path.exists() else ""
    raise DataError(
        f"data: {file.name} cannot be downloaded ({'; '.join(problems)}){there}; fix: try again later, or fetch it on "
        f"another machine and put it at {path} ({file.size:,} bytes, SHA-256 {file.sha256})"
    )


def is_whole(path: Path, file: RemoteFile) -> bool:
    """Say whether ``path`` is ``file``, byte by byte."""
    try:
        if path.stat().st_size != file.size:
            return False
        with path.open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest() == file.sha256
    except OSError:
        return False


def _download(url: str, path: Path, file: RemoteFile) -> str:
    """Put what ``url`` gives at ``path`` if it is ``file``; return what was wrong, or an empty text."""
    try:
        import pooch
        import requests
    except ImportError:
        return "downloading takes pooch, which is missing: pip install pooch"
    try:
        pooch.retrieve(url, f"sha256:{file.sha256}", path.name, path.parent, downloader=_Bounded(file.size))
    except requests.HTTPError as error:
        return (
            f"the server answers {getattr(error.response, 'status_code', '')} {getattr(error.response, 'reason', '')}"
        )
    except requests.Timeout:
        return f"no answer in {TIMEOUT} s"
    except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
        return "no connection, or one that broke"
    except (requests.RequestException, ValueError) as error:  # ValueError: another SHA-256, or too long
        return str(error)
    except OSError as error:
        raise DataError(
            f"data: {path} cannot be written ({error.strerror or error}); fix: free some space, or set MINICNN_DATA to "
            "a folder that you may write to"
        ) from error
    return ""


class _Bounded:
    """A downloader for pooch that stops when more arrives than the file has."""

    def __init__(self, size: int) -> None:
        self.room = size

    def __call__(self, url: str, output_file: Any, pooch: Any) -> None:
        from pooch import HTTPDownloader

        # identity: what is asked for is the compressed file itself, not its content
        get = HTTPDownloader(timeout=TIMEOUT, headers={"Accept-Encoding": "identity"})
        with Path(output_file).open("wb") as file:
            self.file: BinaryIO = file
            get(url, self, pooch)

    def write(self, chunk: bytes) -> None:
        self.room -= len(chunk)
        if self.room < 0:
            raise ValueError("it sends more bytes than the file has")
        self.file.write(chunk)

    def flush(self) -> None:
        """For pooch, which flushes every kilobyte: not needed."""
