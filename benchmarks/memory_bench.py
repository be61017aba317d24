"""What ``minicnn memory`` predicts for a training step, beside what one takes.

    python benchmarks/memory_bench.py [--networks NAME ...] [--json FILE]

The seven networks of ``train_bench.py``, and AlexNet; each trains in a process of its own. The measured peak is the
most that was resident (VmHWM) during three steps, less what was resident before the network was built: after import,
and after a step of the same size, so that compiled code and the scratch memory of kernels are there already. Exit
code 0: every prediction is within 10 %; 1: one is not; 2: peaks cannot be told here.
"""

import argparse
import json
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

from conv_report import print_table
from machine import headline, machine, set_threads
from train_bench import BATCH
from train_steps import batch_of, minicnn_step
from train_worker import baseline, memory

BATCHES = BATCH | {"alexnet": 128}  # the one that was trained on two cards of 3 GB
TOLERANCE, STEPS, THREADS = 0.1, 3, 2
COLUMNS = ("network", "batch", "live at once, MiB", "predicted, MiB", "measured, MiB", "ratio")
KEYS = ("live", "predicted", "measured")


def measured(network: str, batch: int) -> int | None:
    """Bytes at the peak of training steps, in this process; None where the system does not tell."""
    from minicnn import models
    from minicnn.kernels.arena import own_memory
    from minicnn.train.threads import blas_threads

    side = models.info(network).input_shape[-1]
    make = partial(minicnn_step, network, "train", *batch_of(network, batch, side), THREADS)
    set_threads(THREADS, False)
    with blas_threads(models.counts(network).macs):
        with own_memory():  # the arena is still to be filled
            make().call()
        before = baseline()
        step = make()
        for _ in range(STEPS):
            step.call()
    return memory(before)["peak"]


def row(network: str, batch: int) -> dict[str, Any]:
    from minicnn import models
    from minicnn.instruments.memory import plan

    found = plan(partial(models.create, network), models.info(network).input_shape, batch)
    done = subprocess.run(
        [sys.executable, __file__, "--one", network], stdout=subprocess.PIPE, text=True, encoding="utf-8", check=True
    )
    return {
        "network": network,
        "batch": batch,
        "live": found.peak,
        "predicted": found.resident,
        "measured": json.loads(done.stdout.splitlines()[-1]),
        "at": found.at,
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=tuple(BATCHES), default=tuple(BATCHES), metavar="NAME")
    parser.add_argument("--json", type=Path, help="Write the rows there too.")
    parser.add_argument("--one", choices=tuple(BATCHES), help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.one:
        print(json.dumps(measured(chosen.one, BATCHES[chosen.one])))
        return 0
    known = machine()
    print(headline(known))
    rows = [row(network, BATCHES[network]) for network in chosen.networks]
    if chosen.json:
        text = json.dumps({"machine": known, "rows": rows}, indent=1)
        chosen.json.write_text(text + "\n", encoding="utf-8")
    if any(row["measured"] is None for row in rows):
        print("memory_bench: peaks cannot be told here: there is no /proc/self/clear_refs", file=sys.stderr)
        return 2
    cells = [
        (r["network"], str(r["batch"]), *(f"{r[key] / 2**20:,.1f}" for key in KEYS), f"{ratio(r):.3f}") for r in rows
    ]
    print_table("", dict.fromkeys(COLUMNS, "right") | {"network": "left"}, cells)
    far = [r["network"] for r in rows if abs(ratio(r) - 1) > TOLERANCE]
    print(f"further than {TOLERANCE:.0%} off: {', '.join(far) or 'none'}")
    return 1 if far else 0


def ratio(row: dict[str, Any]) -> float:
    """The prediction over what was measured."""
    return float(row["predicted"] / row["measured"])


if __name__ == "__main__":
    sys.exit(main())
