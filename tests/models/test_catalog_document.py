"""``docs/catalog.md`` has every model once; that it is up to date, ``test_catalog.py`` sees."""

import re
from pathlib import Path

from minicnn import models
from minicnn.models.spec import Published, Recipe
from tests import catalog_document

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "catalog.md"


def test_every_model_stands_in_it_once():
    rows = re.findall(r"^\| `(\S+)` \|", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(rows) == sorted(models.names())


def test_every_table_has_as_many_cells_as_columns():
    for table in re.findall(r"(?:^\|.*\n)+", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE):
        assert len({line.count("|") for line in table.splitlines()}) == 1, table.splitlines()[0]


def test_a_row_says_what_was_printed_and_where():
    printed = Published("61k", "", 0.95, None, "test", "Table 1")
    info = models.info("lenet5")._replace(published=printed)
    row = catalog_document.row(info, {"test; Table 1": 4})
    assert row["parameters"] == "61,706 (61k [4])" and row["multiply-adds"] == "416,520"
    assert row["top-1"] == "0.95 [4]" and row["top-5"] == ""


def test_a_recipe_reads_as_a_sentence():
    recipe = Recipe("sgd", 0.1, 256, 90, 0.9, 1e-4, milestones=(30, 60), options=(("warmup_epochs", 5),), source="§3")
    assert catalog_document.described(recipe) == (
        "sgd, rate 0.1, batch 256, 90 epochs, momentum 0.9, weight decay 0.0001, "
        "steps schedule (times 0.1 after 30, 60 epochs), warmup epochs 5 (§3)"
    )
    assert "plateau schedule (times 0.1)" in catalog_document.described(recipe._replace(schedule="plateau"))
    assert "cosine schedule," in catalog_document.described(recipe._replace(schedule="cosine"))
