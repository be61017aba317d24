"""The project's goals for its speed: which rows each counts, and what falls short; figures are worked by hand."""

import goals
import pytest


def row(convolution, which, ours, theirs, percent=50.0, groups=1):
    """``percent``: of the product that ours reaches."""
    return {
        **{"convolution": convolution, "pass": which, "shape": {"groups": groups}, "milliseconds": ours},
        **{"torch_milliseconds": theirs, "ratio": theirs and theirs / ours, "percent_of_product": percent},
    }


def passes(convolution, times, percents=(50.0,) * 3, groups=1):
    names = ("forward", "grad_x", "grad_w")
    return [
        row(convolution, which, *pair, percent, groups)
        for which, pair, percent in zip(names, times, percents, strict=True)
    ]


# Ours and PyTorch's milliseconds of the three passes; sums of ratios 2, 1/2, 3, 8/10.
PLAIN = passes("plain", [(1.0, 4.0), (2.0, 2.0), (3.0, 6.0)], (80.0,) * 3)
WIDE = passes("wide", [(2.0, 2.0), (8.0, 2.0), (2.0, 2.0)])
# PyTorch reaches (10 * 1 + 40 * 2 + 60 * 1) / 12 = 12.5 % of the product
DEPTHWISE = passes("depthwise", [(1.0, 4.0), (2.0, 4.0), (1.0, 4.0)], (10.0, 40.0, 60.0), groups=8)
GROUPED = passes("grouped", [(4.0, 4.0), (2.0, 2.0), (4.0, 2.0)], groups=2)


def test_every_goal_counts_the_convolutions_it_speaks_of():
    found = goals.of_convolutions([*PLAIN, *WIDE, *DEPTHWISE, *GROUPED])
    slow = "forward + backward, PyTorch below 30 % of the product"
    assert [(goal["goal"], goal["figure"], goal["count"], goal["wanted"], goal["reached"]) for goal in found] == [
        ("forward", "geometric mean", 4, 1.2, True),
        ("forward + backward", "geometric mean", 4, 1.3, False),
        ("each pass alone", "worst", 12, 0.5, False),
        (slow, "geometric mean", 1, 2.0, True),
        (slow, "worst", 1, 1.0, True),
        ("forward + backward, other grouped convolutions", "worst", 1, 0.9, False),
    ]
    values = [2.0, (2 * 0.5 * 3 * 0.8) ** 0.25, 0.25, 3.0, 3.0, 0.8]  # forward: 4, 1, 4, 1
    assert [goal["measured"] for goal in found] == pytest.approx(values)
    assert [goal["below"] for goal in found] == [{}, {}, {"wide grad_x": 0.25}, {}, {}, {"grouped": 0.8}]


def test_a_sum_that_just_reaches_is_reached_and_the_worst_stand_first():
    found = goals.worst("name", 0.5, {"a": 0.4, "b": 0.5, "c": 0.1})
    assert list(found["below"].items()) == [("c", 0.1), ("a", 0.4)] and found["reached"] is False
    assert goals.worst("name", 0.5, {"b": 0.5})["reached"] is True
    assert goals.mean("name", 2.0, {"a": 1.0, "b": 4.0}) | {"measured": 2.0} == {
        **{"goal": "name", "figure": "geometric mean", "count": 2, "wanted": 2.0, "reached": True},
        **{"below": {}, "measured": 2.0},
    }


def test_pytorchs_share_of_the_product_is_that_of_all_passes_together():
    """29 and 31 % of it: ours takes half the time, at 58 and 62 %."""
    for percent, count in ((58.0, 1), (62.0, 0)):
        found = goals.of_convolutions(passes("a", [(1.0, 2.0)] * 3, (percent,) * 3))
        assert found[3]["count"] == found[4]["count"] == count


def test_a_first_layer_needs_no_image_gradient():
    (step,) = goals.training_steps([PLAIN[0], PLAIN[2]]).values()
    assert step.ratio == pytest.approx((4 + 6) / (1 + 3))
    assert step.torch_percent == pytest.approx(80 * 4 / 10)


@pytest.mark.parametrize(
    "rows",
    [[PLAIN[0]], PLAIN[1:], PLAIN[:2], [*PLAIN[:2], row("plain", "grad_w", None, None, None)]],
    ids=["forward only", "no forward", "no filter gradient", "a wrong row"],
)
def test_half_a_step_is_none(rows):
    assert goals.training_steps(rows) == {}
    found = goals.of_convolutions(rows)
    assert [goal["reached"] for goal in found][1] is None and found[1]["measured"] is None


def test_operations_count_each_row(capsys):
    rows = [
        {"operation": "pool", "pass": which, "where": "here", "ratio": ratio}
        for which, ratio in (("forward", 4.0), ("backward", 0.5), ("step", None))
    ]
    mean, worst = goals.of_operations(rows)
    assert (mean["count"], mean["reached"], mean["wanted"]) == (2, True, 1.0)
    assert mean["measured"] == pytest.approx(2**0.5)
    assert (worst["measured"], worst["wanted"], worst["below"]) == (0.5, 0.7, {"pool backward, here": 0.5})
    goals.show([mean, worst])
    said = capsys.readouterr().out
    assert "below 0.70: 1 of 2" in said and "0.500  pool backward, here" in said
    assert [line.split()[-2:] for line in said.splitlines() if "every operation and pass  " in line] == [
        ["1.00", "reached"],
        ["not", "reached"],
    ]


def test_networks_are_asked_for_time_and_memory():
    speed, peaks = {"lenet5": 0.95, "vgg16": 2.0}, {"lenet5": 0.8, "vgg16": 0.92}
    step, slowest, lenet, inference, memory = goals.of_networks(speed, {"vgg16": 0.5}, peaks)
    assert step["measured"] == pytest.approx(1.9**0.5) and (step["wanted"], step["reached"]) == (1.0, True)
    assert (slowest["measured"], slowest["wanted"], slowest["reached"]) == (0.95, 0.9, True)
    assert (lenet["measured"], lenet["wanted"], lenet["reached"], lenet["count"]) == (0.95, 1.0, False, 1)
    assert (inference["measured"], inference["reached"]) == (0.5, False)
    assert memory["below"] == {"lenet5": 0.8} and memory["wanted"] == pytest.approx(0.909, abs=1e-3)


def test_nothing_is_said_where_nothing_was_compared(capsys):
    alone = [row("a", which, 1.0, None) for which in ("forward", "grad_x", "grad_w")]
    goals.show(goals.of_convolutions(alone))
    assert capsys.readouterr().out == ""
