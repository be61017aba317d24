"""The loader's threads beside kernels, interrupts, errors and exits: nothing hangs, leaks or changes."""

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import minicnn
from minicnn import data, ops
from minicnn.data import augment as A
from minicnn.errors import DataError

HANDLES = Path("/proc/self/fd")  # of this process, where the system shows them


class Slow(data.Dataset):
    """Sample ``i`` is an image full of ``i``; a batch takes ``seconds``."""

    def __init__(self, count: int, seconds: float = 0.0) -> None:
        super().__init__("slow", ("a", "b"), (3, 8, 8))
        self.count, self.seconds, self.reads = count, seconds, 0

    def __len__(self) -> int:
        return self.count

    @property
    def labels(self) -> np.ndarray:
        return np.arange(self.count) % 2

    def batch(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self.reads += 1
        time.sleep(self.seconds)
        images = np.ones((len(indices), 3, 8, 8), np.float32) * indices[:, None, None, None]
        return images, self.labels[indices]


def loader_threads() -> int:
    return sum(thread.name.startswith("minicnn-loader") for thread in threading.enumerate())


def wait_for_threads_to_end() -> None:
    deadline = time.monotonic() + 5
    while loader_threads() and time.monotonic() < deadline:
        time.sleep(0.001)
    assert loader_threads() == 0


def test_threads_work_beside_kernels_and_nothing_changes() -> None:
    train = data.load("shapes", "train", count=48, size=24, channels=3)
    augment = A.parse("resized,affine,elastic,jitter:hue=0.1,randaugment:2:20,erase", train)
    weight = minicnn.Tensor(np.random.default_rng(0).normal(size=(8, 3, 3, 3)).astype(np.float32))

    def run(workers: int) -> list[tuple[np.ndarray, np.ndarray]]:
        loader = data.DataLoader(train, 6, shuffle=True, workers=workers, augment=augment, mix=A.CutMix())
        seen = []
        for images, targets in loader:
            outputs = [ops.conv2d(minicnn.Tensor(images), weight, padding=1).numpy() for _ in range(5)]
            assert all(np.array_equal(output, outputs[0]) for output in outputs)
            seen += [(images, targets), (outputs[0], targets)]
        return seen

    for first, second in zip(run(0), run(3), strict=True):
        np.testing.assert_array_equal(first[0], second[0])
        np.testing.assert_array_equal(first[1], second[1])


@pytest.mark.parametrize("workers", [0, 2])
def test_ctrl_c_while_waiting_stops_the_threads(workers: int) -> None:
    batches = iter(data.DataLoader(Slow(100, seconds=0.3), 1, workers=workers))
    timer = threading.Timer(0.05, signal.pthread_kill, [threading.main_thread().ident, signal.SIGINT])
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        for _ in batches:
            pass
    timer.join()
    assert loader_threads() == 0 and list(batches) == []


def test_two_hundred_epochs_leave_neither_threads_nor_files() -> None:
    dataset = Slow(40)
    loader = data.DataLoader(dataset, 4, shuffle=True, workers=2)
    threads = threading.active_count()
    handles = len(list(HANDLES.iterdir())) if HANDLES.is_dir() else 0
    for epoch in range(200):
        if epoch % 4 == 0:
            assert len(list(loader)) == 10
        elif epoch % 4 == 1:
            with iter(loader) as batches:
                next(batches)
        elif epoch % 4 == 2:
            next(iter(loader))  # abandoned
        else:
            iter(loader).close()  # never begun
    wait_for_threads_to_end()
    assert threading.active_count() == threads and loader.epoch == 50
    assert (len(list(HANDLES.iterdir())) if HANDLES.is_dir() else 0) == handles


def test_waiting_is_counted() -> None:
    alone = iter(data.DataLoader(Slow(5, seconds=0.02), 1))
    assert alone.waited == 0
    list(alone)
    assert 0.1 <= alone.waited < 0.5  # all that the batches took
    ahead = iter(data.DataLoader(Slow(5, seconds=0.01), 1, workers=2))
    for _ in ahead:
        time.sleep(0.04)  # a consumer slower than its threads waits for the first batch only
    assert 0.01 <= ahead.waited < 0.035
    late = iter(data.DataLoader(Slow(5, seconds=0.05), 1, workers=1))
    for _ in late:
        time.sleep(0.01)
    assert 0.15 < late.waited < 0.5


def test_transforms_that_change_the_shape_say_so() -> None:
    loader = data.DataLoader(Slow(6), 3, augment=A.Compose(A.RandomFlip(), A.CentreCrop(5), A.RandomCrop(1)), workers=1)
    assert [images.shape for images, _ in loader] == [(3, 3, 5, 5)] * 2

    def halved(images: A.Images, rngs: A.Generators) -> A.Images:
        return images[..., ::2]

    with pytest.raises(DataError, match=r"augment returned shape \(3, 3, 8, 4\), expected .* a method output_shape"):
        next(iter(data.DataLoader(Slow(6), 3, augment=halved)))


def test_errors_of_two_workers_come_in_the_order_of_their_batches() -> None:
    class Broken(Slow):
        def batch(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            if indices[0] == 2:
                time.sleep(0.05)  # fails after the next batch has failed
            if indices[0] >= 2:
                raise OSError(f"no picture {indices[0]}")
            return super().batch(indices)

    got = []
    with pytest.raises(OSError, match="no picture 2") as caught:
        for images, _ in data.DataLoader(Broken(10), 1, workers=3):
            got.append(int(images[0, 0, 0, 0]))
    assert got == [0, 1] and "sample 2 of dataset 'slow'" in caught.value.__notes__[0]
    assert loader_threads() == 0


ABANDONED = """
import threading, time
import numpy as np
from minicnn import data
from minicnn.data import augment as A
loader = data.DataLoader(data.digits("train", 32), 16, workers=3, augment=A.digits_augment())
batches = iter(loader)
next(batches)
{end}
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("end", "code"),
    [("", 0), ("raise SystemExit(3)", 3), ("raise ValueError", 1), ("import signal; signal.raise_signal(2)", -2)],
)
def test_a_program_ends_with_batches_under_way(end: str, code: int) -> None:
    program = [sys.executable, "-c", ABANDONED.format(end=end)]
    start = time.monotonic()
    done = subprocess.run(program, timeout=60, check=False, capture_output=True)
    assert done.returncode == code, done.stderr.decode()
    assert time.monotonic() - start < 30
