"""What a machine's cores do as threads of one process, and as ranks that share each batch.

    python benchmarks/ranks_bench.py [--json FILE] [--seconds S] [--rounds N]
    python benchmarks/ranks_bench.py --agreement

Training steps of LeNet-5 and of ResNet-20 on one batch that is there already: one rank with all cores as its threads,
as many ranks as cores with a thread each, and these with batch norm over all ranks. Each is measured in processes of
its own, in turns, so that a slow spell meets all; the figure is the median over rounds of images a second.

With ``--agreement`` instead how far the first 20 steps of two ranks are from those of one, batch norm over all ranks or
over each rank's own images.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from machine import headline, machine

from minicnn import parallel
from minicnn.parallel.launch import mpiexec
from minicnn.train import TrainArgs

NETWORKS = {"lenet5": 256, "resnet20_cifar10": 64}  # images a batch, of all ranks together
CORES = os.cpu_count() or 1


def configurations() -> list[tuple[str, int, int, bool]]:
    """What is compared: network, ranks, threads each, whether batch norm is over all."""
    found = []
    for name in NETWORKS:
        found += [(name, 1, CORES, False), (name, CORES, 1, False)]
        if name != "lenet5":
            found.append((name, CORES, 1, True))
    return found


def worker(model: str, sync: bool, seconds: float, file: Path) -> None:
    """One rank: steps for so long; rank 0 writes how many images a second all ranks trained."""
    world = parallel.communicator("cpu")
    batch = NETWORKS[model]
    args = TrainArgs(model=model, size=32, batch_size=batch, sync_bn=sync, augment=False, workers=0, log="")
    with parallel.together(world), tempfile.TemporaryDirectory() as folder:
        trainer = parallel.new_run(world, args, Path(folder) / "run", quiet=True)
        trainer.model.train()
        with trainer.loader.iterate(0) as batches:
            images, labels = next(batches)
        for _ in range(3):
            trainer._train_step(images, labels)
        count, times = None, []
        while count is None or len(times) < count:
            began = time.perf_counter()
            trainer._train_step(images, labels)
            times.append(time.perf_counter() - began)
            if count is None:  # the ranks must agree on how many
                count = world.share(max(5, int(seconds / times[0])))
        world.barrier()
        if world.rank == 0:
            file.write_text(json.dumps(batch / statistics.median(times)), encoding="utf-8")


def measured(model: str, ranks: int, threads: int, sync: bool, seconds: float) -> float:
    """Images a second of one configuration, in fresh processes."""
    start = [mpiexec(), "-n", str(ranks)] if ranks > 1 else []
    environment = os.environ | {"NUMBA_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "speed.json"
        words = ["--worker", model, "--seconds", str(seconds), "--json", str(file), *(["--sync-bn"] if sync else [])]
        subprocess.run([*start, sys.executable, "-m", "mpi4py", __file__, *words], env=environment, check=True)
        return float(json.loads(file.read_text(encoding="utf-8")))


def agreement() -> None:
    """Losses and the weights after a step, of ResNet-20 at a batch of 32."""
    import numpy as np

    program = str(Path(__file__).resolve().parents[1] / "tests" / "parallel" / "steps.py")
    environment = os.environ | {"NUMBA_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as folder:
        found = {}
        for name, ranks, sync in (("one rank", 1, "no"), ("all ranks", 2, "yes"), ("each rank", 2, "no")):
            start = [mpiexec(), "-n", str(ranks)] if ranks > 1 else []
            file = str(Path(folder) / f"{name}.npz")
            words = [file, "resnet20_cifar10", "20", "32", sync, "1e-4"]
            subprocess.run([*start, sys.executable, "-m", "mpi4py", program, *words], env=environment, check=True)
            found[name] = dict(np.load(file))
    one = found.pop("one rank")
    for name, other in found.items():
        kinds: dict[str, float] = {"weights": 0.0, "running statistics": 0.0}
        for key in one:
            if key.startswith("first/"):
                kind = "running statistics" if "running_" in key else "weights"
                kinds[kind] = max(kinds[kind], float(np.abs(other[key] - one[key]).max()))
        losses = float(np.abs(other["losses"] - one["losses"]).max())
        print(
            f"batch norm over {name:<10} after a step: weights off by {kinds['weights']:.1e}, "
            f"running statistics by {kinds['running statistics']:.1e}; losses of 20 steps by {losses:.1e}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--seconds", type=float, default=1.5, help="of steps a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--worker", choices=NETWORKS, help=argparse.SUPPRESS)
    parser.add_argument("--sync-bn", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--agreement", action="store_true", help="how far two ranks are from one, instead")
    given = parser.parse_args()
    if given.agreement:
        agreement()
        return
    if given.worker:
        worker(given.worker, given.sync_bn, given.seconds, given.json)
        return
    facts = machine()
    print(headline(facts))
    speeds: dict[tuple[str, int, int, bool], list[float]] = {each: [] for each in configurations()}
    for _ in range(given.rounds):
        for each, values in speeds.items():
            values.append(measured(*each, given.seconds))
    rows: list[dict[str, Any]] = []
    for (model, ranks, threads, sync), values in speeds.items():
        alone = statistics.median(speeds[model, 1, CORES, False])
        speed = statistics.median(values)
        rows.append(
            {
                "model": model,
                "batch": NETWORKS[model],
                "ranks": ranks,
                "threads": threads,
                "sync_bn": sync,
                "images_per_s": round(speed, 1),
                "against_threads": round(speed / alone, 3),
            }
        )
        print(
            f"{model:<17} batch {NETWORKS[model]:>3}  {ranks} ranks x {threads} threads{' sync' if sync else '     '}"
            f"  {speed:>8,.0f} images/s  {speed / alone:.2f} of one rank"
        )
    if given.json:
        given.json.write_text(json.dumps({"machine": facts, "rows": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
