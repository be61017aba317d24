"""How long it takes to start: whole processes, alternating, medians.

    python benchmarks/start_bench.py [--runs 9] [--json FILE]

The bounds: ``import minicnn`` at most 1.5 times ``import numpy`` (Numba, the plots and the command line load on first
use), and a second start trains its first step within 3 s (the kernels are in the cache).
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

from machine import headline, machine

FIRST_STEP = """
import numpy as np
import minicnn
from minicnn import data, models, ops, optim
model = models.lenet5()
optimizer = optim.SGD(model.parameters(), lr=0.03, momentum=0.9, nesterov=True)
images, labels = data.load("digits", "train", size=32).batch(np.arange(64))
loss = ops.cross_entropy(model(minicnn.Tensor(images)), labels)
loss.backward()
optimizer.step()
"""
PROGRAMS = {
    "python": ["-c", "pass"],
    "import numpy": ["-c", "import numpy"],
    "import minicnn": ["-c", "import minicnn"],
    "minicnn --help": ["-m", "minicnn", "--help"],
    "first training step": ["-c", FIRST_STEP],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    chosen = parser.parse_args()
    print(headline())
    seconds: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    for _ in range(chosen.runs + 1):  # the first round warms the file cache and the kernel cache
        for name, arguments in PROGRAMS.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
            seconds[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(values[1:]) for name, values in seconds.items()}
    ratio = medians["import minicnn"] / medians["import numpy"]
    for name, median in medians.items():
        print(f"{name:<22}{1000 * median:8.0f} ms")
    print(f"import minicnn / import numpy {ratio:.2f}")
    if chosen.json:
        figures = {"machine": machine(), "runs": chosen.runs, "median_s": medians, "import_ratio": ratio}
        chosen.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
