"""What every deliberate error has in common."""

import pytest

from minicnn.errors import DataError, MinicnnError


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("a file called \x1b[2J\x07", "a file called \\x1b[2J\\x07"),
        ("\u202egpj.exe", "\\u202egpj.exe"),
        ("not UTF-8: \udcff", "not UTF-8: \\udcff"),
        ("two lines\n\tand an umlaut: \u00e4", "two lines\n\tand an umlaut: \u00e4"),
    ],
)
def test_a_message_steers_no_terminal(said, shown):
    assert str(DataError(said)) == shown and isinstance(DataError(said), MinicnnError)
