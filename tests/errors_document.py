"""``pytest --errors-document docs/errors.md``: every message the suite provokes, printed once, to be read."""

import re
from pathlib import Path

import pytest

from minicnn.errors import MinicnnError

HEAD = """# What minicnn says when something is wrong

Every distinct message that the test suite provokes, by the file that provokes it. Written by
`pytest --errors-document docs/errors.md`; read it after changing a message.
"""


class ErrorsDocument:
    """Collects the errors made while a test runs."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = ""
        self.found: dict[str, dict[str, str]] = {}  # test file -> message without numbers -> "Class: message"

    def pytest_configure(self) -> None:
        plain = MinicnnError.__init__

        def noting(error: MinicnnError, message: str) -> None:
            plain(error, message)
            if self.file.endswith("test_silly_arguments.py"):  # hundreds of messages, with addresses in them
                return
            text = re.sub(r"(/[\w.-]+)*/(?=[\w.-]*\b)pytest-of-[^\s/]+/pytest-\d+/[^\s/']+", "FOLDER", str(error))
            text = re.sub(r" at 0x[0-9A-Fa-f]+", "", text)  # differs from run to run
            shape = re.sub(r"\d+", "0", text)
            self.found.setdefault(self.file, {}).setdefault(shape, f"{type(error).__name__}: {text}")

        MinicnnError.__init__ = noting  # type: ignore[method-assign]

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        self.file = item.nodeid.partition("::")[0]

    def pytest_sessionfinish(self) -> None:
        lines = [HEAD]
        for file in sorted(self.found):
            lines += [f"## {file}", "", "```text", *sorted(self.found[file].values()), "```", ""]
        self.path.write_text("\n".join(lines), encoding="utf-8")
