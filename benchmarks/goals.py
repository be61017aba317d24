"""What this project asks of its own speed, held beside what was measured: PyTorch's time over ours, on the CPU."""

import statistics
from collections.abc import Iterable
from typing import NamedTuple

from conv_report import Row, number, print_table

SLOW_PERCENT = 30  # of the measured product: a convolution that PyTorch computes slower than that leaves room


class Step(NamedTuple):
    """All the passes of one convolution together, as a training step runs them."""

    ratio: float
    torch_percent: float  # of the measured product
    grouped: bool


def of_convolutions(rows: Iterable[Row]) -> list[Row]:
    """The goals of ``conv_bench.py``: every distinct convolution, and every row, counts once."""
    rows = list(rows)
    forward = {row["convolution"]: row["ratio"] for row in rows if row["pass"] == "forward" and row["ratio"]}
    each = {f"{row['convolution']} {row['pass']}": row["ratio"] for row in rows if row["ratio"]}
    steps = training_steps(rows)
    ratios = {name: step.ratio for name, step in steps.items()}
    slow = {name: step.ratio for name, step in steps.items() if step.torch_percent < SLOW_PERCENT}
    grouped = {name: step.ratio for name, step in steps.items() if step.grouped and name not in slow}
    where = f"forward + backward, PyTorch below {SLOW_PERCENT} % of the product"
    return [
        mean("forward", 1.2, forward),
        mean("forward + backward", 1.3, ratios),
        worst("each pass alone", 0.5, each),
        mean(where, 2.0, slow),
        worst(where, 1.0, slow),
        worst("forward + backward, other grouped convolutions", 0.9, grouped),
    ]


def of_operations(rows: Iterable[Row]) -> list[Row]:
    """The goals of ``op_bench.py``: every row counts once."""
    each = {
        f"{row['operation']} {row['pass']}, {row['where']}": row["ratio"] for row in rows if row["ratio"] is not None
    }
    return [mean("every operation and pass", 1.0, each), worst("every operation and pass", 0.7, each)]


Pairs = dict[str, float]


def of_networks(speed: Pairs, inference: Pairs, memory: Pairs) -> list[Row]:
    """The goals of ``train_bench.py``, by network: time of a training step, of inference, peak memory of training."""
    tied = {name: ratio for name, ratio in speed.items() if name == "lenet5"}
    return [
        mean("training step", 1.0, speed),
        worst("training step", 0.9, speed),
        worst("training step of LeNet-5, whose kernels are small", 1.0, tied),
        mean("inference", 1.0, inference),
        worst("training, their peak memory / ours", 1 / 1.1, memory),
    ]


def training_steps(rows: Iterable[Row]) -> dict[str, Step]:
    """Each convolution whose forward pass and filter gradient were compared, with its image gradient if that is a row.

    One that has a row without a ratio (wrong, refused) is left out: a sum without it would flatter or blame.
    """
    passes: dict[str, dict[str, Row]] = {}
    for row in rows:
        passes.setdefault(row["convolution"], {})[row["pass"]] = row
    return {
        name: _step(list(own.values()))
        for name, own in passes.items()
        if {"forward", "grad_w"} <= set(own) and all(row["ratio"] for row in own.values())
    }


def _step(passes: list[Row]) -> Step:
    ours = sum(row["milliseconds"] for row in passes)
    theirs = sum(row["torch_milliseconds"] for row in passes)
    # Percent of the peak times a time is work, whoever does it: that of all passes, in PyTorch's time.
    work = sum(row["percent_of_product"] * row["milliseconds"] for row in passes)
    return Step(theirs / ours, work / theirs, passes[0]["shape"]["groups"] > 1)


def mean(name: str, wanted: float, ratios: dict[str, float]) -> Row:
    """The geometric mean of all ratios is to be at least ``wanted``; nothing is measured where there are none."""
    value = statistics.geometric_mean(ratios.values()) if ratios else None
    return _goal(name, "geometric mean", wanted, value, len(ratios), {})


def worst(name: str, wanted: float, ratios: dict[str, float]) -> Row:
    """No ratio is to be below ``wanted``; ``below`` names those that are, the worst first."""
    below = {key: value for key, value in ratios.items() if value < wanted}
    ordered = dict(sorted(below.items(), key=lambda item: item[1]))
    return _goal(name, "worst", wanted, min(ratios.values(), default=None), len(ratios), ordered)


def _goal(name: str, figure: str, wanted: float, value: float | None, count: int, below: dict[str, float]) -> Row:
    reached = None if value is None else value >= wanted
    head = {"goal": name, "figure": figure, "count": count}
    return {**head, "measured": value, "wanted": wanted, "reached": reached, "below": below}


def show(goals: list[Row]) -> None:
    """A table of the goals, then what falls short, by name; nothing where nothing was compared."""
    if all(goal["measured"] is None for goal in goals):
        return
    said = {True: "reached", False: "not reached", None: "nothing to measure"}
    cells = [
        (
            goal["goal"],
            goal["figure"],
            str(goal["count"]),
            number(goal["measured"], "{:.3f}"),
            f"{goal['wanted']:.2f}",
            said[goal["reached"]],
        )
        for goal in goals
    ]
    columns = {"PyTorch's time / ours": "left", "figure": "left", "of": "right", "measured": "right", "wanted": "right"}
    print_table("What is asked", {**columns, "": "left"}, cells)
    for goal in goals:
        if goal["below"]:
            print(f"{goal['goal']}, below {goal['wanted']:.2f}: {len(goal['below'])} of {goal['count']}")
            for name, value in goal["below"].items():
                print(f"  {value:.3f}  {name}")
