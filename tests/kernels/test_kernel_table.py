"""No kernel without its twin, none that no test launches, and ``docs/kernels.md`` says so truly."""

from pathlib import Path

import pytest

from tests import kernel_table

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "kernels.md"


@pytest.fixture(scope="module")
def seen():
    return kernel_table.record()


def test_every_kernel_has_a_twin_and_is_launched(seen):
    assert kernel_table.gaps(seen) == []


def test_the_document_is_up_to_date(seen):
    written = DOCUMENT.read_text(encoding="utf-8")
    assert written == kernel_table.table(seen), "run `python -m tests.kernel_table --write docs/kernels.md`"


def test_every_cuda_file_is_launched_through_a_source():
    files = set(kernel_table.KERNELS.rglob("*.cu"))
    assert files == {source.path for source in kernel_table.sources()}


def test_a_gap_is_seen(seen):
    """A twin that is called by nothing and a kernel that is launched by nothing are named."""
    poorer = seen._replace(
        cases={twin: cases for twin, cases in seen.cases.items() if twin != ("lrn", "lrn_forward")},
        launched={(path, kernel) for path, kernel in seen.launched if kernel != "lrn_ratio"},
    )
    found = set(kernel_table.gaps(poorer)) - set(kernel_table.gaps(seen))
    assert found == {"lrn.lrn_forward is called by no case", "lrn/cuda.cu: lrn_ratio is launched by no case"}
