"""Hostile folders of pictures: odd names, links, devices, missing rights. The rest is read, or a class is named."""

import os
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import minicnn.data as data
from minicnn.errors import DataError
from tests.data.bounded import SECONDS
from tests.data.pictures_made import encoded, folder, noise

Make = Callable[[Path], object]


def bad(name: str, content: bytes = b"") -> Make:
    """A file that is no picture, in the first class."""
    return lambda root: (root / "a" / name).write_bytes(content)


def linked(name: str, target: str) -> Make:
    return lambda root: (root / "a" / name).symlink_to(target)


def pipe(root: Path) -> None:
    os.mkfifo(root / "a/pipe.png")


def listening(root: Path) -> None:
    before = Path.cwd()
    os.chdir(root / "a")  # the address of a socket is short
    with socket.socket(socket.AF_UNIX) as end:
        end.bind("socket.png")
    os.chdir(before)


def without_rights(root: Path) -> None:
    path = root / "a/secret.png"
    path.write_bytes(b"")  # root may read what nobody may: then it is an empty file
    path.chmod(0)


def deep(root: Path) -> None:
    path = root / "a"
    for _ in range(30):
        path = path / ("d" * 20)
        path.mkdir()
    (path / "deep.png").write_bytes(b"")


def many(root: Path) -> None:
    for i in range(200):
        (root / f"a/{i}.gif").write_bytes(b"GIF89a")


LEFT_OUT: dict[str, tuple[Make, str]] = {
    "an empty file": (bad("x.png"), "a/x.png"),
    "text": (bad("text.png", b"text"), "a/text.png"),
    "a name of two lines": (bad("two\nlines.png"), r"a/two\nlines.png"),
    "a name that steers terminals": (bad("\x1b[2J.png"), r"a/\x1b[2J.png"),
    "a name written from right to left": (bad("\u202egnp.exe.png"), r"a/\u202egnp.exe.png"),
    "a name that is no text": (bad(os.fsdecode(b"\xff\xfe.png")), r"a/\udcff\udcfe.png"),
    "a name of emoji": (bad("🐱🐶.png"), "a/🐱🐶.png"),
    "a very long name": (bad("n" * 250 + ".png"), "n" * 250),
    "a name of blanks": (bad("  .png"), "a/  .png"),
    "a name of markup": (bad("[red]<b>%s{}.png"), "a/[red]<b>%s{}.png"),
    "a name that is an option": (bad("-rf.png"), "a/-rf.png"),
    "a link to a file outside": (linked("l.png", "/etc/passwd"), "a/l.png"),
    "a link to nowhere": (linked("l.png", "nowhere"), "a/l.png"),
    "a link to itself": (linked("l.png", "l.png"), "a/l.png"),
    "a link to a device": (linked("l.png", "/dev/zero"), "a/l.png"),
    "a link to the folder above": (linked("up", ".."), "a/up"),
    "a link to the root": (linked("root", "/"), "a/root"),
    "a pipe": (pipe, "a/pipe.png"),
    "a socket": (listening, "a/socket.png"),
    "a file without rights": (without_rights, "a/secret.png"),
    "a file deep below": (deep, "deep.png"),
    "two hundred bad files": (many, "200 of 224 pictures cannot be read"),
    "a picture cut short": (bad("cut.jpg", encoded(noise(64, 64), "JPEG")[:300]), "a/cut.jpg"),
    "a page that says it is a picture": (bad("404.jpg", b"<html>not found</html>"), "a/404.jpg"),
}

READ: dict[str, Make] = {
    "a folder called like a picture": lambda root: (root / "a/x.png").mkdir(),
    "hidden files": lambda root: (root / "a/.x.png").write_bytes(b"text"),
    "a hidden class": lambda root: (root / ".git").mkdir(),
    "what other programs leave": lambda root: folder(root / "__MACOSX", {"a": 1}),
    "files beside the classes": lambda root: (root / "readme.png").write_bytes(b"text"),
    "a link to a class outside": lambda root: (root / "etc").symlink_to("/etc"),
    "other files": lambda root: (root / "a/Thumbs.db").write_bytes(b"\0"),
}

REFUSED: dict[str, tuple[Make, str]] = {
    "an empty class": (lambda root: (root / "c\nd").mkdir(), r"the class 'c\nd' is empty: it has no pictures"),
    "a class of other files": (lambda root: folder(root, {"c": 0}) and (root / "c/x.txt").touch(), "'c' is empty"),
    "a class of bad files": (
        lambda root: folder(root, {"c": 0}) and (root / "c/x.png").touch(),
        "c/x.png: it is empty",
    ),
    "a class of one": (lambda root: folder(root, {"c": 1}), "the class 'c' has 1 readable picture"),
    "a class of links to elsewhere": (
        lambda root: folder(root, {"c": 0}) and (root / "c/x.png").symlink_to("/etc/passwd"),
        "c/x.png: a link that leads out of the folder",
    ),
}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MINICNN_DATA", str(tmp_path / "cache"))
    return folder(tmp_path / "set", {"a": 12, "b": 12})


@pytest.mark.skipif(sys.platform == "win32", reason="names, links and pipes of Unix")
@pytest.mark.parametrize("case", LEFT_OUT)
def test_what_cannot_be_read_is_left_out_by_name(root: Path, case: str) -> None:
    make, told = LEFT_OUT[case]
    make(root)
    before = sorted(root.parent.iterdir()), sorted(root.rglob("*"))
    started = time.perf_counter()
    train = data.load(root, size=8)
    assert time.perf_counter() - started < SECONDS
    note = next(line for line in train.notes if line.startswith("left out: "))
    assert told in note and note.isprintable() and len(note) < 1200
    assert len(train) + sum(len(data.load(root, part, size=8)) for part in ("val", "test")) == 24
    with pytest.raises(DataError, match="cannot be read"):
        data.load(root, size=8, on_error="raise")
    assert ([path for path in sorted(root.parent.iterdir()) if path.name != "cache"], sorted(root.rglob("*"))) == before


@pytest.mark.skipif(sys.platform == "win32", reason="links of Unix")
@pytest.mark.parametrize("case", READ)
def test_what_is_no_picture_does_not_disturb(root: Path, case: str) -> None:
    READ[case](root)
    train = data.load(root, size=8, on_error="raise")
    assert train.classes == ("a", "b") and train.skipped == ()


@pytest.mark.skipif(sys.platform == "win32", reason="names and links of Unix")
@pytest.mark.parametrize("case", REFUSED)
def test_a_class_that_will_not_do_is_named(root: Path, case: str) -> None:
    make, told = REFUSED[case]
    make(root)
    with pytest.raises(DataError) as caught:
        data.load(root, size=8)
    assert told in str(caught.value) and str(caught.value).isprintable()
