"""``minicnn predict RUN IMAGE...``: classify pictures with a trained run."""

from pathlib import Path
from typing import Any

import click
import numpy as np

from minicnn.cli.output import json_option, print_json, print_table
from minicnn.errors import DataError


@click.command("predict")
@click.argument("run", type=click.Path(path_type=Path, exists=True))
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--top", default=3, show_default=True, type=click.IntRange(1), help="How many classes to show.")
@click.option("--invert", is_flag=True, help="Swap black and white first (dark ink on white paper).")
@json_option
def command(run: Path, images: tuple[Path, ...], top: int, invert: bool, as_json: bool) -> None:
    """Classify IMAGES with the best weights of RUN (a run folder or a checkpoint file)."""
    from minicnn.train.evaluate import probabilities

    model, facts = _load(run)
    batch = np.stack([read_image(path, facts, invert) for path in images])
    shares = probabilities(model, batch)
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


def _load(run: Path) -> tuple[Any, dict[str, Any]]:
    from minicnn import models
    from minicnn.train.checkpoint import load_newest
    from minicnn.train.loop import load_weights
    from minicnn.train.run import RunFolder

    saved, fell_back = load_newest(RunFolder.open(run).best if run.is_dir() else run)
    if fell_back:
        click.echo(f"minicnn: {fell_back}", err=True)
    facts = saved.state["data"]
    name = saved.state["args"]["model"]
    model = models.create(name, num_classes=len(facts["classes"]), in_channels=facts["shape"][0])
    load_weights(model, saved.arrays)
    return model, facts


def read_image(path: Path, facts: dict[str, Any], invert: bool = False) -> np.ndarray:
    """A picture as the network saw its training images: (C, H, W), scaled to its size, normalised.

    **Raises** DataError for a missing file, or one that is not a PNG, JPEG, GIF, BMP, TIFF, PPM or WebP picture.
    """
    from PIL import Image, UnidentifiedImageError

    channels, height, width = facts["shape"]
    try:
        with Image.open(path, formats=("PNG", "JPEG", "GIF", "BMP", "TIFF", "PPM", "WEBP")) as picture:
            resized = picture.convert("L" if channels == 1 else "RGB").resize(
                (width, height), Image.Resampling.BILINEAR
            )
    except FileNotFoundError:
        raise DataError(f"predict: there is no file {path}") from None
    except IsADirectoryError:
        raise DataError(f"predict: {path} is a folder; fix: name the image files in it") from None
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        raise DataError(f"predict: {path} cannot be read as an image ({error}); expected PNG, JPEG, ...") from error
    raw = np.asarray(resized, np.float32).reshape(height, width, channels).transpose(2, 0, 1) / 255.0
    raw = 1.0 - raw if invert else raw
    mean, std = (np.asarray(facts[key], np.float32).reshape(-1, 1, 1) for key in ("mean", "std"))
    normalised: np.ndarray = ((raw - mean) / std).astype(np.float32)
    return normalised
