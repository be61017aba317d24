"""A sheet of pictures, each transform over the same image: ``python -m minicnn.data.augment.sheet -o FILE.png``."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from minicnn.data.augment.mix import CutMix, MixUp, one_hot
from minicnn.data.augment.parse import parse
from minicnn.data.augment.transform import Images, generators
from minicnn.data.dataset import ArrayDataset

SIZE = 64
SAMPLES = 9
ROWS = (
    "flip",
    "vflip",
    "crop:8",
    "crop:8:reflect",
    "resized",
    "rotate:20:0",
    "affine:15:0.1:0.2:15",
    "elastic:0.05",
    "cutout:20",
    "erase:1",
    "jitter:0.4:0.4:0.4",
    "jitter:0:0:0:0.5",
    "pca:1",
    "grey:0.5",
    "noise:0.5",
    "randaugment:2:9",
    "randaugment:2:27",
)


def scene() -> Images:
    """A house, a tree and the sun: (3, SIZE, SIZE) in 0..1, with an up, a left and every colour."""
    from PIL import Image, ImageDraw

    picture = Image.new("RGB", (8 * SIZE, 8 * SIZE), (120, 180, 235))
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, 360, 512, 512), fill=(90, 160, 70))
    draw.ellipse((360, 40, 460, 140), fill=(250, 215, 60))
    draw.rectangle((80, 230, 270, 420), fill=(215, 120, 90))
    draw.polygon([(50, 230), (175, 110), (300, 230)], fill=(130, 40, 45))
    draw.rectangle((150, 320, 205, 420), fill=(75, 50, 40))
    draw.rectangle((100, 260, 140, 300), fill=(240, 240, 200))
    draw.rectangle((395, 330, 420, 440), fill=(100, 70, 45))
    draw.ellipse((345, 200, 470, 350), fill=(40, 105, 50))
    small = picture.resize((SIZE, SIZE), Image.Resampling.BOX)
    pixels: Images = np.asarray(small, np.float32).transpose(2, 0, 1) / np.float32(255)
    return pixels


def rows() -> list[tuple[str, Images]]:
    """A name and its pictures (SAMPLES, 3, SIZE, SIZE), raw, for every row of the sheet."""
    raw = np.stack([scene()] * SAMPLES)
    dataset = ArrayDataset(raw, np.arange(SAMPLES), [str(i) for i in range(SAMPLES)], mean=0.45, std=0.25)
    images, labels = dataset.batch(np.arange(SAMPLES))
    found = [(text, parse(text, dataset)(images, generators(0, 0, labels))) for text in ROWS]
    others = np.concatenate([images[:1], np.flip(images[:1], 1), 0.45 - images[:1]])[np.arange(SAMPLES) % 3]
    for mix in (MixUp(1.0), CutMix()):
        found.append((repr(mix), mix(others, one_hot(labels, SAMPLES), generators(0, 0, labels))[0]))
    return [("nothing", raw[:1])] + [(name, np.clip(dataset.denormalise(changed), 0, 1)) for name, changed in found]


def sheet() -> Any:
    """Draw all rows: a Pillow image."""
    from PIL import Image, ImageDraw

    margin, text = 4, 150
    shown = rows()
    side = SIZE + margin
    page = Image.new("RGB", (text + SAMPLES * side, margin + len(shown) * side), "white")
    draw = ImageDraw.Draw(page)
    for row, (name, pictures) in enumerate(shown):
        top = margin + row * side
        draw.text((margin, top + SIZE // 2 - 6), name, fill="black")
        for column, picture in enumerate(pictures):
            levels = np.rint(picture.transpose(1, 2, 0) * 255).astype(np.uint8)
            page.paste(Image.fromarray(levels), (text + column * side, top))
    return page


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, required=True, help="the PNG file to write")
    chosen = parser.parse_args(arguments)
    sheet().quantize(255).save(chosen.output, optimize=True)


if __name__ == "__main__":
    main()
