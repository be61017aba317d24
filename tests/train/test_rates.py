"""Learning rates of a run against the schedules of `minicnn.optim`, which are other code."""

import numpy as np
import pytest

from minicnn import nn, optim
from minicnn.errors import ArgumentError
from minicnn.train import TrainArgs
from minicnn.train.rates import build_schedule

STEPS, EPOCHS = 7, 20


def rates(**options):
    args = TrainArgs(**{"lr": 0.4, "epochs": EPOCHS, "warmup_epochs": 0, **options})
    rate = build_schedule(args, STEPS)
    return [rate(step) for step in range(STEPS * EPOCHS)]


def of_optim(make):
    optimizer = optim.SGD([nn.Parameter(np.zeros(1, np.float32))], lr=0.4)
    schedule, seen = make(optimizer), []
    for _ in range(STEPS * EPOCHS):
        seen.append(optimizer.lr)
        schedule.step()
    return seen


@pytest.mark.parametrize(
    ("options", "make"),
    [
        (
            {"schedule": "milestones", "milestones": "5, 12.5,18", "gamma": 0.2},
            lambda o: optim.MultiStepLR(o, [35, 88, 126], 0.2),
        ),
        ({"schedule": "exponential", "gamma": 0.9, "decay_epochs": 3}, lambda o: optim.StepLR(o, 21, 0.9)),
        ({"schedule": "poly", "power": 0.5}, lambda o: optim.PolynomialLR(o, STEPS * EPOCHS, 0.5)),
        ({"schedule": "cosine"}, lambda o: optim.CosineAnnealingLR(o, STEPS * EPOCHS)),
    ],
    ids=["milestones", "exponential", "poly", "cosine"],
)
def test_a_schedule_is_the_one_of_its_name(options, make):
    np.testing.assert_allclose(rates(**options), of_optim(make), rtol=1e-12, atol=1e-12)


def test_milestones_count_from_the_start_of_the_run_and_poly_ends_at_nothing_after_the_warm_up():
    found = rates(schedule="milestones", milestones="5", warmup_epochs=2)
    assert found[:3] == pytest.approx([0.4 / 14, 0.8 / 14, 1.2 / 14])
    assert found[34] == 0.4 and found[35] == pytest.approx(0.04)
    found = rates(schedule="poly", warmup_epochs=2)
    assert found[14] == 0.4 and found[-1] == pytest.approx(0.4 / 126)


@pytest.mark.parametrize("patience", [0, 1, 3])
def test_plateau_drops_when_the_accuracy_stands_still(patience):
    accuracies = np.random.default_rng(patience).random(60).round(2)
    optimizer = optim.SGD([nn.Parameter(np.zeros(1, np.float32))], lr=0.4)
    plateau = optim.ReduceLROnPlateau(optimizer, "max", 0.5, patience, 0.0, "abs", eps=0.0)
    rows = []
    rate = build_schedule(
        TrainArgs(lr=0.4, schedule="plateau", gamma=0.5, patience=patience, warmup_epochs=0), 5, lambda: rows
    )
    for accuracy in accuracies:
        assert rate(5 * len(rows)) == pytest.approx(optimizer.lr, rel=1e-12)
        rows.append({"val_accuracy": accuracy})
        plateau.step(accuracy)
    assert optimizer.lr < 0.4


@pytest.mark.parametrize("milestones", ["", "a", "3,2", "0,1", "2,2", "nan", "1,inf"])
def test_milestones_that_are_none(milestones):
    with pytest.raises(ArgumentError, match="expected growing numbers of epochs"):
        rates(schedule="milestones", milestones=milestones)
