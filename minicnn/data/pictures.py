"""Picture files of unknown origin: decoded within limits, upright, as bytes of one size."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from minicnn.data.byte_images import Bytes
from minicnn.errors import DataError

# Pillow tries no other decoder, whatever a file says it is.
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "PPM", "TIFF")
SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jpe", ".png", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".pbm", ".pnm", ".tif", ".tiff")
)
# A picture is decoded as a whole, twice when it is transparent: 400 MB for one of this size.
MAX_PIXELS = 50_000_000
MAX_BYTES = 200_000_000  # of a file: as many pixels, not compressed


def read_picture(path: Path, size: int, channels: int | None = None) -> Bytes:
    """Return a picture as bytes (C, size, size): upright, its shorter side scaled to ``size``, the middle cut out.

    What is transparent is white; of an animation the first picture counts; 16 bits become 8. ``channels`` 1 is grey,
    3 is colour, None what the file has. Scaling is bilinear with antialiasing; a large JPEG is decoded at a half, a
    quarter or an eighth of its size where that is enough.
    **Raises** DataError, naming the file, for one that is missing, damaged, not a picture, or too large to be decoded.
    """
    with reading(path) as picture:
        picture.draft("L" if channels == 1 else None, (size, size))
        picture = fitted(bytes_of(upright(picture)), size)
        picture = picture if channels is None else picture.convert({1: "L", 3: "RGB"}[channels])
        pixels = np.asarray(picture)
    return np.ascontiguousarray(np.atleast_3d(pixels).transpose(2, 0, 1))


@contextmanager
def reading(path: Path) -> Iterator[Any]:
    """Inside, the opened picture; whatever goes wrong with it becomes a DataError that names the file."""
    from PIL import Image, UnidentifiedImageError

    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise DataError(f"{size:,} bytes, more than the {MAX_BYTES:,} that are read")
        # From memory: decoders ask for as many bytes as a header promises, and memory gives no more than there are.
        with Image.open(io.BytesIO(path.read_bytes()), formats=FORMATS) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise DataError(f"{picture.width}x{picture.height} pixels, more than the {MAX_PIXELS:,} that are read")
            yield picture
    except FileNotFoundError:
        raise DataError(f"{shown(path)}: there is no such file") from None
    except IsADirectoryError:
        raise DataError(f"{shown(path)}: it is a folder, expected a picture") from None
    except UnidentifiedImageError:
        what = "it is empty" if not size else f"it is not a picture, or damaged; expected {', '.join(FORMATS)}"
        raise DataError(f"{shown(path)}: {what}") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise DataError(f"{shown(path)}: more than the {MAX_PIXELS:,} pixels that are read") from None
    except Exception as error:  # a damaged file makes decoders raise much that Pillow does not document
        reason = str(error) or type(error).__name__
        raise DataError(f"{shown(path)}: {reason}") from error


def shown(path: Path | str) -> str:
    """A name as it can be printed on one line, whatever characters it is made of."""
    text = str(path)
    return text if text.isprintable() else ascii(text)[1:-1]


def upright(picture: Any) -> Any:
    """Decode a picture and turn it as its EXIF data say."""
    from PIL import ImageOps

    ImageOps.exif_transpose(picture, in_place=True)
    return picture


def bytes_of(picture: Any) -> Any:
    """Convert a picture to mode L or RGB, or to LA or RGBA where something may be transparent."""
    mode = picture.mode
    if mode == "F":
        raise ValueError("its pixels are floating-point numbers, whose range is unknown; save it with 8 or 16 bits")
    if mode.startswith("I"):
        return _from_16_bits(picture)
    grey = mode in ("1", "L", "LA", "La")
    if "transparency" in picture.info or mode in ("LA", "La", "PA", "RGBA", "RGBa"):
        return picture.convert("LA" if grey else "RGBA")
    return picture.convert("L" if grey else "RGB")


def _from_16_bits(picture: Any) -> Any:
    """16-bit grey, which Pillow would clip at 255 instead of scaling."""
    from PIL import Image

    grey = np.asarray(picture)
    if grey.min() < 0 or grey.max() > 65535:
        raise ValueError("its pixels have more than 16 bits, of which nobody knows what is white; save it with 8 or 16")
    return Image.fromarray(((grey.astype(np.uint32) + 128) // 257).astype(np.uint8))


def fitted(picture: Any, size: int) -> Any:
    """Scale a picture's shorter side to ``size`` and cut out the middle, on white; mode L or RGB."""
    from PIL import Image

    width, height = picture.size
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    # Pillow multiplies by alpha before it mixes pixels, so that what is transparent lends no colour
    square = picture.resize((size, size), Image.Resampling.BILINEAR, (left, top, left + side, top + side))
    if square.mode in ("L", "RGB"):
        return square
    pixels = np.asarray(square).astype(np.uint32)
    colour, alpha = pixels[..., :-1], pixels[..., -1:]
    seen = ((colour * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
    return Image.fromarray(seen[..., 0] if square.mode == "LA" else seen)
