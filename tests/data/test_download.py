"""Downloads from a server on this machine: good, broken and hostile ones."""

import hashlib
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from minicnn.data import download
from minicnn.data.download import RemoteFile, cache_folder, fetch
from minicnn.errors import DataError

CONTENT = bytes(range(256)) * 40


class Server(ThreadingHTTPServer):
    """Answers by path; ``asked`` lists the paths that were asked for."""

    daemon_threads = True
    asked: list[str]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        content, status = CONTENT, 200
        if self.path == "/missing":
            content, status = b"gone", 404
        elif self.path == "/broken":
            content, status = b"oops", 500
        elif self.path == "/other":
            content = CONTENT[::-1]
        elif self.path == "/long":
            content = CONTENT * 50
        elif self.path == "/empty":
            content = b""
        elif self.path in ("/file", "/ftp", "/loop", "/there"):
            targets = {
                "/file": "file:///etc/hostname",
                "/ftp": "ftp://127.0.0.1/x",
                "/loop": "/loop",
                "/there": "/good",
            }
            self.send_response(302)
            self.send_header("Location", targets[self.path])
            self.end_headers()
            return
        if self.path == "/silent":
            time.sleep(0.5)
        self.send_response(status)
        if self.path != "/unsized":
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.path == "/cut":
            content = content[:3000]
        try:
            self.wfile.write(content)
        except OSError:  # the client has hung up
            self.close_connection = True


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as running:
        running.asked = []
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def remote(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    """``remote("missing", "good")``: the same file at these paths of the server, in this order."""
    monkeypatch.setenv("MINICNN_DATA", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(download, "TIMEOUT", 0.2)
    server.asked.clear()

    def make(*paths: str) -> RemoteFile:
        urls = tuple(f"http://127.0.0.1:{server.server_port}/{path}" for path in paths)
        return RemoteFile("set/file.gz", len(CONTENT), hashlib.sha256(CONTENT).hexdigest(), urls)

    yield make
    folder = tmp_path / "cache" / "set"
    left = [path.name for path in folder.iterdir() if path.name != "file.gz"] if folder.exists() else []
    assert left == [], "half a file was left behind"


def test_a_file_is_fetched_once(remote, server: Server) -> None:
    path = fetch(remote("good"))
    assert path == cache_folder() / "set/file.gz" and path.read_bytes() == CONTENT
    assert fetch(remote("good")) == path and server.asked == ["/good"]


@pytest.mark.parametrize("bad", ["missing", "broken", "other", "long", "empty", "cut", "file", "ftp", "loop", "silent"])
def test_the_next_mirror_is_asked(remote, server: Server, bad: str) -> None:
    assert fetch(remote(bad, "good")).read_bytes() == CONTENT
    assert set(server.asked) == {f"/{bad}", "/good"} and len(server.asked) < 50


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("missing", "the server answers 404"),
        ("broken", "the server answers 500"),
        ("other", "SHA256 hash .* does not match"),
        ("long", "sends more bytes than the file has"),
        ("empty", "does not match"),
        ("cut", "one that broke"),
        ("file", "No connection adapters were found for 'file:///etc/hostname'"),
        ("ftp", "No connection adapters were found"),
        ("loop", "Exceeded 30 redirects"),
        ("silent", "no answer in 0.2 s"),
    ],
)
def test_what_is_wrong_is_told_and_nothing_is_kept(remote, bad: str, reason: str) -> None:
    file = remote(bad)
    with pytest.raises(DataError, match=f"(?s)set/file.gz cannot be downloaded .*{reason}") as caught:
        fetch(file)
    text = str(caught.value)
    assert file.urls[0] in text and str(cache_folder() / "set/file.gz") in text and file.sha256 in text
    assert "10,240 bytes" in text and not (cache_folder() / "set/file.gz").exists()


def test_redirects_within_http_are_followed(remote) -> None:
    assert fetch(remote("there")).read_bytes() == CONTENT


def test_a_length_that_is_not_told_is_no_obstacle(remote) -> None:
    assert fetch(remote("unsized")).read_bytes() == CONTENT


def test_a_file_put_there_by_hand_needs_no_server(remote) -> None:
    path = cache_folder() / "set/file.gz"
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    assert fetch(remote()) == path


def test_a_damaged_file_is_fetched_again(remote, server: Server) -> None:
    path = cache_folder() / "set/file.gz"
    path.parent.mkdir(parents=True)
    for damaged in (CONTENT[:-1], CONTENT[:-1] + b"x"):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match="the file that is there is damaged; fix:"):
            fetch(remote("missing"))
        assert fetch(remote("good")).read_bytes() == CONTENT


def test_without_a_network(remote, monkeypatch: pytest.MonkeyPatch) -> None:
    file = remote("good")._replace(urls=("http://127.0.0.1:9/file.gz",))
    with pytest.raises(DataError, match=r"127\.0\.0\.1:9/file.gz: no connection.*put it at .*set/file.gz"):
        fetch(file)


def test_a_folder_that_cannot_be_written(remote, tmp_path: Path) -> None:
    (tmp_path / "cache").write_bytes(b"a file where the folder should be")
    with pytest.raises(DataError, match=r"cannot be written.*set MINICNN_DATA"):
        fetch(remote("good"))


def test_without_pooch(remote, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pooch", None)
    with pytest.raises(DataError, match="pip install pooch"):
        fetch(remote("good"))


def test_where_files_are_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MINICNN_DATA", "~/sets")
    assert cache_folder() == Path("~/sets").expanduser()
    monkeypatch.delenv("MINICNN_DATA")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder().name == "data" and "minicnn" in cache_folder().parts
