"""``minicnn explore``: a network as a page to click through; one file that opens from a disk and asks for nothing.

`settings` says at which widths, depths and resolutions a network is counted, `tables` has ``minicnn.summary`` count
each of them, and ``page.html``, ``page.css`` and ``page.js`` lie around the tables. The script looks up, formats and
compares; it counts nothing.
"""

from html import escape

from minicnn.instruments.explore.settings import Choices, Knob, Setting, choices
from minicnn.instruments.explore.tables import tables
from minicnn.offline_page import assemble, script_data

__all__ = ["Choices", "Knob", "Setting", "choices", "explore_page", "render"]


def explore_page(model: str) -> str:
    """One HTML document of the network ``model`` of the catalog, at every setting that its family offers.

    **Raises** ArgumentError for an unknown name.
    """
    return render(choices(model))


def render(offered: Choices) -> str:
    """The page of these settings."""
    title = f"{offered.title}, layer by layer"
    return assemble(__name__, title, title=escape(offered.title), tables=script_data(tables(offered)))
