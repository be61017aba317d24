"""The training loop: epochs over batches, validation after each, checkpoints, and a clean end on Ctrl-C."""

import math
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import minicnn
from minicnn import ops, random
from minicnn.data import DataLoader, Dataset
from minicnn.devices import choose_device
from minicnn.errors import CheckpointError, NonFiniteLossError
from minicnn.files import sweep
from minicnn.optim.average import WeightAverage
from minicnn.optim.clip import clip_grad_norm_, clip_grad_value_
from minicnn.tensor import Tensor
from minicnn.train import checkpoint
from minicnn.train.args import TrainArgs
from minicnn.train.cadence import Cadence
from minicnn.train.diagnosis import Batch, first_bad_gradient, first_bad_layer, first_bad_weight
from minicnn.train.evaluate import Evaluation, evaluate
from minicnn.train.groups import freeze, training_mode
from minicnn.train.interrupt import Interrupted, StopRequest, stop_on_ctrl_c
from minicnn.train.objective import answer_of, loss_of
from minicnn.train.observer import Observer, observers_of
from minicnn.train.precision import Precision
from minicnn.train.rates import build_schedule
from minicnn.train.recipe import augmentation, build_data, build_mix, build_model, build_optimizer, model_options
from minicnn.train.report import Reporter, introduction
from minicnn.train.run import RunFolder
from minicnn.train.state import PartOfEpoch, load_weights, not_finite, restore, state_of, weights_of
from minicnn.train.threads import blas_threads
from minicnn.train.transfer import load_initial

# A GPU computes on while the host prepares the next steps; to read a loss, the host waits until it is computed.
STEPS_BETWEEN_READS = 16


class Figures(NamedTuple):
    """What one piece of a step's batch showed, still where it was computed."""

    step: int
    loss: Tensor
    correct: Tensor
    images: int
    last: bool  # of its step
    rate: float  # the step's


class Result(NamedTuple):
    """What a finished run shows: the test part is evaluated once, with the best weights on validation."""

    folder: Path
    test: Evaluation
    rows: list[dict[str, float]]

    @property
    def line(self) -> str:
        return f"test accuracy {100 * self.test.accuracy:.2f} % ({self.test.correct} of {self.test.total})"


