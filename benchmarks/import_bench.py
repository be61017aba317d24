"""How long ``import minicnn`` takes beside ``import numpy``: whole processes, alternating, medians.

    python benchmarks/import_bench.py [--runs 9]

The bound is 1.5 times NumPy: Numba, the plots and the command line load on first use.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time

COMMANDS = {"python": "pass", "numpy": "import numpy", "minicnn": "import minicnn"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(arguments.runs + 1):  # the first round warms the file cache
        for name, code in COMMANDS.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True)
            seconds[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(values[1:]) for name, values in seconds.items()}
    ratio = medians["minicnn"] / medians["numpy"]
    if arguments.json:
        print(json.dumps({"runs": arguments.runs, "median_s": medians, "ratio": ratio}))
        return
    for name, median in medians.items():
        print(f"import {name:<10}{1000 * median:8.1f} ms")
    print(f"minicnn / numpy {ratio:.2f}")


if __name__ == "__main__":
    main()
