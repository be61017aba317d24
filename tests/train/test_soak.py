"""A few rounds of the programs of tests/soak."""

import os
import random

import pytest

from tests.soak import kill


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signal")
def test_kill_9_at_random_moments_changes_no_bit(tmp_path):
    kills = list(kill.soak(tmp_path, 8, random.Random(1)))
    assert len(kills) == 8 and max(found.step for found in kills) > 0