class Trainer:
    """Model, data, optimiser and schedule of one run, and where it stands."""

    def __init__(self, args: TrainArgs, run: RunFolder, quiet: bool = False) -> None:
        random.manual_seed(args.seed)
        self.args, self.run, self.quiet = args, run, quiet
        self.device, self.device_reason = choose_device(args.device)
        self.data: dict[str, Dataset] = build_data(args)
        self.model = build_model(args, self.data["train"])
        self.notes = self._begin()
        self.model.to(self.device)
        self.precision = Precision(args.precision, self.model, self.device)
        self.loader = DataLoader(
            self.data["train"],
            args.batch_size,
            shuffle=True,
            seed=args.seed,
            workers=args.workers,
            augment=augmentation(args, self.data["train"]),
            mix=build_mix(args),
        )
        self.optimizer = build_optimizer(args, self.model)
        self.shares = [group["lr"] / args.lr for group in self.optimizer.param_groups]  # of the rate, a group each
        self.trained = [p for p in self.model.parameters() if p.requires_grad]
        self.rate = build_schedule(args, len(self.loader), lambda: self.rows)
        self.average = WeightAverage(self.model, args.ema) if args.ema else None
        self.observers = observers_of(args.log)
        self.rows: list[dict[str, float]] = []
        self.epoch = 0  # epochs finished
        self.part = PartOfEpoch()
        self.cadence = Cadence(args.checkpoint_every)
        self.unread: list[Figures] = []  # pieces of steps that `part` has not summed up yet
        self.untold: list[tuple[float, int, int]] = []  # loss, hits and images of a step that is half done
        self.batch: Batch | None = None  # the piece whose loss is not known yet
        self.read_every = 1 if self.device == "cpu" else STEPS_BETWEEN_READS

    def _begin(self) -> list[str]:
        """Weights to begin with, and what stays as it is; returns sentences on both."""
        args, run, notes = self.args, self.run, []
        # a run that has a checkpoint has weights; the file it began with may be gone
        if args.init and not (run.last.exists() or checkpoint.previous_of(run.last).exists()):
            shape = {"num_classes": len(self.data["train"].classes), "in_channels": self.data["train"].shape[0]}
            notes.append(load_initial(self.model, args.init, args.model, model_options(args.options) | shape))
        if args.freeze:
            notes.append(f"{freeze(self.model, args):,} parameters stay as they are ({args.freeze})")
        return notes

    @property
    def step(self) -> int:
        """Steps done since the run began."""
        return self.epoch * len(self.loader) + self.part.position

    @property
    def moves(self) -> int:
        """Steps of the optimiser: those whose gradients overflowed are none, and the rate's schedule waits for them."""
        return self.step - self.precision.skipped

    @property
    def macs(self) -> int:
        """Multiply-adds of the model for one image."""
        return minicnn.summary(self.model, self.data["train"].shape).macs

    # ---- the run

    def fit(self) -> Result:
        """Train to the end; after ``resume`` from where the run stood. A finished run is only evaluated again.

        **Raises** Interrupted after Ctrl-C, with ``last`` saved; NonFiniteLossError, with the checkpoints untouched: at
        that very step on the CPU, at most 16 steps later on a GPU, whose losses are read back that often; ArgumentError
        while another process trains in the folder; CheckpointError where something cannot be written.
        """
        report = Reporter(self.args.epochs, len(self.loader), self.step, self.quiet)
        # NumPy's own warnings of overflow say less than the check of every loss
        quiet_numpy = np.errstate(over="ignore", invalid="ignore")
        with (
            self.run.locked(),
            blas_threads(self.macs),
            report,
            stop_on_ctrl_c(report.stopping) as stop,
            quiet_numpy,
            self._observed() as watching,
        ):
            for line in self._introduction():
                report.say(line)
            while self.epoch < self.args.epochs:
                row = self._train_epoch(report, stop)
                if note := self.precision.note():
                    report.say(note)
                best = self._validate(row)
                self._save(self.run.last)
                for observer in watching:
                    observer.epoch(row, best)
                report.epoch(row, best)
            result = self._finish()
            for observer in watching:
                observer.finished(result)
            return result

    @contextmanager
    def _observed(self) -> Iterator[list[Observer]]:
        """Inside, the observers know of the run; they are closed however it ends."""
        with ExitStack() as stack:
            for observer in self.observers:
                stack.callback(observer.close)
                observer.started(self)
            yield self.observers

    def _introduction(self) -> Iterator[str]:
        return introduction(self)

    def _train_epoch(self, report: Reporter, stop: StopRequest) -> dict[str, float]:
        """The rest of the running epoch; returns its metrics."""
        training_mode(self.model, self.args)
        self.loader.set_epoch(self.epoch)
        part = self.part
        started, waited = time.perf_counter() - part.seconds, part.waited
        with self.loader.iterate(part.position) as batches:
            for images, labels in batches:
                self._train_step(images, labels)
                part.position += 1
                due = self.cadence.due()
                if stop.asked or due or part.position == len(self.loader):
                    self._read()
                if not self.unread:
                    part.seconds, part.waited = time.perf_counter() - started, waited + batches.waited
                report.step(self.epoch + 1, part)
                if stop.asked or (due and part.position < len(self.loader)):  # the epoch's end saves anyway
                    self._save(self.run.last)
                if stop.asked:
                    raise Interrupted
        return {
            "epoch": self.epoch + 1,
            "lr": self.rate(max(self.moves - 1, 0)),
            "train_loss": part.loss_sum / part.seen,
            "train_accuracy": part.correct / part.seen,
            "images_per_s": part.seen / part.seconds,
            "seconds": part.seconds,
            "waited": part.waited,
        }

    def _train_step(self, images: Any, labels: Any) -> None:
        """One step of the optimiser; on a GPU the host only launches it."""
        rate, count = self.rate(self.moves), len(labels)
        for group, share in zip(self.optimizer.param_groups, self.shares, strict=True):
            group["lr"] = rate * share
        self.optimizer.zero_grad()
        size = max(1, -(-count // self.args.accumulate))
        with self.precision.lowered():
            for start in range(0, max(count, 1), size):  # a rank's share of a batch may be empty
                end = min(start + size, count)
                loss = self._forward(images[start:end], labels[start:end], start, end == count)
                # gradients add up to the batch's
                loss = loss if end - start == count else loss * ((end - start) / count)
                self._backward(self.precision.scaled(loss), count)
                self.precision.gather(self.trained)
        if not self.precision.unscale(self.trained):
            self._skip()
            return
        if self.args.clip_value:
            clip_grad_value_(self.trained, self.args.clip_value)
        if self.args.clip_norm:
            clip_grad_norm_(self.trained, self.args.clip_norm)
        self.optimizer.step()
        if self.average is not None:
            self.average.update()

    def _skip(self) -> None:
        """After scaled gradients overflowed. **Raises** NonFiniteLossError where they were not even scaled up."""
        if self.precision.hopeless:
            self._read()  # a loss that is no number is the better message
            what = "gradients overflow float16 whatever the loss scale (bfloat16 goes as far as float32)"
            raise self._diverged(what, self.step + 1, "")

    def _forward(self, images: Any, labels: Any, start: int, last: bool) -> Tensor:
        """The mean loss of a piece of a batch, whose first image is number ``start`` of it."""
        with random.recorded_seeds() as seeds:
            outputs = self.precision.answer(self.model, Tensor(images, device=self.device))
        target = Tensor(labels, device=self.device)
        self.batch = Batch(images, seeds, start)
        loss = loss_of(outputs, target, self.args)
        classes = target if target.ndim == 1 else ops.argmax(target, 1)  # a mix makes probabilities of labels
        correct = ops.sum(ops.eq(ops.argmax(answer_of(outputs).detach(), 1), classes))
        self.unread.append(Figures(self.step + 1, loss.detach(), correct, len(labels), last, self.rate(self.moves)))
        if len(self.unread) >= self.read_every:
            self._read()
        self.batch = None
        return loss

    def _backward(self, loss: Tensor, images: int) -> None:
        """Add to every parameter's gradient that of ``loss``, a mean over the ``images`` of a batch or its piece."""
        loss.backward()

    def _evaluate(self, part: str) -> Evaluation:
        return evaluate(self.model, self.data[part], device=self.device)

    def _read_back(self, pieces: list[Figures]) -> Iterable[tuple[Figures, float, int]]:
        """Each piece with its loss and its hits as numbers."""
        losses = ops.stack([piece.loss for piece in pieces]).tolist()
        corrects = ops.stack([piece.correct for piece in pieces]).tolist()
        return zip(pieces, losses, corrects, strict=True)

    def _read(self) -> None:
        """Sum up the steps not read yet. **Raises** NonFiniteLossError for the first whose loss is no number."""
        figures, self.unread = self.unread, []
        if figures:
            for piece, loss, correct in self._read_back(figures):
                if not math.isfinite(loss):
                    raise self._diverged(f"the loss is {loss}", piece.step, self._first_bad(piece.step))
                self.part.add(loss, correct, piece.images)
                self.untold.append((loss, correct, piece.images))
                if piece.last:
                    self._tell(piece.step, piece.rate)

    def _tell(self, step: int, rate: float) -> None:
        """Tell the observers of a step, once all its pieces are read."""
        pieces, self.untold = self.untold, []
        images = sum(count for _, _, count in pieces)
        loss = pieces[0][0] if len(pieces) == 1 else sum(loss * count for loss, _, count in pieces) / images
        accuracy = sum(correct for _, correct, _ in pieces) / images
        figures = {"step": step, "lr": rate, "loss": loss, "accuracy": accuracy, "images": images}
        for observer in self.observers:
            observer.step(figures)

    def _validate(self, row: dict[str, float]) -> bool:
        """End the epoch: complete its row, and save ``best`` when no epoch before was better."""
        with self._averaged():
            found = self._evaluate("val")
            row |= {"val_loss": found.loss, "val_accuracy": found.accuracy}
            if not math.isfinite(found.loss):
                raise self._diverged(f"the validation loss is {found.loss}", self.step, first_bad_weight(self.model))
            # equal accuracy is decided by the smaller loss: a few hundred images leave many ties
            score = (row["val_accuracy"], -row["val_loss"])
            best = all(score > (r["val_accuracy"], -r["val_loss"]) for r in self.rows) or not self.run.best.exists()
            self.rows.append(row)
            self.epoch, self.part = self.epoch + 1, PartOfEpoch()
            if best:
                self._save(self.run.best)
        return best

    def _first_bad(self, step: int) -> str:
        """Where the loss of ``step`` went wrong; once the weights have moved on, which of them are no numbers."""
        if self.batch is None or step != self.step + 1:
            return first_bad_weight(self.model)
        size = self.args.batch_size
        samples = self.loader.order(self.epoch)[self.part.position * size + self.batch.start :]
        return first_bad_layer(self.model, self.batch, samples, self.device, self.precision.dtype)

    def _diverged(self, what: str, step: int, where: str) -> NonFiniteLossError:
        """The error for a loss or weights that are no numbers any more after ``step`` steps."""
        kept = self.run.last.is_file()
        saved = f"the checkpoints in {self.run.folder} are from before it" if kept else "nothing was saved before"
        epoch = (step - 1) // len(self.loader) + 1
        return NonFiniteLossError(
            f"train: {what} at step {step} (epoch {epoch}){where and '; ' + where}; {saved}; "
            f"fix: a smaller --lr (now {self.args.lr:g}) or more --warmup-epochs (now {self.args.warmup_epochs})"
        )

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """Inside, the model holds the averaged weights, when there are any."""
        if self.average is None:
            yield
        else:
            with self.average.applied():
                yield

    def _finish(self) -> Result:
        saved, _ = checkpoint.load_newest(self.run.best)
        load_weights(self.model, saved.arrays)
        test = self._evaluate("test")
        result = Result(self.run.folder, test, self.rows)
        title = f"{self.args.model} on {self.args.data}, seed {self.args.seed}"
        self.run.draw(self.rows, test.confusion, self.data["test"].classes, title, result.line)
        return result

    # ---- checkpoints

    def save(self, path: Path) -> None:
        """``best`` holds the weights; ``last`` also what is needed to go on. **Raises** NonFiniteLossError."""
        arrays, state = weights_of(self) if path == self.run.best else state_of(self)
        bad = not_finite(arrays)
        if bad:
            what = f"{bad} has values that are NaN or infinite"
            raise self._diverged(what, self.step, first_bad_gradient(self.model))
        checkpoint.save_checkpoint(path, arrays, state)

    def _save(self, path: Path) -> None:
        """Save, and begin to count to the next time."""
        began = time.monotonic()
        self.save(path)
        self.cadence.saved(time.monotonic() - began)

    def resume(self) -> str:
        """Go on from ``last`` (or the one before it, when ``last`` is damaged); returns a note when it was.

        A run that died before its first checkpoint begins anew. **Raises** CheckpointError for a checkpoint that is
        of another run or makes no sense; ArgumentError while another process trains in the folder.
        """
        with self.run.locked():
            run = self.run
            sweep(run.folder)
            if not (run.last.exists() or checkpoint.previous_of(run.last).exists() or run.metrics.exists()):
                return f"{run.folder} has no checkpoint yet; beginning with the first step"
            saved, note = checkpoint.load_newest(run.last)
            try:
                restore(self, saved)
            except CheckpointError as error:
                raise CheckpointError(f"checkpoint {run.last}: {error}") from error
            if note:
                checkpoint.put_aside(run.last)
            return "; ".join(filter(None, (note, self._check_best())))

    def _check_best(self) -> str:
        """Put a damaged ``best`` aside; the epoch that ends next is then the best. Returns a note on that."""
        if self.run.best.exists():
            try:
                checkpoint.load_checkpoint(self.run.best)
            except CheckpointError as error:
                checkpoint.put_aside(self.run.best)
                return f"{error}; put aside, the next epoch takes its place"
        return ""
