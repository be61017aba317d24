"""The tree keeps the rules of tests/house_rules.py, and each rule is seen to refuse a planted violation."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import house_rules

ROOT = Path(__file__).resolve().parents[1]
RULES = (
    *(house_rules.arrows, house_rules.banned_code, house_rules.optional_packages),
    *(house_rules.sizes_and_names, house_rules.machine_paths),
)
HEAVY = ("numba", "llvmlite", "click", "rich", "matplotlib", "PIL", "safetensors", "cupy", "torch", "scipy", "pooch")

PLANTS = [
    (house_rules.arrows, "minicnn/tape.py", "from minicnn.errors import ShapeError", "nothing of ours"),
    (house_rules.arrows, "minicnn/errors.py", "import minicnn.ops", "stands above it"),
    (house_rules.arrows, "kernels/conv/cpu.py", "from minicnn.tensor import Tensor", "minicnn.kernels.conv.cpu"),
    (house_rules.arrows, "kernels/arrays.py", "from minicnn.kernels.conv import forward", "stands above it"),
    (house_rules.arrows, "kernels/pool.py", "from minicnn import ops", "stands above it"),
    (house_rules.arrows, "minicnn/tensor.py", "def f():\n    from minicnn.ops import relu", "stands above it"),
    (house_rules.arrows, "minicnn/ops/conv.py", "import minicnn.nn.conv", "stands above it"),
    (house_rules.arrows, "minicnn/nn/conv.py", "import minicnn", "stands above it"),
    (house_rules.arrows, "minicnn/data/digits.py", "from minicnn.context import no_grad", "only minicnn.errors"),
    (house_rules.arrows, "minicnn/nn/lazy.py", "import_module('minicnn.models.lenet')", "stands above it"),
    (house_rules.arrows, "models/lenet.py", "import minicnn.train", "stands above it"),
    (house_rules.arrows, "minicnn/train/loop.py", "import minicnn.cli.train", "stands above it"),
    (house_rules.arrows, "minicnn/cli/train.py", "import benchmarks.conv_bench", "stands above it"),
    (house_rules.arrows, "minicnn/newcomer.py", "", "has no row"),
    (house_rules.banned_code, "minicnn/a.py", "import fcntl", "Unix only"),
    (house_rules.banned_code, "minicnn/a.py", "import os\nos.fork()", "spawn"),
    (house_rules.banned_code, "tests/a.py", "multiprocessing.get_context('fork')", "spawn"),
    (house_rules.banned_code, "tests/a.py", "P = '/" + "tmp/x'", "temporary path"),
    (house_rules.banned_code, "tests/a.py", "open(p)", "encoding="),
    (house_rules.banned_code, "tests/a.py", "open(p, 'w')", "encoding="),
    (house_rules.banned_code, "tests/a.py", "p.open()", "encoding="),
    (house_rules.banned_code, "tests/a.py", "p.open(mode='a')", "encoding="),
    (house_rules.banned_code, "tests/a.py", "p.read_text()", "encoding="),
    (house_rules.banned_code, "tests/a.py", "p.write_text(s)", "encoding="),
    (house_rules.banned_code, "tests/a.py", "subprocess.run(c, text=True)", "encoding="),
    (house_rules.banned_code, "minicnn/a.py", "from . import b", "relative import"),
    (house_rules.banned_code, "tests/a.py", "import models", "second copy"),
    (house_rules.banned_code, "tests/a.py", "from kernels.conv import f", "second copy"),
    (house_rules.optional_packages, "tests/a.py", "import torch.nn", 'importorskip("torch")'),
    (house_rules.optional_packages, "tests/a.py", "from mpi4py import MPI", 'importorskip("mpi4py")'),
    (house_rules.sizes_and_names, "minicnn/utils.py", "", "says nothing"),
    (house_rules.sizes_and_names, "tests/common.py", "", "says nothing"),
    (house_rules.sizes_and_names, "minicnn/a.py", "x = 1\n" * 401, "two ideas"),
    (house_rules.sizes_and_names, "kernels/a.cu", "//\n" * 401, "two ideas"),
    (house_rules.sizes_and_names, "minicnn/a.py", "def f():\n" + "    x = 1\n" * 60, "at most 60"),
    (house_rules.machine_paths, "README.md", "see /" + "work/here", "README.md:1"),
    (house_rules.machine_paths, ".ci/run", "cd /" + "root/x", ".ci/run:1"),
    (house_rules.machine_paths, "docs/a.md", "\n[x](../" + "shared/x.md)", "docs/a.md:2"),
]

ALLOWED = [
    ("minicnn/__init__.py", "from minicnn.tensor import Tensor\nfrom minicnn import ops, models"),
    ("minicnn/ops/conv.py", "from minicnn.kernels.conv import f\nfrom minicnn.record import record"),
    ("kernels/conv/__init__.py", "from minicnn.kernels.conv.cpu import f\nfrom minicnn.errors import ShapeError"),
    ("minicnn/cli/train.py", "from minicnn.train.loop import fit\nimport minicnn"),
    ("tests/a.py", "torch = importorskip('torch')\ndef f():\n    import torch"),
    ("tests/a.py", "open(p, 'rb')\np.open('wb')\nImage.open(p)\nopen(p, encoding='utf-8')\nos.fdopen(fd, 'wb')"),
    ("minicnn/a.py", 'def f():\n    """Long.\n' + "\n" * 60 + '    """\n' + "    x = 1\n" * 58),
]


@pytest.fixture(scope="module", autouse=True)
def trees_are_forgotten() -> Iterator[None]:
    yield
    house_rules.forget_trees()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_tree_keeps_the_rules(rule: Callable[[Path], list[str]]) -> None:
    complaints = rule(ROOT)
    assert not complaints, "\n" + "\n".join(complaints)


def _plant(root: Path, where: str, text: str) -> None:
    for name in ("minicnn/ops", "minicnn/models/lenet", "kernels/conv", "models/lenet"):
        (root / name).mkdir(parents=True, exist_ok=True)
        (root / name / "__init__.py").touch()
    path = root / where
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


@pytest.mark.parametrize(("rule", "where", "text", "expected"), PLANTS, ids=lambda value: None)
def test_a_planted_violation_is_found(
    tmp_path: Path, rule: Callable[[Path], list[str]], where: str, text: str, expected: str
) -> None:
    _plant(tmp_path, where, text)
    complaints = rule(tmp_path)
    assert any(where in complaint and expected in complaint for complaint in complaints), complaints


@pytest.mark.parametrize(("where", "text"), ALLOWED)
def test_what_is_allowed_passes(tmp_path: Path, where: str, text: str) -> None:
    _plant(tmp_path, where, text)
    for rule in (house_rules.banned_code, house_rules.optional_packages, house_rules.sizes_and_names):
        assert rule(tmp_path) == []
    assert [complaint for complaint in house_rules.arrows(tmp_path) if "no row" not in complaint] == []


def loaded_by(code: str) -> list[str]:
    """Return which heavy libraries a fresh interpreter holds after running code."""
    probe = f"{code}\nimport sys\nprint(*[name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, encoding="utf-8", cwd=ROOT, check=True
    )
    return done.stdout.split()


def test_importing_minicnn_loads_no_heavy_library() -> None:
    assert loaded_by("import minicnn, minicnn.kernels, minicnn.models") == []


def test_the_import_probe_sees_a_heavy_library() -> None:
    assert loaded_by("import minicnn, rich") == ["rich"]
