"""The code blocks of docs/add_an_op.md, run in order as one program."""

import re
from pathlib import Path

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "add_an_op.md"


def test_the_document_runs(capsys):
    blocks = re.findall(r"^```python\n(.*?)^```", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert len(blocks) == 4
    exec(compile("\n".join(blocks), str(DOCUMENT), "exec"), {"__name__": "add_an_op"})
    printed = capsys.readouterr().out
    assert "wrong gradient of input 0, shape (3, 4)" in printed
    assert "minicnn.gradcheck(wrong_cube" in printed
