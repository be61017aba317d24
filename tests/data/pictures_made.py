"""Pictures and folders of pictures, drawn by Pillow for the tests."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def noise(height: int = 20, width: int = 24, channels: int = 3, seed: int = 0) -> np.ndarray:
    """Random pixels (H, W, C), or (H, W) for one channel; blocks of 4, so that JPEG keeps them nearly."""
    blocks = np.random.default_rng(seed).integers(0, 256, (-(-height // 4), -(-width // 4), channels))
    pixels = blocks.repeat(4, axis=0).repeat(4, axis=1)[:height, :width].astype(np.uint8)
    return pixels[..., 0] if channels == 1 else pixels


def encoded(pixels: np.ndarray | Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """A picture file's bytes."""
    picture = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    target = io.BytesIO()
    picture.save(target, kind, **options)
    return target.getvalue()


def folder(root: Path, counts: Mapping[str, int], channels: int = 3, kind: str = "png") -> Path:
    """Class folders with so many pictures each: ``folder(tmp_path / "pets", {"cat": 5, "dog": 6})``."""
    for label, (name, count) in enumerate(counts.items()):
        (root / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            content = encoded(noise(12, 16, channels, 1000 * label + i), {"jpg": "JPEG"}.get(kind, kind))
            (root / name / f"{i:03}.{kind}").write_bytes(content)
    return root
