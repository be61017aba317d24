"""Broken and hostile picture files: refused by name or read whole, quickly, in little memory."""

import random
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from minicnn.data.pictures import read_picture
from minicnn.errors import DataError
from tests.data.bounded import bounded
from tests.data.pictures_made import encoded, noise

KINDS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "PPM", "TIFF")
WHOLE = {kind: encoded(noise(40, 48), kind) for kind in KINDS}


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, depth: int, colour: int, data: bytes, *more: bytes) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = [chunk(b"IHDR", head), *more, chunk(b"IDAT", data), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def bmp(width: int, height: int, bits: int = 24, compression: int = 0, offset: int = 54) -> bytes:
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + 64, 0, 0, offset) + head + bytes(64)


def tiff(*entries: tuple[int, int, int, int]) -> bytes:
    """A little-endian TIFF of one directory: (tag, type, count, value) each."""
    body = b"".join(struct.pack("<HHII", *entry) for entry in sorted(entries))
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + body + bytes(4)


TIFF_8X8 = (
    (256, 4, 1, 8),
    (257, 4, 1, 8),
    (258, 3, 1, 8),
    (259, 3, 1, 1),
    (262, 3, 1, 1),
    (277, 3, 1, 1),
    (278, 4, 1, 8),
)
PPM_HEADS = {
    "negative": b"P6 -8 8 255\n",
    "letters": b"P6 eight 8 255\n",
    "huge": b"P6 99999999999999999999 8 255\n",
    "zero": b"P6 0 0 255\n",
    "depth": b"P6 8 8 99999999\n",
    "no depth": b"P6 8 8",
    "comments": b"P6 " + b"#x\n" * 5000,
    "plain bomb": b"P3 60000 60000 255\n1 2 3",
    "letters in plain": b"P3 2 2 255\n a b c d",
    "plain too large": b"P3 2 2 255\n" + b"999 " * 12,
}


def cut(kind: str) -> Iterator[tuple[str, bytes, str]]:
    content = WHOLE[kind]
    for i in range(8):
        length = len(content) * (2 * i + 1) // 17
        yield f"{kind} cut at {length}", content[:length], "either"


def flipped(kind: str) -> Iterator[tuple[str, bytes, str]]:
    rng = random.Random(kind)
    for i in range(8):
        damaged = bytearray(WHOLE[kind])
        for _ in range(1 + 4 * i):
            damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        yield f"{kind} with {1 + 4 * i} bits flipped", bytes(damaged), "either"


def headers() -> Iterator[tuple[str, bytes, str]]:
    for width, height in ((2**31 - 1, 1), (100_000, 100_000), (2**31, 2**31), (0, 5), (5, 0), (2**32 - 1, 2**32 - 1)):
        yield f"PNG of {width}x{height}", png(width, height, 8, 2, zlib.compress(bytes(100))), "refused"
    for width, height in ((-8, 8), (2**31 - 1, 2**31 - 1), (0, 0), (60_000, -60_000), (8, -(2**31))):
        yield f"BMP of {width}x{height}", bmp(width, height), "refused"
    for name, head in PPM_HEADS.items():
        yield f"PPM, {name}", head + bytes(64 if head.startswith(b"P6") else 0), "refused"
    for side in (65_535, 20_000):
        frame = b"\xff\xc0\x00\x11\x08" + struct.pack(">HH", side, side)
        yield f"JPEG of {side}x{side}", WHOLE["JPEG"].replace(sof(WHOLE["JPEG"]), frame), "refused"


def sof(jpeg: bytes) -> bytes:
    """The start of a JPEG's frame header: marker, length, precision, height, width."""
    at = jpeg.index(b"\xff\xc0\x00\x11")
    return jpeg[at : at + 9]


