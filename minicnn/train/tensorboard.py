"""``tensorboard``: the run as event files that TensorBoard reads, ``tensorboard --logdir runs``.

    pip install 'minicnn[tensorboard]' tensorboard

The extra has tensorboardX, which writes; TensorBoard itself, which shows, is a program of its own.
"""

import io
import math
import time
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from minicnn.errors import ArgumentError
from minicnn.train.evaluate import Evaluation
from minicnn.train.logs import Ration
from minicnn.train.observer import Observer
from minicnn.train.page.pictures import pixels
from minicnn.train.page.scores import worst_mistakes
from minicnn.train.tape_graph import graph_def

if TYPE_CHECKING:
    from minicnn.train.loop import Result, Trainer

BINS = 64
MOST_VALUES = 1 << 16  # of a tensor, for its histogram: every n-th of more
MOST_FILTERS = 64
MOST_MISTAKES = 16
SECONDS_BETWEEN_FLUSHES = 5.0
EPOCH = {
    "train_loss": "loss/training",
    "val_loss": "loss/validation",
    "train_accuracy": "accuracy/training",
    "val_accuracy": "accuracy/validation",
    "lr": "epoch/learning rate",
    "images_per_s": "epoch/images a second",
}


class TensorBoard(Observer):
    """Scalars a step and an epoch; the graph; after an epoch, as long as that is cheap, histograms and first filters.

    By steps of the optimiser, in the folder ``tensorboard`` of the run. A resumed run opens another file there, which
    begins by telling TensorBoard to forget what an interrupted run told of later steps.

    **Raises** ArgumentError without tensorboardX, before the run begins.
    """

    events: Any = None

    def __init__(self) -> None:
        try:
            import tensorboardX.event_file_writer  # noqa: F401
        except ImportError as error:
            raise ArgumentError(
                f"train: log=tensorboard needs tensorboardX ({error}); fix: pip install 'minicnn[tensorboard]'"
            ) from error

    def started(self, trainer: "Trainer") -> None:
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog

        self.trainer, folder = trainer, trainer.run.folder / "tensorboard"
        if trainer.epoch >= trainer.args.epochs:  # a finished run that is tested again: all is told
            return
        self.ration = Ration()
        self.flushed = time.monotonic()
        with trainer.run.writing(folder):
            folder.mkdir(exist_ok=True)
            # not its SummaryWriter, whose queue, two threads and memory of every scalar cost more than a small step
            # (and the name of its file has seconds only, so that of two in one second one would be lost)
            self.events = EventsWriter(str(folder / "events"), f".{time.time_ns()}")
            if trainer.step:
                self._write(Event(session_log=SessionLog(status=SessionLog.START), step=trainer.step + 1))
            else:
                graph = graph_def(trainer.model, trainer.data["train"].shape)
                self._write(Event(graph_def=graph.SerializeToString()))

    def step(self, figures: dict[str, float]) -> None:
        names = {"loss": "step/loss", "accuracy": "step/accuracy", "lr": "step/learning rate"}
        self._scalars(int(figures["step"]), {shown: figures[name] for name, shown in names.items()})

    def epoch(self, row: dict[str, float], best: bool) -> None:
        step = self.trainer.step
        self._scalars(step, {shown: row[name] for name, shown in EPOCH.items()})
        more = self._histograms_and_filters
        if row["epoch"] == self.trainer.args.epochs:
            more()
        else:
            self.ration.use(more)

    def finished(self, result: "Result") -> None:
        if self.events is not None:
            step, test = self.trainer.step, result.test
            self._scalars(step, {"loss/test": test.loss, "accuracy/test": test.accuracy})
            self._summary(step, self._mistakes(test))

    def close(self) -> None:
        if self.events is not None:
            with self.trainer.run.writing(self.trainer.run.folder / "tensorboard"):
                self.events.close()

    def _scalars(self, step: int, values: dict[str, float]) -> None:
        from tensorboardX.proto.summary_pb2 import Summary

        self._summary(step, [Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()])

    def _summary(self, step: int, values: list[Any]) -> None:
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.proto.summary_pb2 import Summary

        self._write(Event(summary=Summary(value=values), step=step))

    def _write(self, event: Any) -> None:
        event.wall_time = time.time()
        with self.trainer.run.writing(self.trainer.run.folder / "tensorboard"):
            self.events.write_event(event)
            if time.monotonic() > self.flushed + SECONDS_BETWEEN_FLUSHES:
                self.events.flush()
                self.ration = Ration()
        self.flushed = time.monotonic()

    def _histograms_and_filters(self) -> None:
        self._summary(self.trainer.step, self._histograms() + self._first_filters())

    def _histograms(self) -> list[Any]:
        """Of each parameter and of its gradient in the last step."""
        from tensorboardX.proto.summary_pb2 import Summary

        found = []
        for name, p in self.trainer.model.named_parameters():
            for kind, tensor in (("weights", p), ("gradients", p.grad)):
                if tensor is not None:
                    values = _sampled(tensor.numpy())
                    if values.size:
                        found.append(Summary.Value(tag=f"{kind}/{name}", histo=_histogram(values)))
        return found

    def _first_filters(self) -> list[Any]:
        """A sheet of the weights (F, C, H, W) of the first convolution, when it looks at grey or colour pictures."""
        first = next((p for p in self.trainer.model.parameters() if p.ndim == 4), None)
        if first is None or first.shape[1] not in (1, 3) or min(first.shape[2:]) < 2:
            return []
        return [_image("first filters", _sheet(first.numpy()[:MOST_FILTERS].astype(np.float32)))]

    def _mistakes(self, test: Evaluation) -> list[Any]:
        dataset, samples = self.trainer.data["test"], test.samples
        found = []
        for rank, k in enumerate(worst_mistakes(samples, MOST_MISTAKES), 1):
            true, answer = (dataset.classes[which[k]] for which in (samples.labels, samples.answers))
            found.append(_image(f"worst mistakes/{rank:02} {true} taken for {answer}", pixels(dataset, k[None])[0]))
        return found


