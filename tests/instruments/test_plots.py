"""Curves and bars: what is drawn is what was given, and no axis flatters."""

import numpy as np
import pytest

from minicnn.instruments import arrows, plots
from minicnn.instruments.banded import taps
from minicnn.instruments.layers import Estimate


@pytest.fixture
def drawn(monkeypatch):
    """The figures, in place of their files."""
    figures = []
    for module in (plots, arrows):
        monkeypatch.setattr(module, "png", lambda made: figures.append(made) or b"")
    return figures


def test_amounts_start_at_0_and_powers_end_at_powers(drawn):
    plots.draw_curves(
        [
            plots.Curves("a", "x", "y", [1, 2], {"": [50.0, 60.0]}),
            plots.Curves("b", "x", "y", [1, 2], {"": [0.03, 0.04]}, log=True),
            plots.Curves("c", "x", "y", [1, 1], {"": [3.0, 4.0]}, joined=False),
        ]
    )
    amounts, powers, points = drawn[0].axes
    assert amounts.get_ylim()[0] == 0 and amounts.get_ylim()[1] > 60
    assert powers.get_ylim() == pytest.approx((0.01, 0.1)) and "(log scale)" in powers.get_ylabel()
    assert points.lines[0].get_linestyle() == "None" and list(points.lines[0].get_ydata()) == [3, 4]


def test_bars_of_another_kind_differ_in_more_than_colour(drawn):
    plots.draw_bars({"a": 3.0, "b": 4.0}, "t", "y", 2.0, ["b"])
    (axis,) = drawn[0].axes
    assert [bar.get_height() for bar in axis.patches] == [3, 4] and axis.get_ylim()[0] == 0
    assert [bar.get_hatch() for bar in axis.patches] == [None, "//"]


def test_many_names_are_thinned(drawn):
    plots.draw_norms({f"layer{k}": 10.0 ** (k % 3) for k in range(200)}, "t")
    (axis,) = drawn[0].axes
    assert [label.get_text() for label in axis.get_xticklabels()][:2] == ["layer0", "layer3"]
    assert axis.get_ylim() == pytest.approx((1, 100))


def test_estimates_keep_0_in_the_middle(drawn):
    rows = [Estimate("1.0", 0.5, 1.0), Estimate("1.1", 0.0, 0.0)]
    plots.draw_estimates({"1": rows, "2": rows[1:]})
    assert [axis.get_ylim() for axis in drawn[0].axes] == [pytest.approx((-1.65, 1.65))] * 2


def test_arrows_and_cells_are_those_of_the_matrix(drawn):
    arrows.draw_connections(taps((1, 1, 1, 3), (1, 5), padding=(0, 1)))
    above, below = drawn[0].axes[:3], drawn[0].axes[3:]
    titles = [axis.get_title(loc="left").split("\n")[1] for axis in above]
    assert titles == ["25 arrows, 25 weights", "13 arrows, 13 weights", "13 arrows, 3 weights"]
    assert [sum(text.arrow_patch is not None for text in _arrows(axis)) for axis in above] == [25, 13, 13]
    numbers = np.zeros((5, 5), int)
    for text in below[2].texts:
        numbers[int(text.get_position()[1]), int(text.get_position()[0])] = int(text.get_text())
    assert (numbers == np.eye(5, dtype=int) * 2 + np.eye(5, k=1, dtype=int) * 3 + np.eye(5, k=-1, dtype=int)).all()


def _arrows(axis):
    return [text for text in axis.texts if hasattr(text, "arrow_patch")]


def test_each_weight_has_a_colour_of_its_own():
    for count in (3, 7, 9, 49):
        assert len({tuple(colour) for colour in arrows._colours(count)[:count]}) == count
