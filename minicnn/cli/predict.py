"""``minicnn predict RUN IMAGE...``: classify pictures with a trained run."""

from pathlib import Path
from typing import Any

import click
import numpy as np

from minicnn.cli.output import json_option, print_json, print_table
from minicnn.cli.runs import is_run, load_run, look_options, sizes_of, together
from minicnn.data.pictures import read_picture
from minicnn.errors import DataError

FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "PPM", "WEBP")


@click.command("predict")
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN... IMAGE...")
@look_options
@click.option("--top", default=3, show_default=True, type=click.IntRange(1), help="How many classes to show.")
@click.option("--invert/--no-invert", default=None, help="Swap black and white; default: digits on light paper are.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, gpu or cuda:<index>.")
@json_option
def command(
    runs: tuple[Path, ...],
    crops: str,
    scales: str,
    average: str,
    top: int,
    invert: bool | None,
    device: str,
    as_json: bool,
) -> None:
    """Classify IMAGES with the best weights of RUN, a run folder or a checkpoint file; several RUNs answer together."""
    from minicnn.devices import choose_device
    from minicnn.train.evaluate import probabilities

    runs, images = _parted(runs)
    where, _ = choose_device(device)
    loaded = [load_run(run, "predict") for run in runs]
    model, facts = together(loaded, "predict", int(crops), sizes_of(scales), average)
    batch = np.stack([read_image(path, facts, invert) for path in images])
    shares = probabilities(model.to(where), batch, where)
    answers = []
    for path, share in zip(images, shares, strict=True):
        order = np.argsort(-share, kind="stable")[:top]
        classes = [{"class": facts["classes"][k], "probability": float(share[k])} for k in order]
        answers.append({"image": str(path), "classes": classes})
    if as_json:
        print_json(answers)
        return
    rows = [
        (a["image"], *(f"{c['class']} {100 * c['probability']:.1f} %" for c in a["classes"]))  # type: ignore[index]
        for a in answers
    ]
    print_table(("image", "answer", *("then",) * (len(rows[0]) - 2)), rows)


def _parted(paths: tuple[Path, ...]) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """The runs, which come first, and the pictures."""
    if not paths[0].exists():
        raise click.BadParameter(f"Path '{paths[0]}' does not exist.", param_hint="RUN")
    count = next((k for k, path in enumerate(paths) if k and not is_run(path)), len(paths))
    if count == len(paths):
        raise click.UsageError("Missing argument 'IMAGE...'.")
    return paths[:count], paths[count:]


def read_image(path: Path, facts: dict[str, Any], invert: bool | None = None) -> np.ndarray:
    """A picture as the network saw its training images: (C, H, W), scaled to its size, normalised.

    A picture that is not square is filled up with the colour of its edge; what is transparent is white. ``invert``
    None swaps black and white for digits on light paper, which the network saw as white ink on black.
    **Raises** DataError for a missing file, or one that is not a PNG, JPEG, GIF, BMP, TIFF, PPM or WebP picture.
    """
    from PIL import Image, UnidentifiedImageError

    channels, height, width = facts["shape"]
    mean, std = (np.asarray(facts[key], np.float32).reshape(-1, 1, 1) for key in ("mean", "std"))
    if facts["name"] == "folder":  # these were cut square in training
        raw = read_picture(path, height, channels) / np.float32(255)
        return ((1.0 - raw if invert else raw) - mean) / std
    try:
        with Image.open(path, formats=FORMATS) as picture:
            pixels = _pixels(picture, "L" if channels == 1 else "RGB")
    except FileNotFoundError:
        raise DataError(f"predict: there is no file {path}") from None
    except IsADirectoryError:
        raise DataError(f"predict: {path} is a folder; fix: name the image files in it") from None
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(
            f"predict: {path} cannot be read as an image ({error}); expected a file of type {', '.join(FORMATS)}"
        ) from error
    edge = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    paper = np.median(edge, axis=0)  # (C,)
    # Channel by channel: Pillow resizes 32-bit pixels only one channel at a time.
    planes = [_resized(pixels[..., c], float(paper[c]), (width, height)) for c in range(channels)]
    raw = np.stack(planes)  # (C, H, W)
    if invert is None:
        invert = facts["name"] == "digits" and bool(paper.mean() > 0.5)
    raw = 1.0 - raw if invert else raw
    normalised: np.ndarray = ((raw - mean) / std).astype(np.float32)
    return normalised


def _pixels(picture: Any, mode: str) -> np.ndarray:
    """Values in 0..1, (H, W, C), upright, over white paper."""
    from PIL import Image, ImageOps

    picture = ImageOps.exif_transpose(picture)
    if picture.mode.startswith("I"):  # 16-bit grey, which Pillow would clip at 255 instead of scaling
        grey = np.asarray(picture, np.float32) / 65535
        return np.repeat(grey[..., None], 1 if mode == "L" else 3, axis=2)
    if "A" in picture.getbands() or "transparency" in picture.info:
        seen = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", seen.size, "white"), seen)
    pixels = np.asarray(picture.convert(mode), np.float32) / 255
    return pixels.reshape(*pixels.shape[:2], -1)


def _resized(plane: np.ndarray, paper: float, size: tuple[int, int]) -> np.ndarray:
    """(H, W), filled up to a square and scaled to ``size``, with antialiasing."""
    from PIL import Image

    h, w = plane.shape
    side = max(h, w)
    top, left = (side - h) // 2, (side - w) // 2
    square = np.pad(plane, ((top, side - h - top), (left, side - w - left)), constant_values=paper)
    return np.asarray(Image.fromarray(square).resize(size, Image.Resampling.BILINEAR))
