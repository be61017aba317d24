"""A program: the first steps of a run on however many ranks it is started with; rank 0 keeps losses and weights.

[mpiexec -n 2 python -m mpi4py] tests/parallel/steps.py FILE MODEL STEPS BATCH SYNC RATE
"""

import itertools
import sys
import tempfile
from pathlib import Path

import numpy as np

from minicnn import parallel
from minicnn.train import TrainArgs


def main(file: str, model: str, steps: str, batch: str, sync: str, rate: str) -> None:
    world = parallel.communicator("cpu")
    args = TrainArgs(
        model=model, size=32, batch_size=int(batch), sync_bn=sync == "yes", warmup_epochs=0, lr=float(rate), log=""
    )
    with parallel.together(world), tempfile.TemporaryDirectory() as folder:
        trainer = parallel.new_run(world, args, Path(folder) / "run", quiet=True)
        trainer.model.train()
        kept, losses = {}, []
        for images, labels in itertools.islice(trainer.loader.iterate(0), int(steps)):
            before = trainer.part.loss_sum, trainer.part.seen
            trainer._train_step(images, labels)
            trainer.part.position += 1
            losses.append((trainer.part.loss_sum - before[0]) / (trainer.part.seen - before[1]))
            kept = kept or {f"first/{name}": value.copy() for name, value in trainer.model.state_dict().items()}
        world.barrier()
        if world.rank == 0:
            np.savez(file, losses=losses, **kept)


if __name__ == "__main__":
    main(*sys.argv[1:])
