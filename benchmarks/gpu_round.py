"""Everything there is to learn on a machine with a GPU, in one go of at most 25 minutes.

    python benchmarks/gpu_round.py [--minutes 25] [--json FILE]

The tests marked gpu, compute-sanitizer where it is installed (reads and writes outside arrays, races in shared memory),
the convolution benchmark, and a training run. FILE (benchmarks/results/gpu_round.json) is written after every stage, so
an interrupted round keeps what it has. Exit code 0: all stages passed; 1: one did not; 2: there is no GPU here.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from machine import headline, machine

from minicnn.devices import gpu_trouble

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
TAIL = 4000  # characters of a stage's output that are kept


class Stage(NamedTuple):
    """A program, the seconds it may take at most, and the JSON file it writes, if any."""

    name: str
    command: list[str]
    seconds: float
    result: Path | None = None


def stages(scratch: Path) -> list[Stage]:
    """In the order of what a short round must not miss."""
    python = sys.executable
    tests = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "gpu"]
    # Edges are the smallest arrays there are, and reach every kernel; races can only be in shared memory.
    small = [*tests, "-x", "tests/gpu/test_ops_on_gpu.py", "-k", "test_edge_equals_the_cpu and float32"]
    shared = [*small[:-1], "test_edge_equals_the_cpu and float32 and (norm or softmax or pool or conv2d)"]
    sanitizer = ["compute-sanitizer", "--error-exitcode", "99", "--target-processes", "all", "--tool"]
    bench = scratch / "conv_bench.json"
    return [
        Stage("tests", [*tests, "tests"], 480),
        Stage("train", [python, "-m", "minicnn", "train", "--device", "gpu", "--quiet", "--json"], 180),
        Stage("memcheck", [*sanitizer, "memcheck", *small], 240),
        Stage("racecheck", [*sanitizer, "racecheck", *shared], 180),
        Stage(
            "conv_bench",
            [python, "benchmarks/conv_bench.py", "--device", "gpu", "--json", str(bench)],
            420,
            bench,
        ),
    ]


def run(stage: Stage, seconds: float, folder: Path) -> dict[str, Any]:
    """Run one stage and say how it went: ``passed``, ``failed``, ``timed out`` or ``not installed``."""
    row: dict[str, Any] = {"stage": stage.name, "command": [Path(stage.command[0]).name, *stage.command[1:]]}
    if shutil.which(stage.command[0]) is None:
        return {**row, "outcome": "not installed"}
    start = time.perf_counter()
    log = folder / f"{stage.name}.log"
    with log.open("wb") as output:
        try:
            done = subprocess.run(stage.command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, timeout=seconds)
            row |= {"outcome": "failed" if done.returncode else "passed", "exit_code": done.returncode}
        except subprocess.TimeoutExpired:
            row |= {"outcome": "timed out", "allowed_s": round(seconds)}
    row |= {"seconds": round(time.perf_counter() - start, 1)}
    row["output"] = log.read_text(encoding="utf-8", errors="replace")[-TAIL:].replace(str(ROOT), "")
    if stage.result is not None and stage.result.exists():
        row["result"] = json.loads(stage.result.read_text(encoding="utf-8"))
    return row


def write(path: Path, facts: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    """Replace the file at once: an interruption leaves the old one or the new one."""
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(json.dumps({"machine": facts, "stages": rows}, indent=2) + "\n", encoding="utf-8")
    unfinished.replace(path)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=25, help="the whole round")
    parser.add_argument("--json", type=Path, default=RESULTS / "gpu_round.json")
    chosen = parser.parse_args()
    if trouble := gpu_trouble():
        print(f"no round: {trouble}", file=sys.stderr)
        return 2
    facts, rows = machine("gpu"), []
    print(headline(facts))
    end = time.monotonic() + 60 * chosen.minutes
    with tempfile.TemporaryDirectory() as folder:
        for stage in stages(Path(folder)):
            left = end - time.monotonic()
            if left < 10:
                rows.append({"stage": stage.name, "outcome": "no time left"})
            else:
                rows.append(run(stage, min(stage.seconds, left), Path(folder)))
            write(chosen.json, facts, rows)
            print(f"{stage.name:<12}{rows[-1]['outcome']:<16}{rows[-1].get('seconds', 0):8.0f} s", flush=True)
    return 0 if all(row["outcome"] in ("passed", "not installed") for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
