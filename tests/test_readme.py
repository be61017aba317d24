"""The README's program runs as it is printed."""

import re
from pathlib import Path

README = Path(__file__).resolve().parents[1] / "README.md"


def test_the_program_runs(capsys):
    (program,) = re.findall(r"^```python\n(.*?)^```", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    exec(compile(program, str(README), "exec"), {"__name__": "readme"})
    lines = capsys.readouterr().out.split("\n")
    assert [line.split()[0] for line in lines[:3]] == ["0", "1", "2"]
    assert float(lines[2].split()[1]) < float(lines[0].split()[1])
    assert lines[3:5] == ["(8, 10)", "21797672"]


def test_its_commands_exist():
    from minicnn.cli import COMMANDS

    named = set(re.findall(r"^\| `minicnn (\w+)", README.read_text(encoding="utf-8"), re.MULTILINE))
    assert named == set(COMMANDS)
