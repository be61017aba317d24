"""Schedules against closed formulas and tables written by hand."""

import json
import math

import numpy as np
import pytest

from minicnn import Tensor, optim
from minicnn.errors import ArgumentError, CheckpointError


def sgd(*lrs):
    groups = [{"params": [Tensor(np.ones(1), requires_grad=True)], "lr": lr} for lr in lrs or (0.4,)]
    return optim.SGD(groups)


def rates(make, steps):
    optimizer = sgd()
    schedule, seen = make(optimizer), []
    for _ in range(steps):
        seen.append(optimizer.lr)
        schedule.step()
    return seen


def cosine(t, length, low=0.0, high=0.4):
    return low + (high - low) * (1 + math.cos(math.pi * t / length)) / 2


TABLES = {
    "step": (lambda o: optim.StepLR(o, 2, 0.5), [0.4, 0.4, 0.2, 0.2, 0.1, 0.1]),
    "multistep": (lambda o: optim.MultiStepLR(o, [4, 1, 4], 0.5), [0.4, 0.2, 0.2, 0.2, 0.05, 0.05]),
    "constant": (lambda o: optim.ConstantLR(o, 0.5, 2), [0.2, 0.2, 0.4, 0.4]),
    "exponential": (lambda o: optim.ExponentialLR(o, 0.5), [0.4, 0.2, 0.1, 0.05]),
    "polynomial": (lambda o: optim.PolynomialLR(o, 4, 2.0), [0.4, 0.225, 0.1, 0.025, 0.0, 0.0]),
    "cosine": (lambda o: optim.CosineAnnealingLR(o, 4, 0.1), [cosine(t, 4, 0.1) for t in range(7)]),
    "restarts": (
        lambda o: optim.CosineAnnealingWarmRestarts(o, 2, 2),
        [cosine(0, 2), cosine(1, 2), *(cosine(t, 4) for t in range(4)), *(cosine(t, 8) for t in range(8)), 0.4],
    ),
    "lambda": (lambda o: optim.LambdaLR(o, lambda t: 1 / (1 + t)), [0.4, 0.2, 0.4 / 3, 0.1]),
    "warmup": (lambda o: optim.LinearWarmup(o, 4, 0.0), [0.0, 0.1, 0.2, 0.3, 0.4, 0.4]),
    "warmup_then_step": (
        lambda o: optim.LinearWarmup(o, 2, 0.5, then=optim.StepLR(o, 2, 0.5)),
        [0.2, 0.3, 0.4, 0.4, 0.2, 0.2, 0.1],
    ),
    "one_cycle": (
        lambda o: optim.OneCycleLR(o, 1.0, 10, 0.5, 4.0, 25.0),
        [*(cosine(t, 4, 1.0, 0.25) for t in range(5)), *(cosine(t, 5, 0.01, 1.0) for t in range(1, 6))],
    ),
}


