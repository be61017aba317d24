"""How a picture file becomes bytes: modes, transparency, EXIF, cutting, limits. Oracles: plain loops over pixels."""

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from minicnn.data import pictures
from minicnn.data.pictures import read_picture
from minicnn.errors import DataError
from tests.data.pictures_made import encoded, noise

Read = Callable[..., np.ndarray]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Write a picture, read it back at its own size (C, H, W)."""

    def go(content: bytes, size: int = 16, channels: int | None = None, name: str = "p.png") -> np.ndarray:
        (tmp_path / name).write_bytes(content)
        return read_picture(tmp_path / name, size, channels)

    return go


def planes(pixels: np.ndarray) -> np.ndarray:
    return np.atleast_3d(pixels).transpose(2, 0, 1)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "PPM", "TIFF", "GIF"])
def test_grey_pictures_keep_every_pixel(read: Read, kind: str) -> None:
    pixels = noise(16, 16, 1)
    np.testing.assert_array_equal(read(encoded(pixels, kind))[0], pixels)
    assert read(encoded(pixels, kind), channels=3).shape == (3, 16, 16)


@pytest.mark.parametrize(("kind", "off"), [("PNG", 0), ("BMP", 0), ("PPM", 0), ("TIFF", 0), ("WEBP", 0), ("JPEG", 12)])
def test_coloured_pictures_keep_every_pixel(read: Read, kind: str, off: int) -> None:
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 98, "subsampling": 0}}.get(kind, {})
    pixels = noise(16, 16)
    result = read(encoded(pixels, kind, **options))
    assert result.dtype == np.uint8 and result.flags.c_contiguous
    assert np.abs(result.astype(int) - planes(pixels)).max() <= off


def test_what_is_transparent_is_white(read: Read) -> None:
    pixels = noise(16, 16, 4)
    colour, alpha = pixels[..., :3].astype(float), pixels[..., 3:] / 255
    expected = planes(colour * alpha + 255 * (1 - alpha))
    assert np.abs(read(encoded(pixels)) - expected).max() <= 1
    grey = Image.fromarray(np.ascontiguousarray(pixels[..., [0, 3]]), "LA")
    expected = planes(colour[..., :1] * alpha + 255 * (1 - alpha))
    assert np.abs(read(encoded(grey)) - expected).max() <= 1


def test_transparency_lends_no_colour_when_scaled(read: Read) -> None:
    pixels = np.zeros((32, 32, 4), np.uint8)
    pixels[::2, :, 0] = 255  # red, and invisible
    pixels[1::2] = (0, 0, 255, 255)
    half = read(encoded(pixels), size=1)[:, 0, 0].astype(int)
    assert abs(half[0] - 127) <= 2 and abs(half[1] - 127) <= 2 and half[2] == 255  # white and blue, no red


def test_palettes(read: Read) -> None:
    picture = Image.fromarray(noise(16, 16) // 64 * 64).quantize(64)
    expected = planes(np.asarray(picture.convert("RGB")))
    for kind in ("PNG", "GIF"):
        np.testing.assert_array_equal(read(encoded(picture, kind)), expected)
    seen = read(encoded(picture, "PNG", transparency=0))
    hidden = np.asarray(picture) == 0
    assert hidden.any() and (seen[:, hidden] == 255).all()
    np.testing.assert_array_equal(seen[:, ~hidden], expected[:, ~hidden])


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_sixteen_bits_become_eight(read: Read, kind: str) -> None:
    deep = np.linspace(0, 65535, 256).reshape(16, 16).astype(np.uint16)
    np.testing.assert_allclose(read(encoded(deep, kind))[0], deep / 257, atol=0.51)


def test_one_bit_and_print_colours(read: Read) -> None:
    black = noise(16, 16, 1) > 127
    np.testing.assert_array_equal(read(encoded(Image.fromarray(black)))[0], black * 255)
    picture = Image.fromarray(noise(16, 16)).convert("CMYK")
    assert read(encoded(picture, "JPEG", quality=95)).shape == (3, 16, 16)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns_a_picture(read: Read, orientation: int) -> None:
    pixels = noise(16, 16, 1)
    # EXIF 2.3, tag 0x0112: where the first row and the first column of what is stored lie in what is seen
    seen = {
        1: pixels, 2: pixels[:, ::-1], 3: pixels[::-1, ::-1], 4: pixels[::-1],
        5: pixels.T, 6: pixels.T[:, ::-1], 7: pixels.T[::-1, ::-1], 8: pixels.T[::-1],
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    np.testing.assert_array_equal(read(encoded(pixels, "PNG", exif=exif))[0], seen)


@pytest.mark.parametrize(("height", "width"), [(16, 40), (41, 16), (16, 16)])
def test_the_middle_is_cut_out(read: Read, height: int, width: int) -> None:
    pixels = noise(height, width, 1)
    top, left = (height - 16) // 2, (width - 16) // 2
    middle = pixels[top : top + 16, left : left + 16]
    if height == 41:  # 12 and a half rows above: each pixel is the mean of two
        middle = (middle.astype(float) + pixels[top + 1 : top + 17, left : left + 16]) / 2
    assert np.abs(read(encoded(pixels))[0] - middle.astype(float)).max() <= 1


def test_scaling_down_averages(read: Read) -> None:
    pixels = np.zeros((64, 64), np.uint8)
    pixels[::2] = 255  # without antialiasing this would be all white or all black
    inner = read(encoded(pixels), size=8)[0, 1:-1]
    assert np.abs(inner.astype(int) - 127).max() <= 8


def test_a_large_jpeg_is_decoded_small_and_looks_the_same(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    y, x = np.mgrid[0:800, 0:1000]
    smooth = np.stack([x * 255 // 999, y * 255 // 799, (x + y) * 255 // 1798], axis=2).astype(np.uint8)
    sizes = []
    fitted = pictures.fitted
    monkeypatch.setattr(pictures, "fitted", lambda picture, size: sizes.append(picture.size) or fitted(picture, size))
    small, exact = read(encoded(smooth, "JPEG", quality=95), 64), read(encoded(smooth), 64)
    assert sizes == [(125, 100), (1000, 800)]
    assert np.abs(small.astype(int) - exact).max() <= 6


def test_the_first_picture_of_an_animation(read: Read) -> None:
    frames = [Image.fromarray(np.full((16, 16), value, np.uint8)) for value in (40, 200)]
    for kind in ("GIF", "PNG", "WEBP"):
        content = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
        assert abs(int(read(content)[0, 8, 8]) - 40) <= 2


def test_a_wrong_ending_does_not_matter(read: Read) -> None:
    assert read(encoded(noise(16, 16), "JPEG"), name="p.gif").shape == (3, 16, 16)


def png_of_size(width: int, height: int) -> bytes:
    """A whole picture whose header promises another size."""
    import zlib

    content = encoded(noise(8, 8, 1))
    head = b"IHDR" + struct.pack(">II", width, height) + content[24:29]
    return content[:12] + head + struct.pack(">I", zlib.crc32(head)) + content[33:]


@pytest.mark.parametrize(("width", "height"), [(7072, 7072), (50_000_001, 1), (12_000, 8000), (2**31 - 1, 2**31 - 1)])
def test_too_many_pixels_are_refused_at_the_header(read: Read, width: int, height: int) -> None:
    with pytest.raises(DataError, match=r"p\.png: .*more than the 50,000,000 "):
        read(png_of_size(width, height))


def test_files_that_are_too_large(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "MAX_BYTES", 1000)
    with pytest.raises(DataError, match=r"p\.png: 1,2\d\d bytes, more than the 1,000 that are read"):
        read(encoded(noise(20, 20), "PPM"))


def test_floating_point_pixels_are_refused(read: Read) -> None:
    with pytest.raises(DataError, match=r"p\.png: its pixels are floating-point numbers"):
        read(encoded(Image.fromarray(np.full((8, 8), np.nan, np.float32)), "TIFF"))
    with pytest.raises(DataError, match=r"p\.png: its pixels have more than 16 bits"):
        read(encoded(Image.fromarray(np.full((8, 8), 70_000, np.int32)), "TIFF"))


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.png: there is no such file"):
        read_picture(tmp_path / "nowhere.png", 8)
    with pytest.raises(DataError, match="it is a folder"):
        read_picture(tmp_path, 8)


def test_other_formats_are_not_tried(read: Read) -> None:
    for kind in ("ICO", "TGA", "PCX", "JPEG2000", "DDS"):
        with pytest.raises(DataError, match="not a picture, or damaged; expected JPEG, PNG, BMP, GIF, WEBP, PPM, TIFF"):
            read(encoded(noise(16, 16), kind))


def test_names_are_printed_on_one_line() -> None:
    assert pictures.shown("größe 🐱.png") == "größe 🐱.png"
    assert pictures.shown("two\nlines\t\x1b[31m.png") == r"two\nlines\t\x1b[31m.png"
    assert pictures.shown("\udcff.png") == r"\udcff.png"
