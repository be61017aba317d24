"""`pytest --no-skips` turns a skipped test into a failure, unless the test is marked gpu."""

from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

SUITE = """
import pytest
def test_passes(): pass
@pytest.mark.xfail
def test_fails_as_expected(): raise ValueError
@pytest.mark.skip
def test_skips(): pass
def test_skips_inside(): pytest.importorskip("no_such_module")
@pytest.mark.gpu
@pytest.mark.skip
def test_skips_without_gpu(): pass
"""


def run(pytester: pytest.Pytester, *options: str) -> dict[str, int]:
    pytester.makeini("[pytest]\nmarkers = gpu")
    pytester.makeconftest(Path(__file__).with_name("conftest.py").read_text(encoding="utf-8"))
    pytester.makepyfile(SUITE)
    return pytester.runpytest("-p", "no:cacheprovider", *options).parseoutcomes()


def test_a_skip_is_a_skip(pytester: pytest.Pytester) -> None:
    assert run(pytester) == {"passed": 1, "xfailed": 1, "skipped": 3}


def test_a_skip_fails_with_the_option(pytester: pytest.Pytester) -> None:
    assert run(pytester, "--no-skips") == {"passed": 1, "xfailed": 1, "errors": 1, "failed": 1, "skipped": 1}


def test_a_module_skipped_as_a_whole_fails_with_the_option(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_peer='import pytest\npytest.importorskip("no_such_module")')
    assert run(pytester, "--no-skips")["errors"] == 1
