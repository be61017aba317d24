"""Batches in a reproducible order, prepared by threads ahead of the consumer."""

import threading
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self, TypedDict

import numpy as np
from numpy.typing import NDArray

from minicnn.data.augment import Generators, Mix, Transform, generators, one_hot, output_shape
from minicnn.data.dataset import Dataset, Images, Labels
from minicnn.errors import DataError

Targets = NDArray[Any]  # int64 labels (B,), or float32 probabilities (B, classes) where a mix has made some
Batch = tuple[Images, Targets]


class LoaderState(TypedDict):
    """Where an iteration stands: ``position`` batches of epoch ``epoch`` were handed out."""

    epoch: int
    position: int


class DataLoader:
    """Batches of a dataset: contiguous images (B, C, H, W) and labels (B,), in an order fixed by (seed, epoch).

    Iterating runs through one epoch and, once its last batch is out, sets ``epoch`` to the next; leaving early does
    not. ``set_epoch`` chooses one. Order and augmentation depend on (seed, epoch, sample index) alone: any count of
    workers gives the same batches. Each ``iter`` is independent, so threads may share a loader.

    ``augment`` changes images; ``mix`` then mixes those of a batch: labels become probabilities (B, classes), float32,
    which ``cross_entropy`` takes as well.

    With ``workers`` threads, at most ``workers * prefetch`` batches are prepared ahead. An error in a worker is raised
    in the consumer at that batch, with a note naming the sample.

    **Resume**: ``loader.set_epoch(state["epoch"]); loader.iterate(state["position"])``, where ``state`` is an
    iterator's ``state()``.
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int = 32,
        shuffle: bool = False,
        seed: int = 0,
        drop_last: bool = False,
        workers: int = 0,
        augment: Transform | None = None,
        prefetch: int = 2,
        mix: Mix | None = None,
    ) -> None:
        if not isinstance(dataset, Dataset):
            raise DataError(
                f"DataLoader: dataset is a {type(dataset).__name__}, expected a Dataset; fix: "
                "minicnn.data.load(name), or minicnn.data.ArrayDataset(images, labels, classes)"
            )
        _at_least("batch_size", batch_size, 1)
        _at_least("seed", seed, 0)
        _at_least("workers", workers, 0)
        _at_least("prefetch", prefetch, 1)
        if not len(dataset):
            raise DataError(f"DataLoader: dataset {dataset.name!r} is empty; expected at least one sample")
        if drop_last and len(dataset) < batch_size:
            raise DataError(
                f"DataLoader: drop_last=True leaves no batch: dataset {dataset.name!r} holds {len(dataset)} samples, "
                f"batch_size is {batch_size}; use a smaller batch_size or drop_last=False"
            )
        self.dataset = dataset
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.drop_last = drop_last
        self.workers = workers
        self.augment = augment
        self.prefetch = prefetch
        self.mix = mix
        self._epoch = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Return the batches of one epoch."""
        whole, rest = divmod(len(self.dataset), self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    @property
    def epoch(self) -> int:
        """The epoch that the next iteration runs through."""
        return self._epoch

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next iteration."""
        _at_least("epoch", epoch, 0)
        with self._lock:
            self._epoch = epoch

    def order(self, epoch: int) -> NDArray[np.int64]:
        """Return the sample indices of an epoch in the order they are read."""
        count = len(self.dataset)
        if not self.shuffle:
            return np.arange(count)
        # The tag 2 keeps this stream apart from the augmentation's (minicnn.data.augment.generators).
        return np.random.default_rng((self.seed, epoch, 0, 2)).permutation(count)

    def load(self, indices: NDArray[np.int64], epoch: int) -> Batch:
        """Read, augment and mix the samples at ``indices`` as they are in ``epoch``."""
        try:
            images, labels = self.dataset.batch(indices)
        except Exception as error:
            error.add_note(f"DataLoader: while reading {self._blame(indices)} of dataset {self.dataset.name!r}")
            raise
        targets: Targets = labels
        if self.augment is not None or self.mix is not None:
            try:
                images, targets = self._changed(images, labels, generators(self.seed, epoch, indices))
            except Exception as error:
                error.add_note(f"DataLoader: while augmenting samples {indices.tolist()} in epoch {epoch}")
                raise
        return np.ascontiguousarray(images, dtype=np.float32), np.ascontiguousarray(targets)

    def _changed(self, images: Images, labels: Labels, rngs: Generators) -> Batch:
        """Augment and mix a batch."""
        if self.augment is not None:
            images = self.augment(images, rngs)
            expected = (len(labels), *output_shape(self.augment, self.dataset.shape))
            if images.shape != expected:
                raise DataError(
                    f"DataLoader: augment returned shape {images.shape}, expected {expected}; a transform keeps the "
                    "shape of its batch, or says what it becomes in a method output_shape"
                )
        if self.mix is None:
            return images, labels
        return self.mix(images, one_hot(labels, len(self.dataset.classes)), rngs)

    def _blame(self, indices: NDArray[np.int64]) -> str:
        """Find the sample that a failed batch failed on, by reading them one at a time."""
        for i in indices.tolist():
            try:
                self.dataset.batch(np.array([i]))
            except Exception:
                return f"sample {i}"
        return f"samples {indices.tolist()} together"

    def iterate(self, start_batch: int = 0) -> "BatchIterator":
        """Iterate over the current epoch from batch ``start_batch`` on."""
        if not 0 <= start_batch <= len(self):
            raise DataError(
                f"DataLoader: start_batch must be 0 to {len(self)} (the batches of an epoch), got {start_batch}"
            )
        return BatchIterator(self, self.epoch, start_batch)

    def __iter__(self) -> "BatchIterator":
        return self.iterate()

    def finished(self, epoch: int) -> None:
        """Move on to the epoch after ``epoch``; the iterators call this."""
        with self._lock:
            if self._epoch == epoch:
                self._epoch = epoch + 1


class BatchIterator:
    """One run through an epoch of a `DataLoader`; ``close`` (or ``with``, or garbage collection) stops its threads.

    ``waited`` counts the seconds that the consumer had to wait for its batches; without workers, all they took to make.
    """

    def __init__(self, loader: DataLoader, epoch: int, start_batch: int) -> None:
        self.loader = loader
        self.epoch = epoch
        self.position = start_batch
        self.waited = 0.0
        self._order = loader.order(epoch)
        self._ahead: deque[Future[Batch]] = deque()
        self._next_submit = start_batch
        self._closed = False
        self._pool = ThreadPoolExecutor(loader.workers, "minicnn-loader") if loader.workers else None

    def state(self) -> LoaderState:
        """Return what `DataLoader.set_epoch` and `DataLoader.iterate` need to go on from here."""
        return {"epoch": self.epoch, "position": self.position}

    def __len__(self) -> int:
        """Return the batches still to come."""
        return 0 if self._closed else len(self.loader) - self.position

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Batch:
        if self._closed:
            raise StopIteration
        if self.position >= len(self.loader):
            self._end()
            raise StopIteration
        asked = time.perf_counter()
        try:
            batch = self._take()
        except BaseException:  # Ctrl-C while waiting included: no thread may outlive the loop
            self.close()
            raise
        self.waited += time.perf_counter() - asked
        self.position += 1
        if self.position == len(self.loader):
            self._end()
        return batch

    def _take(self) -> Batch:
        """Return the next batch in order and keep the threads busy, never more than the window ahead."""
        if self._pool is None:
            return self.loader.load(self._indices(self.position), self.epoch)
        window = self.loader.workers * self.loader.prefetch
        while len(self._ahead) <= window and self._next_submit < len(self.loader):  # the wanted batch, then the window
            indices = self._indices(self._next_submit)
            self._ahead.append(self._pool.submit(self.loader.load, indices, self.epoch))
            self._next_submit += 1
        return self._ahead.popleft().result()

    def _indices(self, batch: int) -> NDArray[np.int64]:
        size = self.loader.batch_size
        return self._order[batch * size : (batch + 1) * size]

    def _end(self) -> None:
        self.loader.finished(self.epoch)
        self.close()

    def close(self) -> None:
        """Stop: drop what is prepared, wait for batches in the making; may be called again."""
        self._closed = True
        self._ahead.clear()
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        pool = getattr(self, "_pool", None)
        if pool is not None:
            # Not close(): the collector may run in one of the pool's own threads, which cannot wait for itself.
            pool.shutdown(wait=False, cancel_futures=True)


def _at_least(argument: str, value: int, low: int) -> None:
    """Raise DataError unless ``value`` is an integer of at least ``low``."""
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < low:
        raise DataError(f"DataLoader: {argument} must be an integer of at least {low}, got {value!r}")
