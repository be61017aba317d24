"""What a study may choose, from TOML; and what no run could take is refused before the first trial."""

import math

import pytest

from minicnn.errors import ArgumentError
from minicnn.study import Choice, Range, Space, StudyArgs
from tests.close import assert_close


def test_lists_ranges_and_fixed_options_are_read(tmp_path):
    path = tmp_path / "space.toml"
    path.write_text(
        "[space]\nlr = { low = 0.001, high = 0.1, log = true, points = 3 }\nbatch_size = [32, 64]\n"
        'warmup_epochs = { low = 0, high = 2 }\n[args]\nepochs = 5\nmodel = "lenet5"\n',
        encoding="utf-8",
    )
    space = Space.read(path)
    assert space.entries["lr"] == Range(0.001, 0.1, True, 3)
    assert space.entries["batch_size"] == Choice((32, 64))
    assert space.args == {"epochs": 5, "model": "lenet5"}
    assert Space.of(space.tables()) == space
    grid = space.grid()
    assert len(grid) == 3 * 2 * 3
    assert_close([grid[k * 6]["lr"] for k in range(3)], [0.001, 0.01, 0.1])
    assert [point["warmup_epochs"] for point in grid[:3]] == [0, 1, 2]


def test_points_of_a_grid_are_even_also_over_a_logarithm():
    assert Range(1.0, 2.0, points=3).grid("lr") == [1.0, 1.5, 2.0]
    values = Range(0.01, 1.0, True, 5).grid("lr")
    assert values[0] == 0.01 and values[-1] == 1.0
    assert_close([math.log10(v) for v in values], [-2, -1.5, -1, -0.5, 0])
    assert Range(8, 64, True, 4).grid("batch_size") == [8, 16, 32, 64]


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({}, r"table \[space\]"),
        ({"space": {"learning_rate": [0.1]}}, "unknown option"),
        ({"space": {"lr": [0.1, -1]}}, "no learning rate"),
        ({"space": {"lr": []}}, "expected a list"),
        ({"space": {"lr": {"low": 0.1}}}, "expected a list"),
        ({"space": {"lr": {"low": 0.2, "high": 0.1}}}, "low < high"),
        ({"space": {"momentum": {"low": 0.0, "high": 0.9, "log": True}}}, "low > 0"),
        ({"space": {"lr": {"low": "a", "high": 0.1}}}, "are numbers"),
        ({"space": {"lr": [0.1]}, "args": {"lr": 0.2}}, "in one|leave it out"),
        ({"space": {"lr": [0.1]}, "args": {"epochs": 0}}, "too small"),
    ],
)
def test_what_no_run_could_take_is_refused(tables, message):
    with pytest.raises(ArgumentError, match=message):
        Space.of(tables)


def test_a_grid_needs_points_and_an_end():
    with pytest.raises(ArgumentError, match="points"):
        Space.of({"space": {"lr": {"low": 0.1, "high": 0.2}}}).grid()
    with pytest.raises(ArgumentError, match="at most"):
        Space.of({"space": {"seed": {"low": 0, "high": 9999}, "lr": [0.1, 0.2]}}).grid()


@pytest.mark.parametrize(
    "wrong", [{"sampler": "genetic"}, {"pruner": "x"}, {"workers": 0}, {"trials": 0}, {"seed": -1}]
)
def test_how_trials_are_chosen_is_checked(wrong):
    with pytest.raises(ArgumentError, match="study: "):
        StudyArgs(**wrong)
