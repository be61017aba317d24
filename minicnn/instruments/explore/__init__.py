"""``minicnn explore``: a network as a page to click through; one file that opens from a disk and asks for nothing.

`settings` says at which widths, depths and resolutions a network is counted, `tables` has ``minicnn.summary`` count
each of them, and ``page.html``, ``page.css`` and ``page.js`` lie around the tables. The script looks up, formats and
compares; it counts nothing.
"""

import base64
import hashlib
import json
from functools import cache
from html import escape
from importlib import resources
from string import Template

import minicnn
from minicnn.instruments.explore.settings import Choices, Knob, Setting, choices
from minicnn.instruments.explore.tables import tables

__all__ = ["Choices", "Knob", "Setting", "choices", "explore_page", "render"]


def explore_page(model: str) -> str:
    """One HTML document of the network ``model`` of the catalog, at every setting that its family offers.

    **Raises** ArgumentError for an unknown name.
    """
    return render(choices(model))


def render(offered: Choices) -> str:
    """The page of these settings."""
    script = _file("page.js")
    return Template(_file("page.html")).substitute(
        title=escape(offered.title),
        # "<" would let a text end the script that holds the JSON
        tables=json.dumps(tables(offered), separators=(",", ":")).replace("<", "\\u003c"),
        version=escape(minicnn.__version__),
        style=_file("page.css"),
        script=script,
        script_hash="sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


@cache
def _file(name: str) -> str:
    return (resources.files(__name__) / name).read_text(encoding="utf-8")
