"""Every folder of code and every data file is in the wheel, in an editable install and in a run from the root."""

import re
import runpy
import subprocess
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from unittest import mock

import pytest

from tests import house_rules

ROOT = Path(__file__).resolve().parents[1]
TOPS = {"minicnn": "minicnn", "kernels": "minicnn.kernels", "models": "minicnn.models"}
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def packages(root: Path, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Return the packages that setup.py would install from root."""
    monkeypatch.chdir(root)
    with mock.patch("setuptools.setup") as setup:
        runpy.run_path(str(ROOT / "setup.py"))
    return set(setup.call_args.kwargs["packages"])


def folders(root: Path) -> set[str]:
    """Return the dotted name of every folder that holds a file of the package."""
    names = set()
    for top, dotted in TOPS.items():
        for path in house_rules.files(root, (top,)):
            names.add(".".join((dotted, *path.parent.relative_to(root / top).parts)))
    return names


def test_every_folder_is_a_package(monkeypatch: pytest.MonkeyPatch) -> None:
    assert packages(ROOT, monkeypatch) == folders(ROOT), "a folder without __init__.py is missing from the wheel"


def test_a_folder_without_init_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("minicnn/__init__.py", "kernels/__init__.py", "kernels/conv/__init__.py", "models/__init__.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert packages(tmp_path, monkeypatch) == folders(tmp_path)
    (tmp_path / "kernels/cuda").mkdir()
    (tmp_path / "kernels/cuda/gemm.cu").touch()
    assert folders(tmp_path) - packages(tmp_path, monkeypatch) == {"minicnn.kernels.cuda"}


def test_every_data_file_is_package_data() -> None:
    patterns = ["*.py", *SETTINGS["tool"]["setuptools"]["package-data"]["*"]]
    lost = [
        path.relative_to(ROOT).as_posix()
        for path in house_rules.files(ROOT, tuple(TOPS))
        if not any(fnmatch(path.name, pattern) for pattern in patterns)
    ]
    assert lost == [], "no pattern of package-data in pyproject.toml matches these"


@pytest.mark.parametrize("name", ["kernels", "models"])
def test_the_links_are_committed_as_links(name: str) -> None:
    link = ROOT / "minicnn" / name
    if not link.exists() or link.is_file():
        pytest.skip("this checkout has no links (an sdist, or Windows without core.symlinks)")
    assert link.is_symlink() and link.resolve() == ROOT / name
    if (ROOT / ".git").exists():
        listed = subprocess.run(
            ["git", "ls-files", "-s", f"minicnn/{name}"], cwd=ROOT, capture_output=True, encoding="utf-8", check=True
        )
        assert listed.stdout.startswith("120000 ")


def test_upper_bounds_and_pins_are_reasoned() -> None:
    """A bound is an upper bound only where a comment on its line names the break that was reproduced."""
    project = SETTINGS["project"]
    named = project["dependencies"] + [need for extra in project["optional-dependencies"].values() for need in extra]
    bounded = [need for need in named if re.search(r"<|==|~=", need.partition(";")[0])]  # behind ; stands where
    lines = (ROOT / "pyproject.toml").read_text(encoding="utf-8").splitlines()
    unreasoned = [need for need in bounded if not any(need in line and "# breaks:" in line for line in lines)]
    assert unreasoned == []
