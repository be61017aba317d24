"""The training loop: epochs over batches, validation after each, checkpoints, and a clean end on Ctrl-C."""

import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import numpy as np

import minicnn
from minicnn import models, ops, random
from minicnn.data import DataLoader, Dataset
from minicnn.data.augment import Transform
from minicnn.devices import choose_device
from minicnn.errors import CheckpointError, GradientError
from minicnn.optim.average import WeightAverage
from minicnn.tensor import Tensor
from minicnn.train import checkpoint
from minicnn.train.args import TrainArgs
from minicnn.train.evaluate import Evaluation, evaluate
from minicnn.train.recipe import augmentation, build_data, build_optimizer, build_schedule
from minicnn.train.report import Reporter
from minicnn.train.run import RunFolder


class Interrupted(Exception):
    """Training was stopped by Ctrl-C after saving ``last``."""


class Result(NamedTuple):
    """What a finished run shows: the test part is evaluated once, with the best weights on validation."""

    folder: Path
    test: Evaluation
    rows: list[dict[str, float]]

    @property
    def line(self) -> str:
        return f"test accuracy {100 * self.test.accuracy:.2f} % ({self.test.correct} of {self.test.total})"


class NonFiniteLossError(GradientError):
    """The loss became NaN or infinite."""


@dataclass
class PartOfEpoch:
    """How far the running epoch is, and its sums so far."""

    position: int = 0  # batches done
    seen: int = 0
    correct: int = 0
    loss_sum: float = 0.0
    seconds: float = 0.0


