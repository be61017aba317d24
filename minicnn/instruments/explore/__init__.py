"""``minicnn explore``: a network as a page to click through; one file that opens from a disk and asks for nothing.

`settings` says at which widths, depths and resolutions a network is counted, `tables` has ``minicnn.summary`` count
each of them and `minicnn.instruments.flow` follow its data, and ``page.html``, ``page.css`` and the scripts lie around
the tables: ``data.js`` looks up and formats, ``lanes.js`` lays out the lines of data, ``layers.js`` draws trees, and
``page.js`` has controls, totals and the chosen layer. They count nothing.
"""

from html import escape

from minicnn.instruments.explore.settings import Choices, Knob, Setting, choices
from minicnn.instruments.explore.tables import tables
from minicnn.offline_page import assemble, script_data

__all__ = ["Choices", "Knob", "Setting", "choices", "explore_page", "render"]


def explore_page(*names: str) -> str:
    """One HTML document of a network of the catalog at every setting that its family offers, or of several networks.

    **Raises** ArgumentError for an unknown name, and for a network that is named twice.
    """
    return render(choices(*names))


def render(offered: Choices) -> str:
    """The page of these settings."""
    title = f"{offered.title}, layer by layer"
    return assemble(__name__, title, title=escape(offered.title), tables=script_data(tables(offered)))
