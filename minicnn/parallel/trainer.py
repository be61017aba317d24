"""The training loop on several ranks: what `minicnn.train` does, with every batch dealt out among them.

Rank 0 writes: the folder, the checkpoints, the page, what is said. The others compute. Whatever decides how the run
goes on (a loss, the result on validation, Ctrl-C) is first made the same on all ranks, so that they decide alike.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from minicnn import train
from minicnn.data.dataset import Subset
from minicnn.errors import ArgumentError
from minicnn.nn.module import Module
from minicnn.nn.norm import BatchNorm1d, BatchNorm2d
from minicnn.parallel.communicator import Communicator
from minicnn.parallel.gradients import GradientSums, share_of
from minicnn.parallel.sharding import ShardedLoader, own_part
from minicnn.random import sample_offset
from minicnn.tensor import Tensor
from minicnn.threads import get_num_threads
from minicnn.train.args import TrainArgs
from minicnn.train.diagnosis import first_bad_weight
from minicnn.train.evaluate import Evaluation, Samples, evaluate
from minicnn.train.interrupt import StopRequest
from minicnn.train.loop import Figures, Result, Trainer
from minicnn.train.report import Reporter
from minicnn.train.run import RunFolder
from minicnn.train.state import restore, state_of


def synchronise(model: Module, ranks: Communicator) -> int:
    """Let every batch norm of ``model`` take its statistics over the batches of all ranks; returns how many it has."""
    norms = [layer for layer in model.modules() if isinstance(layer, (BatchNorm1d, BatchNorm2d))]
    for layer in norms:
        layer.ranks = ranks
    return len(norms)


class Onlooker(RunFolder):
    """The folder of a run for ranks that write nothing into it."""

    def write_metrics(self, rows: list[dict[str, float]]) -> None: ...

    def draw(self, rows: list[dict[str, float]], confusion: Any, classes: Any, title: str, result: str) -> None: ...

    @contextmanager
    def locked(self) -> Iterator[None]:
        yield


class RankTrainer(Trainer):
    """A `Trainer` that is one rank of several; ``args.batch_size`` is that of all together."""

    def __init__(self, ranks: Communicator, args: TrainArgs, run: RunFolder, quiet: bool = False) -> None:
        if args.accumulate > 1:
            raise ArgumentError(
                f"train: accumulate={args.accumulate} with {ranks.size} ranks, which split the batch already; "
                "fix: --accumulate 1, or more ranks"
            )
        if args.precision != "float32":
            raise ArgumentError(
                f"train: precision={args.precision!r} with {ranks.size} ranks, whose sums are of float32 gradients; "
                "fix: --precision float32, or one rank"
            )
        super().__init__(args if ranks.rank == 0 else dataclasses.replace(args, log=""), run, quiet or ranks.rank > 0)
        self.ranks = ranks
        self.loader = self.part_loader = ShardedLoader.of(self.loader, ranks)
        self.sums = GradientSums(self.model.parameters(), ranks)
        self.read_every = 1  # what one rank sees of a loss, all must know before they go on
        self.heard = self.agreed = StopRequest(lambda: None)
        if args.sync_bn:
            synchronise(self.model, ranks)

    # ---- a step

    def _train_epoch(self, report: Reporter, stop: StopRequest) -> dict[str, float]:
        """Ctrl-C stops a rank only once all know of it, or some would wait for those that have left."""
        self.heard, self.agreed = stop, StopRequest(lambda: None)
        return super()._train_epoch(report, self.agreed)

    def _forward(self, images: Any, labels: Any, start: int, last: bool) -> Tensor:
        """Random masks are those that the whole batch would have had."""
        first = own_part(self.part_loader.whole(self.part.position), self.ranks).start
        with sample_offset(first):
            return super()._forward(images, labels, start, last)

    def _backward(self, loss: Tensor, images: int) -> None:
        self.sums.backward(loss, share_of(loss, images, self.part_loader.whole(self.part.position)))

    def _read_back(self, pieces: list[Figures]) -> Iterable[tuple[Figures, float, int]]:
        """Figures of the whole batches; Ctrl-C on one rank counts as on all."""
        for step, loss, correct in super()._read_back(pieces):
            own_sum = loss * step.images if step.images else 0.0  # the mean over none is no number
            told = np.array([own_sum, correct, step.images, self.heard.asked], float)
            self.ranks.sum(told)
            loss_sum, corrects, images, stops = told.tolist()
            self.agreed.asked = stops > 0
            yield step._replace(images=int(images)), loss_sum / images, int(corrects)

    def _first_bad(self, step: int) -> str:
        """Not by looking at a batch again: it may be another rank's, and its batch norms would wait for the others."""
        return first_bad_weight(self.model)

    # ---- evaluation: a part of the dataset each

    def _evaluate(self, part: str) -> Evaluation:
        dataset = self.data[part]
        own = own_part(len(dataset), self.ranks)
        self._share_buffers()
        found = None
        if own.start < own.stop:
            rows = Subset(dataset, np.arange(own.start, own.stop))
            found = evaluate(self.model, rows, device=self.device)
        return joined([other for other in self.ranks.collect(found) if other is not None])

    def _share_buffers(self) -> None:
        """Running statistics that each rank took of its own batches become those of rank 0, which it also saves."""
        values = self.ranks.share([b.numpy() for b in self.model.buffers()] if self.ranks.rank == 0 else None)
        for buffer, value in zip(self.model.buffers(), values, strict=True):
            if self.ranks.rank:
                buffer.copy_(value)

    def _finish(self) -> Result:
        self.ranks.barrier()  # rank 0 has saved the best
        return super()._finish()

    # ---- what rank 0 does for all

    def _introduction(self) -> Iterator[str]:
        yield from super()._introduction()
        shared = ", batch norm over all" if self.args.sync_bn else ""
        yield f"ranks   {self.ranks.size}, threads each: {get_num_threads()}{shared}"

    def save(self, path: Path) -> None:
        if self.ranks.rank == 0:
            super().save(path)


