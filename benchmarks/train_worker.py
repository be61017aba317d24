"""One pass of one network in one library, in a process of its own, that is asked in turns over a pipe.

    python train_worker.py LIBRARY NETWORK infer|train BATCH SIDE THREADS

It says when it is ready, after a first step, and then answers each line of its input with a line of JSON: ``step`` with
the seconds of a step, ``memory`` with the most that was resident during them. Before every answer it waits until its
idle threads sleep, so that they take nothing from whoever is asked next. ``train_rows.py`` holds the other end.
"""

import argparse
import ctypes
import gc
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from machine import set_threads
from timing import settle
from train_steps import STEPS, batch_of

from minicnn import empty_cache

SAMPLE_SECONDS = 0.3  # an answer repeats a short step for about this long
WARM_BATCH, WARM_SIDE = 2, 64  # the step after which memory counts


# ---- memory


def resident(field: str) -> int | None:
    """Bytes of ``VmRSS`` or ``VmHWM``; None where there is no such file."""
    status = Path("/proc/self/status")
    lines = status.read_text(encoding="utf-8").splitlines() if status.is_file() else []
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(field + ":")), None)


def give_back() -> None:
    """Let minicnn and the C library (glibc's) return what is freed: kept for later, it would hide in the baseline."""
    gc.collect()
    empty_cache()
    with suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def forget_peak() -> bool:
    """Let ``VmHWM`` begin again at what is resident now; whether that is possible here."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    except OSError:
        return False
    return True


def baseline() -> int | None:
    """What is resident now, with the peak forgotten; None where peaks cannot be told."""
    give_back()
    return resident("VmRSS") if forget_peak() else None


def memory(before: int | None) -> dict[str, int | None]:
    """The peak above ``before``, and in all."""
    total = resident("VmHWM") if before is not None else None
    return {"peak": None if before is None or total is None else total - before, "total": total}


# ---- the conversation


def answer(call: Callable[[], Any]) -> dict[str, Any]:
    """Seconds of a step: the median of as many as fill a sample, after one that is not timed.

    That one finds cold caches and sleeping threads, perhaps all on one core until the system spreads them: even a step
    of half a second took up to three times as long. ``beside`` is how many cores other programs kept busy meanwhile.
    """
    seconds: list[float] = []
    call()
    before = used_by_others()
    while sum(seconds) < SAMPLE_SECONDS:
        start = time.perf_counter()
        result = call()
        seconds.append(time.perf_counter() - start)
    beside = max(0.0, used_by_others() - before) / sum(seconds)
    median = statistics.median(seconds)
    return {"seconds": median, "beside": beside, "finite": bool(np.isfinite(result).all())}


def used_by_others() -> float:
    """Seconds of processor time that other programs (and a hypervisor) used so far; 0 where that is not told."""
    facts = Path("/proc/stat")
    if not facts.is_file():
        return 0.0
    user, nice, system, _idle, _waiting, *interrupts = facts.read_text(encoding="utf-8").split("\n", 1)[0].split()[1:9]
    return sum(map(int, (user, nice, system, *interrupts))) / os.sysconf("SC_CLK_TCK") - time.process_time()


def say(**said: Any) -> None:
    settle()
    print(json.dumps(said), flush=True)


def converse(chosen: argparse.Namespace) -> None:
    make = partial(STEPS[chosen.library], chosen.network, chosen.which, threads=chosen.threads)
    with ready(chosen) as compiled:
        make(*batch_of(chosen.network, WARM_BATCH, min(WARM_SIDE, chosen.side))).call()
        before = baseline()
        call, parameters = make(*batch_of(chosen.network, chosen.batch, chosen.side))
        finite = answer(call)["finite"]
        baseline()  # forget what building the network took, which fusing did beside another copy
        say(parameters=parameters, finite=finite, compiled=bool(compiled))
        for line in sys.stdin:
            say(**(memory(before) if line.strip() == "memory" else answer(call)))


@contextmanager
def ready(chosen: argparse.Namespace) -> Iterator[list[Any]]:
    """The library with its threads; yields a list that fills when kernels are compiled which the cache lacked."""
    if chosen.library != "minicnn":
        yield []
        return
    from numba.core.event import install_recorder

    from minicnn import models
    from minicnn.train.threads import blas_threads

    set_threads(chosen.threads, False)
    with blas_threads(models.counts(chosen.network).macs), install_recorder("numba:compile") as recorder:
        yield recorder.buffer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("library", choices=tuple(STEPS))
    parser.add_argument("network")
    parser.add_argument("which", choices=("infer", "train"))
    for argument in ("batch", "side", "threads"):
        parser.add_argument(argument, type=int)
    try:
        converse(parser.parse_args())
    except ImportError as missing:
        say(trouble=str(missing))


if __name__ == "__main__":
    main()
