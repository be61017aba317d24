"""Accuracy and time of ``minicnn train`` with no argument but the seed, one whole process a seed.

    python benchmarks/train_digits.py [--seeds 5] [--cold] [--json FILE]

``--cold`` gives each run an empty kernel cache, so that its time includes compilation. The last run is made twice: the
same seed must give the same number.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from machine import headline, machine


def run(seed: int, cold: bool) -> dict[str, Any]:
    """One training; returns its accuracy on the test part and the seconds of the whole process."""
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | ({"MINICNN_CACHE_DIR": str(Path(folder) / "cache")} if cold else {})
        command = [sys.executable, "-m", "minicnn", "train", "--quiet", "--json", "--seed", str(seed)]
        start = time.perf_counter()
        done = subprocess.run(
            [*command, "--out", str(Path(folder) / "run")], check=True, env=environment, stdout=subprocess.PIPE
        )
        seconds = time.perf_counter() - start
    result = json.loads(done.stdout)
    return {
        "seed": seed,
        "seconds": round(seconds, 1),
        "test_accuracy": result["test_accuracy"],
        "test_correct": result["test_correct"],
        "test_count": result["test_count"],
        "test_loss": result["test_loss"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="seeds 0 to this, exclusive")
    parser.add_argument("--cold", action="store_true", help="an empty kernel cache for each run")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    chosen = parser.parse_args()
    print(headline())
    rows = []
    for seed in (*range(chosen.seeds), chosen.seeds - 1):
        row = run(seed, chosen.cold)
        rows.append(row)
        correct = f"{row['test_correct']} of {row['test_count']}"
        print(f"seed {seed}  {100 * row['test_accuracy']:.2f} % ({correct})  {row['seconds']:.0f} s", flush=True)
    *_, last, again = rows
    same = last["test_loss"] == again["test_loss"]
    print(f"the same seed twice gives {'the same' if same else 'ANOTHER'} test loss")
    if chosen.json:
        figures = {"machine": machine(), "cold": chosen.cold, "runs": rows, "same_seed_same_result": same}
        chosen.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    sys.exit(0 if same else 1)


if __name__ == "__main__":
    main()
