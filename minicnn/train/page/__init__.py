"""The page of a run, ``report.html``: one file that opens from a disk and asks the network for nothing.

`story` gathers what it tells, `sections` and `charts` make HTML and SVG of that, ``page.html``, ``page.css`` and
``page.js`` lie around it. It is complete without its script, which only shows the charts' values under the pointer.
"""

import base64
import hashlib
import json
import os
from functools import cache
from html import escape
from importlib import resources
from pathlib import Path
from string import Template

import minicnn
from minicnn.train.page import sections
from minicnn.train.page.story import Story, model_facts, of_folder, read_facts, run_facts, tell, write_facts

__all__ = [
    "Story",
    "model_facts",
    "of_folder",
    "read_facts",
    "render",
    "run_facts",
    "tell",
    "write",
    "write_facts",
]


def write(path: Path, story: Story) -> None:
    """Put the page at ``path``, whole or not at all. **Raises** OSError."""
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.write_text(render(story), encoding="utf-8", newline="")
    os.replace(temporary, path)  # noqa: PTH105  (atomic, overwrites on Windows)


def render(story: Story) -> str:
    """The page as HTML."""
    curves, charts = sections.curves(story)
    parts = (sections.confusion, sections.mistakes, sections.classes, sections.settings, sections.commands)
    script = _file("page.js")
    return Template(_file("page.html")).substitute(
        title=escape(story.title),
        headline=sections.headline(story),
        sections=curves + "".join(part(story) for part in parts),
        # "<" would let a text end the script that holds the JSON
        charts=json.dumps(charts, separators=(",", ":")).replace("<", "\\u003c"),
        version=escape(minicnn.__version__),
        style=_file("page.css"),
        script=script,
        script_hash="sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


@cache
def _file(name: str) -> str:
    return (resources.files(__name__) / name).read_text(encoding="utf-8")