@pytest.mark.parametrize("name", TABLES)
def test_rates_follow_the_formula(name):
    make, table = TABLES[name]
    assert rates(make, len(table)) == pytest.approx(table, rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("name", TABLES)
def test_a_restored_schedule_goes_on_with_the_same_bits(name):
    make, table = TABLES[name]
    first, second = sgd(), sgd(0.4)
    before = make(first)
    for _ in range(3):
        before.step()
    after = make(second)
    after.load_state_dict(json.loads(json.dumps(before.state_dict())))
    for _ in range(len(table)):
        assert after.get_last_lr() == before.get_last_lr()
        before.step()
        after.step()


def test_every_group_starts_from_its_own_rate():
    optimizer = sgd(0.4, 0.04)
    schedule = optim.StepLR(optimizer, 1, 0.5)
    schedule.step()
    assert schedule.get_last_lr() == pytest.approx([0.2, 0.02])


def test_plateau_waits_cools_down_and_stops_at_the_floor():
    optimizer = sgd()
    schedule = optim.ReduceLROnPlateau(optimizer, factor=0.5, patience=1, cooldown=1, min_lr=0.15)
    metrics = [1.0, 0.5, 0.5, 0.5, 0.5, math.nan, 0.6, 0.6, 0.6, 0.6]
    seen = []
    for metric in metrics:
        schedule.step(metric)
        seen.append(optimizer.lr)
    assert seen == pytest.approx([0.4, 0.4, 0.4, 0.2, 0.2, 0.2, 0.15, 0.15, 0.15, 0.15])


def test_plateau_modes_and_thresholds():
    def drops(metrics, **options):
        optimizer = sgd()
        schedule = optim.ReduceLROnPlateau(optimizer, patience=0, **options)
        for metric in metrics:
            schedule.step(metric)
        return round(math.log10(0.4 / optimizer.lr))

    assert drops([1.0, 0.95], threshold=0.1) == 1  # 5 % better than the best is not enough
    assert drops([1.0, 0.85], threshold=0.1) == 0
    assert drops([10.0, 9.95], threshold=0.1, threshold_mode="abs") == 1
    assert drops([10.0, 9.85], threshold=0.1, threshold_mode="abs") == 0
    assert drops([1.0, 1.2], mode="max", threshold=0.1) == 0
    assert drops([1.0, 1.05], mode="max", threshold=0.1) == 1


def test_a_restored_plateau_goes_on():
    metrics = [1.0, 0.5, 0.6, 0.6, 0.4, 0.6, 0.6, 0.6, 0.6]
    for cut in range(len(metrics)):
        first, second = sgd(), sgd()
        before = optim.ReduceLROnPlateau(first, patience=1, cooldown=1)
        for metric in metrics[:cut]:
            before.step(metric)
        after = optim.ReduceLROnPlateau(second, patience=1, cooldown=1)
        after.load_state_dict(json.loads(json.dumps(before.state_dict(), allow_nan=False)))
        second.lr = first.lr
        for metric in metrics[cut:]:
            before.step(metric)
            after.step(metric)
            assert first.lr == second.lr


def foreign_then():
    return optim.LinearWarmup(sgd(), 2, then=optim.StepLR(sgd(), 1))


MISTAKES = [
    (lambda: optim.StepLR(sgd(), 0), r"StepLR: step_size=0, expected more than 0"),
    (lambda: optim.CosineAnnealingLR(sgd(), 0), r"CosineAnnealingLR: T_max=0"),
    (lambda: optim.CosineAnnealingWarmRestarts(sgd(), 3, 0), r"T_mult=0, expected at least 1"),
    (lambda: optim.OneCycleLR(sgd(), 1.0, 10, pct_start=1.0), r"pct_start=1.0, expected a number between 0 and 1"),
    (lambda: optim.StepLR(None, 1), r"StepLR: optimizer is a NoneType"),
    (lambda: optim.ReduceLROnPlateau(sgd(), mode="up"), r"mode='up', expected 'min' or 'max'"),
    (lambda: optim.ReduceLROnPlateau(sgd(), factor=1.0), r"factor=1.0, expected a number between 0 and 1"),
    (foreign_then, r"then must be a fresh schedule of the same optimizer"),
]


@pytest.mark.parametrize(("call", "match"), MISTAKES, ids=[match for _, match in MISTAKES])
def test_mistake_is_explained(call, match):
    with pytest.raises(ArgumentError, match=match):
        call()


def test_states_of_another_schedule_are_refused():
    state = optim.StepLR(sgd(), 1).state_dict()
    with pytest.raises(CheckpointError, match=r"the state is of 'StepLR' with 1 groups, expected 'ExponentialLR'"):
        optim.ExponentialLR(sgd(), 0.5).load_state_dict(state)
    with pytest.raises(CheckpointError, match=r"with 1 groups, expected 'StepLR' with 2"):
        optim.StepLR(sgd(0.1, 0.2), 1).load_state_dict(state)
    with pytest.raises(CheckpointError, match=r"ReduceLROnPlateau: the state is of 'StepLR'"):
        optim.ReduceLROnPlateau(sgd()).load_state_dict(state)
