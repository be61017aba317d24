"""The rows of ``train_bench.py`` and ``growth_bench.py``: one network at one size in every library, each library and
pass in a fresh process (``train_worker.py``), asked in turns.

Memory is VmHWM less VmRSS after import and a small warm-up step, so that it holds weights, gradients, momentum and
activations, not code. A process of ours that had to compile kernels first is replaced by another, whose kernels come
from the cache. All libraries must have equally many parameters and give finite numbers.
"""

import argparse
import importlib.util
import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from machine import headline, machine, positive, set_threads
from torch_peer import Torch

from minicnn.errors import ArgumentError

Row = dict[str, Any]
Job = tuple[str, int, int]  # network, batch, side

SAMPLES, QUICK_SAMPLES = 5, 1
QUIET = 0.1  # cores that others may use: beyond that a turn is taken again
PASSES = {"infer": ("minicnn", "torch", "onnxruntime"), "train": ("minicnn", "torch")}
WORKER = Path(__file__).resolve().with_name("train_worker.py")


class Worker:
    """A process that holds one network in one library for one pass; ``ready`` is what it said after its first step."""

    def __init__(self, library: str, which: str, job: Job, threads: int) -> None:
        network, batch, side = job
        command = [sys.executable, str(WORKER), library, network, which, *map(str, (batch, side, threads))]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, encoding="utf-8", bufsize=1)
        self.ready = self._answer()

    def ask(self, what: str) -> dict[str, Any]:
        assert self.process.stdin
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            return {"trouble": f"its process ended with exit code {self.process.wait()}"}
        said: dict[str, Any] = json.loads(line)
        return said

    def close(self) -> None:
        self.process.communicate()  # the end of its input ends it


def started(library: str, which: str, job: Job, threads: int) -> Worker:
    """A worker whose kernels come from the cache."""
    worker = Worker(library, which, job, threads)
    if worker.ready.get("compiled"):
        worker.close()
        worker = Worker(library, which, job, threads)
    return worker


def measure(job: Job, libraries: list[str], threads: int, samples: int) -> Row:
    """The figures of one network: for each library and pass the seconds of a step and the peak of memory."""
    network, batch, side = job
    row: Row = {"network": network, "batch": batch, "side": side, "state": "right", "trouble": {}}
    counts: set[int] = set()
    for which, able in PASSES.items():
        asked = {name: (name, job) for name in libraries if name in able and name not in row["trouble"]}
        counts |= set(compare(row, which, asked, threads, samples).values())
    row["parameters"] = min(counts, default=None)
    if "minicnn" in row["trouble"] or len(counts) > 1:
        row["state"] = "wrong"
    return row


def compare(row: Row, which: str, asked: dict[str, tuple[str, Job]], threads: int, samples: int) -> dict[str, int]:
    """Put the figures of one pass of each of ``asked``, a library and its job by name, into ``row``.

    All of them live at once and are asked in turns. Returns how many parameters each has that started.
    """
    workers: dict[str, Worker] = {}
    counts: dict[str, int] = {}
    try:
        for name, (library, job) in asked.items():
            worker = workers[name] = started(library, which, job, threads)
            if _fine(row, name, worker.ready):
                counts[name] = worker.ready["parameters"]
        _take_turns(row, which, workers, samples)
    finally:
        for worker in workers.values():
            worker.close()
    return counts


def _take_turns(row: Row, which: str, workers: dict[str, Worker], samples: int) -> None:
    """Take ``samples`` quiet turns; where other programs disturb more than half, the quietest ones."""
    turns: list[dict[str, dict[str, Any]]] = []
    while sum(_beside(turn) <= QUIET for turn in turns) < samples and len(turns) < 2 * samples:
        turns.append({})
        for name in [name for name in workers if name not in row["trouble"]]:
            said = workers[name].ask("step")
            if _fine(row, name, said):
                turns[-1][name] = said
                place = f"{row['network']}, batch {row['batch']}: {which}, turn {len(turns)}"
                print(f"{place}: {name} {said['seconds']:.4f} s", file=sys.stderr, flush=True)
    quietest = sorted(turns, key=_beside)[:samples]
    row["beside"] = max(row.get("beside", 0.0), *map(_beside, quietest))
    for name in [name for name in workers if name not in row["trouble"]]:
        said = workers[name].ask("memory")
        if _fine(row, name, said):
            seconds = [turn[name]["seconds"] for turn in quietest]
            figures = {"seconds": statistics.median(seconds), "samples": seconds}
            row.setdefault(name, {})[which] = figures | {"peak": said["peak"], "total": said["total"]}


