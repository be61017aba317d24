"""Settings of the whole suite: threads, processes, hypothesis, and what a skip means."""

import faulthandler
import gc
import os
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from _pytest.faulthandler import fault_handler_stderr_fd_key
from _pytest.runner import runtestprotocol
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from tests.browser import Browser

# Set before NumPy is loaded. One BLAS thread: on small machines the spinning threads of BLAS and of Numba take the
# cores from each other.
for _variable in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
    os.environ.setdefault(_variable, "1")
os.environ.setdefault("MPLBACKEND", "Agg")
# Also where PYTHONDONTWRITEBYTECODE is set: each process would rewrite the asserts of all tests anew, five seconds.
sys.dont_write_bytecode = False

HANGING = 300  # seconds in one test after which all stacks are shown, half a minute more or less
_watched_from = -float(HANGING)

settings.register_profile(
    "minicnn",
    deadline=None,  # the first example of a kernel compiles it
    derandomize=bool(os.environ.get("CI")),
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("minicnn")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--no-skips", action="store_true", help="a skipped test fails, unless it is marked gpu")
    parser.addoption(
        "--errors-document", type=Path, help="write every error message that the tests provoke to this file"
    )


def pytest_configure(config: pytest.Config) -> None:
    path = config.getoption("--errors-document")
    if path is not None:
        # Imported late: minicnn must not load NumPy before the variables above are set.
        from tests.errors_document import ErrorsDocument

        config.pluginmanager.register(ErrorsDocument(path))


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """The whole suite takes two processes, a file at a time; files that are named take this one, which starts faster.
    One document of errors has one writer."""
    whole = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    return 2 if whole and config.getoption("--errors-document") is None else 0


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """The collector need not walk ten thousand tests and all of Numba again and again: a tenth of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def _watch(config: pytest.Config) -> None:
    """pytest's own ``faulthandler_timeout`` starts a thread for each test, and waits for its end."""
    global _watched_from
    stderr = config.stash.get(fault_handler_stderr_fd_key, None)
    if stderr is not None and time.monotonic() - _watched_from > HANGING / 10:
        _watched_from = time.monotonic()
        faulthandler.dump_traceback_later(HANGING, file=stderr)


@pytest.hookimpl(tryfirst=True)
def pytest_unconfigure() -> None:
    faulthandler.cancel_dump_traceback_later()


def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """A process beside the first tells it of a test in one message, not five: of ten thousand tests, ten seconds."""
    _watch(item.config)
    if not hasattr(item.config, "workerinput"):
        return None
    for report in runtestprotocol(item, nextitem=nextitem, log=False):
        if report.when == "call" or not report.passed or report.duration > 0.05:  # which --durations may list
            item.ihook.pytest_runtest_logreport(report=report)
    return True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    expected = hasattr(report, "wasxfail") or item.get_closest_marker("gpu") is not None
    if report.skipped and not expected and item.config.getoption("--no-skips"):
        _fail(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if report.skipped and collector.config.getoption("--no-skips"):
        _fail(report)
    return report


def _fail(report: pytest.TestReport | pytest.CollectReport) -> None:
    report.outcome = "failed"
    report.longrepr = f"skipped, and --no-skips was given: {report.longrepr}"


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Generator["Browser", None, None]:
    """A browser for the tests of a file."""
    from tests import browser

    if browser.PROGRAM is None:
        pytest.skip("there is no chromium")
    with browser.Browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened
