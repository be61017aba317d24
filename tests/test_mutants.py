"""The graders graded: every deliberate bug in ``tests/mutants`` must be caught by the tests it names."""

from collections import Counter

import pytest

from tests.mutants.run import killer, mutants

MUTANTS = mutants()


def test_there_are_enough_mutants_and_two_a_family():
    families = Counter(mutant.family for mutant in MUTANTS)
    assert len(MUTANTS) >= 30
    assert min(families.values()) >= 2, families


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: f"{mutant.family}-{mutant.name}")
def test_mutant_is_killed(mutant, tmp_path):
    assert killer(mutant, tmp_path) is not None, f"{mutant.name} survived {' '.join(mutant.tests)}"
