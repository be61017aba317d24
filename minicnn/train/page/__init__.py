"""The page of a run, ``report.html``: one file that opens from a disk and asks the network for nothing.

`story` gathers what it tells, `sections` and `charts` make HTML and SVG of that, ``page.html``, ``page.css`` and
``page.js`` lie around it. It is complete without its script, which only shows the charts' values under the pointer.
"""

from html import escape
from pathlib import Path

from minicnn.files import write_atomically
from minicnn.offline_page import assemble, script_data
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
    # a path may have bytes that are no UTF-8; a page cannot
    write_atomically(path, [render(story).encode(errors="replace")])


def render(story: Story) -> str:
    """The page as HTML."""
    curves, charts = sections.curves(story)
    parts = (sections.confusion, sections.mistakes, sections.classes, sections.settings, sections.commands)
    return assemble(
        __name__,
        story.title,
        title=escape(story.title),
        headline=sections.headline(story),
        sections=curves + "".join(part(story) for part in parts),
        charts=script_data(charts),
    )
