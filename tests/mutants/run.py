"""Deliberately wrong code that the ordinary suite must reject.

Each ``*.toml`` here lists edits of real kernels and vjps. A mutant is applied to a copy of the tree, its tests run
there, and they must fail. ``python -m tests.mutants.run --write docs/mutants.md`` runs all and writes the report.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("minicnn", "kernels", "models", "tests", "benchmarks", "docs", "pyproject.toml", "README.md")

# Seconds. A bug that writes where it may not can leave the allocator waiting for itself; the slowest killer takes 60.
HANGING = 400


class Mutant(NamedTuple):
    family: str
    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


def mutants() -> list[Mutant]:
    """All mutants, by family."""
    found = []
    for path in sorted(Path(__file__).parent.glob("*.toml")):
        for entry in tomllib.loads(path.read_text(encoding="utf-8"))["mutant"]:
            found.append(Mutant(path.stem, **(entry | {"tests": tuple(entry["tests"])})))
    return found


def plant(mutant: Mutant, tree: Path) -> None:
    """Copy the tree and make the edit; the text to replace must occur exactly once."""
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            ignore = shutil.ignore_patterns("__pycache__", ".hypothesis")
            shutil.copytree(source, tree / part, symlinks=True, ignore=ignore)
        elif source.is_file():
            shutil.copy(source, tree / part)
    target = tree / mutant.file
    text = target.read_text(encoding="utf-8")
    count = text.count(mutant.old)
    if count != 1:
        raise ValueError(f"mutant {mutant.name}: its text occurs {count} times in {mutant.file}, expected once")
    target.write_text(text.replace(mutant.old, mutant.new), encoding="utf-8")


def killer(mutant: Mutant, tree: Path) -> str | None:
    """The first test that fails on the mutant, or None when it survives."""
    plant(mutant, tree)
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *mutant.tests]
    # hypothesis must draw the same examples everywhere: a mutant that dies by luck is not dead
    environment = {**os.environ, "CI": "1", "PYTEST_ADDOPTS": ""}
    try:
        done = subprocess.run(
            command, cwd=tree, env=environment, capture_output=True, encoding="utf-8", timeout=HANGING
        )
    except subprocess.TimeoutExpired:
        return "the clock: its tests hung"
    if done.returncode == 0:
        return None
    if done.returncode < 0:
        return "the interpreter, which crashed"
    failed = re.search(r"^(?:FAILED|ERROR) (.+?)(?: - |$)", done.stdout, re.MULTILINE)
    if done.returncode != 1 or failed is None:
        raise RuntimeError(f"mutant {mutant.name}: pytest ended with {done.returncode}\n{done.stdout}\n{done.stderr}")
    return failed[1]


def started(chosen: list[Mutant]) -> dict[Mutant, Future[str | None]]:
    """All of them under way, one a core."""

    def in_a_folder(mutant: Mutant) -> str | None:
        with tempfile.TemporaryDirectory() as folder:
            return killer(mutant, Path(folder))

    pool = ThreadPoolExecutor(os.cpu_count())
    return {mutant: pool.submit(in_a_folder, mutant) for mutant in chosen}


HEAD = """# Deliberate bugs and the tests that catch them

Written by `python -m tests.mutants.run --write docs/mutants.md`; with `--new` only rows that are not there yet are run.

| family | mutant | file | killed by |
|---|---|---|---|
"""


def written(report: Path | None) -> dict[tuple[str, str], str]:
    """(family, mutant) -> row of an earlier report."""
    rows = report.read_text(encoding="utf-8").splitlines() if report and report.exists() else []
    cells = [row.split(" | ") for row in rows if row.startswith("| ") and not row.startswith("| family")]
    return {(cell[0].removeprefix("| "), cell[1]): " | ".join(cell) for cell in cells}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", type=Path, help="write the report to this Markdown file")
    parser.add_argument("--only", default="", help="run only mutants whose family or name contains this")
    parser.add_argument("--new", action="store_true", help="run only mutants that the report does not have yet")
    arguments = parser.parse_args()
    rows = written(arguments.write) if arguments.new or arguments.only else {}
    chosen = [
        mutant
        for mutant in mutants()
        if arguments.only in f"{mutant.family} {mutant.name}"
        and not (arguments.new and (mutant.family, mutant.name) in rows)
    ]
    survivors = 0
    for mutant, future in started(chosen).items():
        test = future.result()
        survivors += test is None
        print(f"{mutant.family:<12}{mutant.name:<44}{test or 'SURVIVED'}", flush=True)
        verdict = f"`{test}`" if test else "**survived**"
        rows[mutant.family, mutant.name] = f"| {mutant.family} | {mutant.name} | `{mutant.file}` | {verdict} |"
    print(f"{len(chosen) - survivors} killed, {survivors} survived")
    if arguments.write:
        lines = [rows[mutant.family, mutant.name] for mutant in mutants() if (mutant.family, mutant.name) in rows]
        arguments.write.write_text(HEAD + "\n".join(lines) + "\n", encoding="utf-8")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