def joined(parts: list[Evaluation]) -> Evaluation:
    """The evaluation of a dataset from those of its parts, in their order."""
    samples = Samples(*(np.concatenate(column) for column in zip(*(part.samples for part in parts), strict=True)))
    return Evaluation(float(samples.losses.mean()), np.sum([part.confusion for part in parts], axis=0), samples)


def new_run(
    ranks: Communicator,
    args: TrainArgs,
    out: str | Path | None = None,
    quiet: bool = False,
    origin: Mapping[str, str] | None = None,
) -> Trainer:
    """`minicnn.train.new_run` on every rank: rank 0 makes the folder, and its weights are those of all."""
    if ranks.size == 1:
        return train.new_run(args, out, quiet, origin)
    make = partial(RankTrainer, ranks)
    if ranks.rank == 0:
        trainer = train.new_run(args, out, quiet, origin, make)
        ranks.share(trainer.run.folder)
    else:
        trainer = make(args, Onlooker(ranks.share(None)), quiet)
    return _standing_together(trainer)


def resumed_run(ranks: Communicator, folder: str | Path, quiet: bool = False, **changed: Any) -> tuple[Trainer, str]:
    """`minicnn.train.resumed_run` on every rank, of however many the run had before."""
    if ranks.size == 1:
        return train.resumed_run(folder, quiet, **changed)
    make = partial(RankTrainer, ranks)
    if ranks.rank == 0:
        trainer, note = train.resumed_run(folder, quiet, make, **changed)
        ranks.share(trainer.args)
    else:
        trainer, note = make(ranks.share(None), Onlooker(folder), quiet), ""
    return _standing_together(trainer), note


def _standing_together(trainer: Trainer) -> Trainer:
    """Every rank stands where rank 0 stands, with its weights."""
    assert isinstance(trainer, RankTrainer)
    saved = trainer.ranks.share(state_of(trainer) if trainer.ranks.rank == 0 else None)
    if trainer.ranks.rank:
        restore(trainer, saved)
    return trainer