def _beside(turn: dict[str, dict[str, Any]]) -> float:
    """The cores that other programs kept busy while the worst of the libraries was timed."""
    return max((said["beside"] for said in turn.values()), default=0.0)


def _fine(row: Row, name: str, said: dict[str, Any]) -> bool:
    trouble = said.get("trouble") or ("" if said.get("finite", True) else "a result is not finite")
    if trouble:
        row["trouble"][name] = trouble
    return not trouble


def print_troubles(rows: list[Row]) -> None:
    """What a reader of the table must know: which library failed and why, and which rows other programs disturbed."""
    for row in rows:
        place = f"{row['network']}, batch {row['batch']}"
        for name, trouble in row["trouble"].items():
            print(f"{place}: {name}: {trouble}")
        if row["beside"] > QUIET:
            print(f"{place}: disturbed, other programs kept {row['beside']:.1f} cores busy")


# ---- the programs around them


def parser(text: str | None) -> argparse.ArgumentParser:
    """The options that both programs have."""
    made = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--threads", type=positive, help="of each library (all cores)")
    made.add_argument("--samples", type=positive, help=f"times a network and pass ({SAMPLES})")
    made.add_argument("--quick", action="store_true", help="small images, one sample")
    made.add_argument(
        "--no-torch", action="store_true", help="compare with nothing; ONNX Runtime needs PyTorch's export"
    )
    made.add_argument("--json", type=Path, help="write the figures to this file, again after every network")
    made.add_argument("--resume", action="store_true", help="keep the rows that --json already holds")
    made.add_argument("--picture", type=Path, help="draw the figures to this PNG")
    return made


def conclude(
    name: str,
    chosen: argparse.Namespace,
    jobs: Iterable[Job],
    show: Callable[[list[Row]], None],
    draw: Any,
    asked: Callable[[list[Row]], list[Row]] | None = None,
) -> int:
    """Measure the jobs as chosen, show and draw them; the exit code of program ``name``.

    The file of figures has in its ``summary`` what ``asked`` makes of all rows.
    """
    try:
        threads = set_threads(chosen.threads, False)["numba"]  # refused here rather than in every worker
        rows = _rows(chosen, jobs, threads, asked)
    except ArgumentError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 2
    show(rows)
    if chosen.picture and any("train" in row.get("torch", {}) for row in rows):
        draw(rows, chosen.picture)
    wrong = sum(row["state"] == "wrong" for row in rows)
    if wrong:
        print(f"{name}: {wrong} of {len(rows)} rows are wrong", file=sys.stderr)
    return 1 if wrong else 0


def _rows(
    chosen: argparse.Namespace, jobs: Iterable[Job], threads: int, asked: Callable[[list[Row]], list[Row]] | None
) -> list[Row]:
    samples = chosen.samples or (QUICK_SAMPLES if chosen.quick else SAMPLES)
    settings: dict[str, Any] = {"threads": threads, "samples": samples, "libraries": _libraries(chosen.no_torch)}
    rows = _kept(chosen, settings)
    done = {(row["network"], row["batch"], row["side"]) for row in rows}
    print(headline())
    for job in [job for job in jobs if job not in done]:
        rows.append({**measure(job, settings["libraries"], threads, samples), "load": machine()["load"]})
        print(f"{job[0]}, batch {job[1]}: {rows[-1]['state']}", file=sys.stderr, flush=True)
        if chosen.json:
            figures = {"machine": machine(), "settings": settings, "rows": rows}
            if asked is not None:
                figures["summary"] = {"goals": asked(rows)}
            chosen.json.write_text(json.dumps(figures, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return rows


def _libraries(alone: bool) -> list[str]:
    trouble = "" if alone else Torch.trouble("cpu")
    if trouble:
        print(trouble)
    if alone or trouble:
        return ["minicnn"]
    lacking = [name for name in ("onnxruntime", "onnx", "onnxscript") if importlib.util.find_spec(name) is None]
    if lacking:
        print(f"no ONNX Runtime to compare with: {', '.join(lacking)} missing; fix: pip install 'minicnn[bench]'")
    return ["minicnn", "torch", *([] if lacking else ["onnxruntime"])]


def _kept(chosen: argparse.Namespace, settings: dict[str, Any]) -> list[Row]:
    if not chosen.resume:
        return []
    if not chosen.json:
        raise ArgumentError("--resume needs the file to go on with; fix: --json FILE")
    if not chosen.json.exists():
        return []
    before = json.loads(chosen.json.read_text(encoding="utf-8"))
    if before["settings"] != settings:
        raise ArgumentError(f"--resume: {chosen.json} has other settings: {before['settings']}")
    rows: list[Row] = before["rows"]
    return rows