def _sampled(values: NDArray[Any]) -> NDArray[np.float64]:
    """The finite ones of at most ``MOST_VALUES`` values, spread evenly."""
    flat = values.reshape(-1)
    some = flat[:: -(-flat.size // MOST_VALUES) or 1].astype(np.float64)
    finite: NDArray[np.float64] = some[np.isfinite(some)]
    return finite


def _histogram(values: NDArray[np.float64]) -> Any:
    """TensorBoard's: the upper ends of the bins, and how many values each holds."""
    from tensorboardX.proto.summary_pb2 import HistogramProto

    counts, ends = np.histogram(values, bins=BINS)
    return HistogramProto(
        min=float(values.min()),
        max=float(values.max()),
        num=values.size,
        sum=float(values.sum()),
        sum_squares=float(values @ values),
        bucket_limit=[float(ends[0]), *ends[1:].tolist()],
        bucket=[0.0, *counts.tolist()],  # the first bin ends where the values begin
    )


def _image(tag: str, values: NDArray[np.uint8]) -> Any:
    """A picture (H, W, 1 or 3)."""
    from PIL import Image
    from tensorboardX.proto.summary_pb2 import Summary

    buffer = io.BytesIO()
    Image.fromarray(values[..., 0] if values.shape[-1] == 1 else values).save(buffer, "PNG")
    height, width, channels = values.shape
    image = Summary.Image(height=height, width=width, colorspace=channels, encoded_image_string=buffer.getvalue())
    return Summary.Value(tag=tag, image=image)


def _sheet(filters: NDArray[np.float32], scale: int = 6) -> NDArray[np.uint8]:
    """Filters (F, C, H, W) side by side, (rows, columns, C); each from its smallest value, black, to its largest."""
    count, channels, height, width = filters.shape
    low, high = (f(filters, axis=(1, 2, 3), keepdims=True) for f in (np.min, np.max))
    shades = (255 * (filters - low) / np.maximum(high - low, 1e-12)).astype(np.uint8)
    large = shades.repeat(scale, axis=2).repeat(scale, axis=3)
    columns = math.ceil(math.sqrt(count))
    rows = -(-count // columns)
    step_y, step_x = height * scale + 2, width * scale + 2
    sheet = np.zeros((rows * step_y - 2, columns * step_x - 2, channels), np.uint8)
    for k, picture in enumerate(large):
        y, x = k // columns * step_y, k % columns * step_x
        sheet[y : y + height * scale, x : x + width * scale] = picture.transpose(1, 2, 0)
    return sheet
