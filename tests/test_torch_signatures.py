"""Our operations are called as PyTorch's are, and the document that lists the differences is up to date."""

import pytest

from minicnn import ops
from tests import torch_signatures as side_by_side

TABLE = side_by_side.torch_table()


@pytest.mark.parametrize("name", sorted(TABLE))
def test_signature_is_torchs(name):
    assert name in ops.__all__, (
        f"{name} is in the table but not public; run python -m tests.torch_signatures --read-torch"
    )
    assert side_by_side.differences(name, TABLE[name]) == []


def test_a_difference_is_noticed():
    assert side_by_side.differences("relu", "(input, threshold=0.0)") != []
    assert side_by_side.differences("relu", "(input, inplace=False)") == []


def test_document_is_up_to_date():
    written = side_by_side.DOCUMENT.read_text(encoding="utf-8")
    assert written == side_by_side.document(), "run python -m tests.torch_signatures --write"
