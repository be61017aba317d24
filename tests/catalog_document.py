"""``python -m tests.catalog_document --write docs/catalog.md``: every model, as counted and as printed."""

import argparse
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from minicnn import models
from minicnn.models import ModelInfo
from minicnn.models.spec import Published, Recipe
from tests.models.catalog import EXCLUDED

K = TypeVar("K")

HEAD = """# The catalog

Every registered network, `minicnn.models.<name>()`, in the order of their papers. Parameters and multiply-adds of one
input are counted from the layers (`minicnn.models.counts`); what stands in parentheses is the figure as printed. Errors
are per cent, as printed where the number in brackets says, under the protocol it says; an empty place means that no
figure was found in a source that was opened. *Form* is whose version of the network it is; *torchvision* is the name of
the same network there, whose weights load as they are.
Written by `python -m tests.catalog_document --write docs/catalog.md`.
"""


def families() -> dict[str, list[ModelInfo]]:
    """Family -> its rows; families by their first year."""
    found: dict[str, list[ModelInfo]] = {}
    for info in map(models.info, models.names()):
        found.setdefault(info.family, []).append(info)
    return dict(sorted(found.items(), key=lambda item: (min(info.year for info in item[1]), item[0].lower())))


def grouped(rows: Iterable[ModelInfo], key: Callable[[ModelInfo], K]) -> dict[K, list[str]]:
    """What ``key`` finds -> the names of the rows that have it; nothing found is left out."""
    found: dict[K, list[str]] = {}
    for info in rows:
        if key(info):
            found.setdefault(key(info), []).append(info.name)
    return found


def linked(paper: str) -> str:
    return re.sub(r"arXiv:(\d{4}\.\d{4,5})", r"[arXiv:\1](https://arxiv.org/abs/\1)", paper)


def section(family: str, rows: list[ModelInfo]) -> str:
    """Heading, table, then what its numbers in brackets mean, what deviates, and how the networks were trained."""
    sources = {origin: number for number, origin in enumerate(grouped(rows, lambda info: origin_of(info.published)), 1)}
    cells = [row(info, sources) for info in rows]
    columns = [key for key in cells[0] if any(found[key] for found in cells)]
    lines = [f"## {family}", ""]
    if len({(info.paper, info.year) for info in rows}) == 1:
        lines += [f"{cells[0]['paper']}, {cells[0]['year']}.", ""]
        columns = [key for key in columns if key not in ("paper", "year")]
    table = [columns, ["---"] * len(columns), *([found[key] for key in columns] for found in cells)]
    lines += ["| " + " | ".join(line) + " |" for line in table] + [""]
    notes = [f"- [{number}] {text}" for text, number in sources.items()]
    for text, names in grouped(rows, lambda info: info.deviations).items():
        notes.append(f"- {named(names, rows)}: {text}")
    for recipe, names in grouped(rows, lambda info: info.recipe).items():
        notes += [f"- **Recipe** of {named(names, rows)}: {described(recipe)}"] if recipe else []
    return "\n".join([*lines, *notes, ""] if notes else lines)


def origin_of(published: Published) -> str:
    return "; ".join(part for part in (published.protocol, published.source) if part)


def row(info: ModelInfo, sources: dict[str, int]) -> dict[str, str]:
    counted, printed = models.counts(info.name), info.published
    mark = f" [{sources[origin_of(printed)]}]" if origin_of(printed) else ""
    params, macs = (
        f"{count:,} ({text}{mark})" if text else f"{count:,}"
        for count, text in zip(counted, (printed.params, printed.macs), strict=True)
    )
    top1, top5 = ("" if error is None else f"{error}{mark}" for error in (printed.top1_error, printed.top5_error))
    facts = {"name": f"`{info.name}`", "paper": linked(info.paper), "year": str(info.year), "form": info.form}
    shape = {"input": "x".join(map(str, info.input_shape)), "classes": str(info.num_classes)}
    figures = {"parameters": params, "multiply-adds": macs, "top-1": top1, "top-5": top5}
    return facts | shape | figures | {"torchvision": info.torchvision}


def named(names: list[str], rows: list[ModelInfo]) -> str:
    return "all" if len(names) == len(rows) else ", ".join(f"`{name}`" for name in names)


def described(recipe: Recipe) -> str:
    """The recipe as a sentence."""
    parts = [recipe.optimizer, f"rate {recipe.lr:g}"]
    parts += [f"batch {recipe.batch}"] if recipe.batch else []
    parts += [f"{recipe.epochs:g} epochs"] if recipe.epochs else []
    parts += [f"momentum {recipe.momentum:g}"] if recipe.momentum else []
    parts += [f"weight decay {recipe.weight_decay:g}"] if recipe.weight_decay else []
    parts += [f"{recipe.schedule} schedule" + factor(recipe)]
    parts += [f"{key.replace('_', ' ')} {value}" for key, value in recipe.options]
    text = ", ".join(parts)
    text += f"; images: {', '.join(recipe.augmentation)}" if recipe.augmentation else ""
    text += f"; {recipe.notes}" if recipe.notes else ""
    return text + (f" ({recipe.source})" if recipe.source else "")


def factor(recipe: Recipe) -> str:
    """What the rate is multiplied by, and when."""
    if recipe.schedule not in ("steps", "plateau", "exponential"):
        return ""
    places = ", ".join(f"{epoch:g}" for epoch in recipe.milestones if recipe.schedule == "steps")
    return f" (times {recipe.gamma:g}" + (f" after {places} epochs)" if places else ")")


def document() -> str:
    sections = [section(family, rows) for family, rows in families().items()]
    left_out = [f"- `{name}`: {reason}" for name, reason in EXCLUDED.items()]
    return "\n".join([HEAD, *sections, "## Left out", "", *left_out, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", type=Path, required=True, help="write the catalog to this Markdown file")
    parser.parse_args().write.write_text(document(), encoding="utf-8")


if __name__ == "__main__":
    main()