def malformed() -> Iterator[tuple[str, bytes, str]]:
    good = zlib.compress(b"".join(b"\0" + bytes(24) for _ in range(8)))
    bomb = zlib.compress(bytes(30_000_000), 9)
    yield "PNG of a depth that is none", png(8, 8, 7, 2, good), "refused"
    yield "PNG of a colour that is none", png(8, 8, 8, 9, good), "refused"
    yield "PNG without its data", png(8, 8, 8, 2, b""), "refused"
    yield "PNG whose data are no zlib", png(8, 8, 8, 2, b"abcdefgh"), "refused"
    yield "PNG with a row too few", png(8, 9, 8, 2, good), "either"
    yield "PNG with a bomb for data", png(8, 8, 8, 2, bomb), "either"
    yield "PNG with a bomb for text", png(8, 8, 8, 2, good, chunk(b"zTXt", b"k\0\0" + bomb)), "refused"
    yield "PNG with a bomb for a profile", png(8, 8, 8, 2, good, chunk(b"iCCP", b"k\0\0" + bomb)), "either"
    yield "PNG with a chunk of 4 GB", png(8, 8, 8, 2, good)[:33] + b"\xff\xff\xff\xffIDAT" + good, "either"
    yield "PNG with a palette too short", png(8, 8, 8, 3, good, chunk(b"PLTE", b"\1\2\3")), "either"
    yield "PNG with a palette missing", png(8, 8, 8, 3, good), "either"
    yield (
        "PNG with EXIF of noise",
        png(8, 8, 8, 2, good, chunk(b"eXIf", b"II*\0\xff\xff\xff\xff" + bytes(40))),
        "either",
    )
    yield (
        "PNG with EXIF that goes in circles",
        png(8, 8, 8, 2, good, chunk(b"eXIf", b"II*\0" + b"\x08\0\0\0" * 9)),
        "either",
    )
    yield "BMP of 3 bits", bmp(8, 8, 3), "refused"
    yield "BMP of another compression", bmp(8, 8, 24, 99), "refused"
    yield "BMP that begins behind its end", bmp(8, 8, offset=2**31), "refused"
    yield "GIF without a picture", b"GIF89a" + struct.pack("<HHBBB", 8, 8, 0, 0, 0) + b";", "refused"
    yield "GIF of 65535x65535", b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0, 0, 0) + b";", "refused"
    yield "GIF with a frame outside", WHOLE["GIF"].replace(b",\0\0\0\0", b",\xff\xff\xff\xff", 1), "either"
    yield "WEBP of another length", WHOLE["WEBP"][:4] + b"\xff\xff\xff\x7f" + WHOLE["WEBP"][8:], "either"
    yield "WEBP with nothing inside", b"RIFF\x04\0\0\0WEBP", "refused"
    yield "JPEG of two bytes", b"\xff\xd8", "refused"
    yield "JPEG without tables", WHOLE["JPEG"].replace(b"\xff\xdb", b"\xff\xe9"), "refused"
    yield "JPEG of segments without end", b"\xff\xd8" + b"\xff\xe1\x00\x02" * 5000, "refused"
    yield "TIFF with no entry", tiff(), "refused"
    yield "TIFF whose strip is outside", tiff(*TIFF_8X8, (273, 4, 1, 10**6), (279, 4, 1, 64)), "refused"
    yield (
        "TIFF of 100000x100000",
        tiff((256, 4, 1, 10**5), (257, 4, 1, 10**5), *TIFF_8X8[2:], (273, 4, 1, 8)),
        "refused",
    )
    yield "TIFF with 4 billion strips", tiff(*TIFF_8X8, (273, 4, 2**32 - 1, 8), (279, 4, 2**32 - 1, 8)), "refused"
    yield "TIFF of directories in a circle", b"II*\0" + struct.pack("<IHI", 8, 0, 8), "refused"
    yield "TIFF of numbers", encoded(Image.new("F", (8, 8), float("nan")), "TIFF"), "refused"
    yield "TIFF of 32 bits", encoded(Image.new("I", (8, 8), 10**6), "TIFF"), "refused"


def impostors() -> Iterator[tuple[str, bytes, str]]:
    texts = {
        "nothing": b"",
        "a zero": b"\0",
        "text": b"this is no picture\n" * 50,
        "HTML": b"<!DOCTYPE html><html><body>404</body></html>",
        "SVG": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
        "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) (r) file\n%%EOF",
        "PDF": b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n",
        "a zip": b"PK\x03\x04" + bytes(200),
        "a pickle": b"\x80\x04cos\nsystem\n(S'true'\ntR.",
        "a program": b"\x7fELF" + bytes(200),
        "a script": b"#!/bin/sh\nexit 1\n",
        "zeros": bytes(100_000),
        "noise": random.Random(1).randbytes(100_000),
        "a git pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n",
        "XBM": b"#define im_width 8\n#define im_height 8\nstatic char im_bits[] = {\n0x00 };",
        "FITS": b"SIMPLE  =                    T" + bytes(2900),
    }
    for name, content in texts.items():
        yield f"{name} for a picture", content, "refused"
    for kind in KINDS:
        yield f"the first bytes of {kind} and noise", WHOLE[kind][:12] + random.Random(kind).randbytes(500), "refused"


CASES = {
    "cut JPEG": [*cut("JPEG")], "cut PNG": [*cut("PNG")], "cut BMP": [*cut("BMP")], "cut GIF": [*cut("GIF")],
    "cut WebP": [*cut("WEBP")], "cut PPM": [*cut("PPM")], "cut TIFF": [*cut("TIFF")],
    "bits of JPEG": [*flipped("JPEG")], "bits of PNG": [*flipped("PNG")], "bits of BMP": [*flipped("BMP")],
    "bits of GIF": [*flipped("GIF")], "bits of WebP": [*flipped("WEBP")], "bits of PPM": [*flipped("PPM")],
    "bits of TIFF": [*flipped("TIFF")], "headers": [*headers()], "malformed": [*malformed()],
    "impostors": [*impostors()],
}  # fmt: skip


@pytest.mark.filterwarnings("default")  # Pillow warns of much of this
@pytest.mark.parametrize(
    ("content", "fate"),
    [pytest.param(content, fate, id=f"{kind}: {name}") for kind in CASES for name, content, fate in CASES[kind]],
)
def test_hostile_picture(tmp_path: Path, content: bytes, fate: str) -> None:
    """Refused with the file's name, or (``either``: decoders forgive) read as a whole picture."""
    path = tmp_path / "some picture.png"
    path.write_bytes(content)
    with bounded(path):
        try:
            pixels = read_picture(path, 16)
            assert fate == "either" and pixels.shape in ((1, 16, 16), (3, 16, 16))
        except DataError as error:
            text = str(error)
            assert text.startswith(f"{path}: ") and len(text) < len(str(path)) + 300 and "\n" not in text


def test_the_kinds_are_many() -> None:
    assert len(CASES) >= 14 and max(map(len, CASES.values())) <= 40 and sum(map(len, CASES.values())) >= 180
