"""Training on several processes, its ranks: through MPI on CPUs, through NCCL on GPUs (docs/parallel.md)."""

from minicnn.parallel.communicator import ALONE, Communicator
from minicnn.parallel.gradients import GradientSums, share_of
from minicnn.parallel.launch import communicator, flags, start, started_by_mpiexec, together
from minicnn.parallel.sharding import ShardedLoader, own_part
from minicnn.parallel.trainer import RankTrainer, new_run, resumed_run, synchronise

__all__ = [
    "ALONE",
    "Communicator",
    "GradientSums",
    "RankTrainer",
    "ShardedLoader",
    "communicator",
    "flags",
    "new_run",
    "own_part",
    "resumed_run",
    "share_of",
    "start",
    "started_by_mpiexec",
    "synchronise",
    "together",
]