class Trainer:
    """Model, data, optimiser and schedule of one run, and where it stands."""

    def __init__(self, args: TrainArgs, run: RunFolder, quiet: bool = False) -> None:
        random.manual_seed(args.seed)
        self.args, self.run, self.quiet = args, run, quiet
        self.device, self.device_reason = choose_device(args.device)
        self.data: dict[str, Dataset] = build_data(args)
        train = self.data["train"]
        self.model = models.create(args.model, num_classes=len(train.classes), in_channels=train.shape[0])
        self.model.to(self.device)
        augment: Transform | None = augmentation(args)
        self.loader = DataLoader(
            train, args.batch_size, shuffle=True, seed=args.seed, workers=args.workers, augment=augment
        )
        self.optimizer = build_optimizer(args, self.model)
        self.rate = build_schedule(args, steps_per_epoch=len(self.loader))
        self.average = WeightAverage(self.model, args.ema) if args.ema else None
        self.rows: list[dict[str, float]] = []
        self.epoch = 0  # epochs finished
        self.part = PartOfEpoch()
        self.stop = False

    # ---- the run

    def fit(self) -> Result:
        """Train to the end; the caller may call it again after ``resume``."""
        args = self.args
        done = self.epoch * len(self.loader) + self.part.position
        with _ctrl_c(self), Reporter(args.epochs, len(self.loader), done, self.quiet) as self.report:
            self._introduce()
            for epoch in range(self.epoch, args.epochs):
                row = self._train_epoch(epoch)
                with self._averaged():
                    validation = evaluate(self.model, self.data["val"], device=self.device)
                    row |= {"val_loss": validation.loss, "val_accuracy": validation.accuracy}
                    # equal accuracy is decided by the smaller loss: 360 images leave many ties
                    best = all(
                        (row["val_accuracy"], -row["val_loss"]) > (r["val_accuracy"], -r["val_loss"]) for r in self.rows
                    )
                    self.rows.append(row)
                    self.epoch = epoch + 1
                    if best:
                        self.save(self.run.best, with_optimizer=False)
                self.save(self.run.last)
                self.run.write_metrics(self.rows)
                self.report.epoch(row, best)
        return self._finish()

    def _introduce(self) -> None:
        train, val, test = (len(self.data[part]) for part in ("train", "val", "test"))
        parameters = sum(p.size for p in self.model.parameters())
        self.report.say(
            f"{self.args.model}: {parameters:,} parameters, images {'x'.join(map(str, self.data['train'].shape))}"
        )
        self.report.say(f"{self.args.data}: {train} training, {val} validation, {test} test images")
        self.report.say(f"device {self.device} ({self.device_reason}); run folder {self.run.folder}")

    def _train_epoch(self, epoch: int) -> dict[str, float]:
        self.model.train()
        self.loader.set_epoch(epoch)
        part = self.part
        before, started = part.seconds, time.perf_counter()
        with self.loader.iterate(part.position) as batches:
            for images, labels in batches:
                loss, logits = self._train_step(images, labels, epoch * len(self.loader) + part.position)
                part.position += 1
                part.seen += len(labels)
                part.loss_sum += loss * len(labels)
                part.correct += int((logits.argmax(axis=1) == labels).sum())
                part.seconds = before + time.perf_counter() - started
                self.report.step(
                    epoch + 1, part.loss_sum / part.seen, part.correct / part.seen, part.seen / part.seconds
                )
                if self.stop:
                    self.save(self.run.last)
                    raise Interrupted
        self.part = PartOfEpoch()
        return {
            "epoch": epoch + 1,
            "lr": self.optimizer.lr,
            "train_loss": part.loss_sum / part.seen,
            "train_accuracy": part.correct / part.seen,
            "images_per_s": part.seen / part.seconds,
            "seconds": part.seconds,
        }

    def _train_step(self, images: Any, labels: Any, step: int) -> tuple[float, Any]:
        """One step of the optimiser; returns the loss and the logits."""
        self.optimizer.lr = self.rate(step)
        self.optimizer.zero_grad()
        logits = self.model(Tensor(images, device=self.device))
        target = Tensor(labels, device=self.device)
        loss = ops.cross_entropy(logits, target, label_smoothing=self.args.label_smoothing)
        value = float(loss.item())
        if not math.isfinite(value):
            raise NonFiniteLossError(
                f"train: the loss is {value} at step {step + 1} (epoch {step // len(self.loader) + 1}); the checkpoints in "
                f"{self.run.folder} are from before it; fix: a smaller --lr (now {self.args.lr:g}) or longer --warmup-epochs"
            )
        loss.backward()
        self.optimizer.step()
        if self.average is not None:
            self.average.update()
        return value, logits.numpy()

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """Inside, the model holds the averaged weights, when there are any."""
        if self.average is None:
            yield
        else:
            with self.average.applied():
                yield

    def _finish(self) -> Result:
        load_weights(self.model, checkpoint.load_checkpoint(self.run.best).arrays)
        test = evaluate(self.model, self.data["test"], device=self.device)
        result = Result(self.run.folder, test, self.rows)
        title = f"{self.args.model} on {self.args.data}, seed {self.args.seed}"
        self.run.draw(self.rows, test.confusion, self.data["test"].classes, title, result.line)
        return result

    # ---- checkpoints

    def save(self, path: Path, with_optimizer: bool = True) -> None:
        """``best`` holds the weights; ``last`` also what is needed to go on."""
        train = self.data["train"]
        arrays = checkpoint.with_prefix("model", {k: np.asarray(v) for k, v in self.model.state_dict().items()})
        state: dict[str, Any] = {
            "minicnn": minicnn.__version__,
            "args": self.args.as_dict(),
            "epoch": self.epoch,
            "rows": self.rows,
            "data": {
                "shape": list(train.shape),
                "classes": list(train.classes),
                "mean": train.mean.ravel().tolist(),
                "std": train.std.ravel().tolist(),
            },
        }
        if with_optimizer:
            state["part"] = asdict(self.part)
            state["random"] = random.default_generator().state()
            state["optimizer"], slots = self.optimizer.state_dict()
            arrays |= checkpoint.with_prefix("optimizer", slots)
            if self.average is not None:
                arrays |= checkpoint.with_prefix("average", self.average.state_dict())
        checkpoint.save_checkpoint(path, arrays, state)

    def resume(self) -> str:
        """Go on from ``last`` (or the one before it, when ``last`` is damaged); returns what was found."""
        saved, fell_back = checkpoint.load_newest(self.run.last)
        load_weights(self.model, saved.arrays)
        self.optimizer.load_state_dict(saved.state["optimizer"], checkpoint.of_prefix("optimizer", saved.arrays))
        if self.average is not None:
            self.average.load_state_dict(checkpoint.of_prefix("average", saved.arrays))
        random.default_generator().set_state(saved.state["random"])
        self.rows, self.epoch = saved.state["rows"], saved.state["epoch"]
        self.part = PartOfEpoch(**saved.state["part"])
        return fell_back


def load_weights(model: Any, arrays: checkpoint.Arrays) -> None:
    """Put a checkpoint's weights into ``model``; every name and shape must fit."""
    weights = checkpoint.of_prefix("model", arrays)
    if not weights:
        raise CheckpointError("checkpoint: it holds no model weights; expected arrays named 'model/...'")
    model.load_state_dict(weights)


@contextmanager
def _ctrl_c(trainer: Trainer) -> Iterator[None]:
    """Inside, the first Ctrl-C asks for a stop between two steps; a second one stops at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def on_signal(number: int, frame: FrameType | None) -> None:
        if trainer.stop:
            raise KeyboardInterrupt
        trainer.stop = True

    before = signal.signal(signal.SIGINT, on_signal)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
