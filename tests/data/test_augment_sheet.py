"""The sheet of pictures, and the document that shows it."""

from pathlib import Path

import numpy as np
from PIL import Image

from minicnn.data.augment import sheet
from minicnn.data.augment.parse import CHOICES, MIXES

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_the_sheet_has_a_row_for_every_name_and_stays_small(tmp_path: Path) -> None:
    shown = {text.partition(":")[0] for text in sheet.ROWS}
    assert shown == set(CHOICES) - {"centre"}  # whose result is of another size
    sheet.main(["-o", str(tmp_path / "sheet.png")])
    assert (tmp_path / "sheet.png").stat().st_size < 300_000
    with Image.open(tmp_path / "sheet.png") as page, Image.open(DOCS / "augmentation.png") as kept:
        assert page.size == kept.size  # python -m minicnn.data.augment.sheet -o docs/augmentation.png
        pixels = np.asarray(page.convert("RGB"))
    assert pixels.std() > 30
    assert (DOCS / "augmentation.png").stat().st_size < 300_000


def test_the_document_names_every_transform() -> None:
    text = (DOCS / "augmentation.md").read_text(encoding="utf-8")
    for name, choice in (CHOICES | MIXES).items():
        assert f"| `{choice.example}` |" in text or f"| `{name}` |" in text, name
