"""The graders graded: every deliberate bug in ``tests/mutants`` must be caught by the tests it names."""

from collections import Counter

import pytest

from tests.mutants.run import ROOT, mutants, started

MUTANTS = mutants()


def test_there_are_enough_mutants_and_two_a_family():
    families = Counter(mutant.family for mutant in MUTANTS)
    assert len(MUTANTS) >= 30
    assert min(families.values()) >= 2, families


def test_every_mutant_still_fits_the_code():
    counts = {m.name: (ROOT / m.file).read_text(encoding="utf-8").count(m.old) for m in MUTANTS}
    assert {name: count for name, count in counts.items() if count != 1} == {}


@pytest.fixture(scope="module")
def killers(request):
    """Every chosen mutant under way at once, one a core; each test waits for its own."""
    items = (item for item in request.session.items if hasattr(item, "callspec"))
    return started([item.callspec.params["mutant"] for item in items if "mutant" in item.callspec.params])


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: f"{mutant.family}-{mutant.name}")
def test_mutant_is_killed(mutant, killers):
    assert killers[mutant].result() is not None, f"{mutant.name} survived {' '.join(mutant.tests)}"
