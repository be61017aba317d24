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


def test_a_gap_is_seen(seen, monkeypatch):
    """A twin that nothing calls, a kernel that nothing launches or with one block every time, one without tests."""
    cuda = kernel_table.KERNELS / "lrn" / "cuda.cu"
    blocks = {kernel: count for kernel, count in seen.blocks.items() if kernel != (cuda, "lrn_ratio")}
    poorer = seen._replace(
        cases={twin: cases for twin, cases in seen.cases.items() if twin != ("lrn", "lrn_forward")},
        blocks=blocks | {(cuda, "lrn_grad_x"): 1},
        refused={"relu": "no kernel"},
    )
    before = set(kernel_table.gaps(seen))
    monkeypatch.delitem(kernel_table.CPU_ONLY, ("conv", "winograd_cpu.py", "winograd_forward"))
    monkeypatch.setitem(kernel_table.CPU_ONLY, ("conv", "winograd_cpu.py", "winograd_grad_w"), "tests/none.py")
    assert set(kernel_table.gaps(poorer)) - before == {
        "relu does not run on a GPU: no kernel",
        "lrn.lrn_forward is called by no case",
        "lrn/cuda.cu: lrn_ratio is launched by no case",
        "lrn/cuda.cu: lrn_grad_x has one block in every case, which proves nothing of the others",
        "conv/winograd_cpu.py/winograd_forward and CPU_ONLY, which names its tests, do not agree",
        "conv/winograd_cpu.py/winograd_grad_w and CPU_ONLY, which names its tests, do not agree",
    }
